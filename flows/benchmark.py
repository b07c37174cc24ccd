"""The whole benchmark of one experiment: every step of flows/steps.py, in order."""

import logging

from prefect import flow, tags

from flows import steps
from flows.cancelling import cancel_tasks
from flows.cost import estimate, table
from flows.preflight import check
from flows.publishing import commit_to_dvc, show_report
from flows.workspace import Workspace, check_own, folder_of
from tasks import nodes
from tasks.params.load import load_experiment

LOG = logging.getLogger("flows.benchmark")  # Prefect loads this file under a name of its own
check_own(__file__)


@flow(
    name="benchmark",
    flow_run_name="{experiment}",
    log_prints=True,
    on_cancellation=[cancel_tasks],
    task_runner=nodes.task_runner(),
)
def benchmark(experiment: str = "demo") -> None:
    """Run every step of an experiment; what is already in the store is not made again."""
    settings = load_experiment(experiment)
    check(settings)
    steps.check_numbers(folder_of(experiment))
    LOG.info("%s", table(estimate(settings, folder_of(experiment))))
    work = Workspace(folder_of(experiment), nodes.run)
    with tags(experiment), work.held(settings):
        steps.photos(settings, work)
        steps.degrade(settings, work)
        steps.restore(settings, work)
        steps.pseudo_targets(settings, work)
        steps.finetune(settings, work)
        steps.clean(settings, work)
        steps.compare(settings, work)
        steps.authenticity(settings, work)
        steps.references(settings, work)
        steps.evaluate(settings, work)
        work.remove_others(keep="report")
        steps.report(settings, work)
    show_report(work)
    commit_to_dvc(experiment, settings, work)
