"""What a flow does when it is cancelled, from wherever: Prefect's page, its command line, an interrupted `bfr run`."""

from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled

AT_WORK = [StateType.PENDING, StateType.RUNNING, StateType.CRASHED]


def cancel_tasks(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """Call the tasks cancelled that were at work: Prefect ends them by a signal, and calls that a crash."""
    runs = FlowRunFilter.model_validate({"id": {"any_": [flow_run.id]}})
    tasks = TaskRunFilter.model_validate({"state": {"type": {"any_": AT_WORK}}})
    with get_client(sync_client=True) as client:
        for task in client.read_task_runs(flow_run_filter=runs, task_run_filter=tasks):
            client.set_task_run_state(task.id, Cancelled(message="The run was cancelled."), force=True)
