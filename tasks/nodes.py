"""Every Prefect task of the project: a stage, plus its cache key, its retry and its progress. No thinking happens here.

The store is the cache; a Prefect result is only the path of an artefact under the same key. A recorded result whose
artefact was deleted is made anew.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext

from tasks.basics import BadInput, Strict
from tasks.running import progress
from tasks.running.stage import Source, Stage
from tasks.stages.degrade import degrade
from tasks.stages.evaluate import evaluate, measure
from tasks.stages.external import external
from tasks.stages.finetune import finetune
from tasks.stages.generate import generate
from tasks.stages.identify import identify
from tasks.stages.ingest import ingest
from tasks.stages.named import named
from tasks.stages.personalize import personalize
from tasks.stages.photos import photos
from tasks.stages.pseudo_targets import pseudo_targets
from tasks.stages.reference import reference
from tasks.stages.report import report
from tasks.stages.restore import restore
from tasks.stages.train import train
from tasks.store.artifact import ImageFolder

TELL_EVERY_S = 5.0
for name in ("flows", "tasks"):
    logging.getLogger(name).setLevel(logging.INFO)  # what they say goes into the run's log, see flows/server.py
DASK = "BFR_DASK"


def node(stage: Stage) -> Callable[..., ImageFolder]:
    """A Prefect task around a stage; called like the stage itself."""

    def key(_: TaskRunContext, given: dict[str, Any]) -> str:
        return stage.record(given["params"], **given["inputs"]).key

    @task(
        name=stage.name,
        cache_key_fn=key,
        persist_result=True,
        result_serializer="json",
        retries=1,
        retry_condition_fn=can_pass,
    )
    def build(params: Strict, inputs: dict[str, Source]) -> str:
        with _progress_artifact(stage.name):
            return str(stage(params, **inputs).root)

    def call(params: Strict, /, **inputs: Source) -> ImageFolder:
        is_built = stage.is_built(params, **inputs)
        now = build.with_options(refresh_cache=not is_built)
        if is_built or not stage.is_shared or not os.environ.get(DASK):
            return ImageFolder(Path(now(params, inputs)))
        # the same task on every worker: they share the shards (tasks/stage.py)
        futures = [now.submit(params, inputs) for _ in range(dask_workers())]
        made = [future.result() for future in futures]
        return ImageFolder(Path(made[0]))

    return call


def can_pass(task: object, run: object, state: State[Any]) -> bool:
    """Whether a failed task may pass when it is tried again: not if the input is bad."""
    return not isinstance(state.result(raise_on_failure=False), BadInput)


def task_runner() -> Any:
    """Where a flow's tasks run: on the Dask cluster at BFR_DASK, or None for Prefect's default."""
    if not (address := os.environ.get(DASK)):
        return None
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise BadInput(f"{DASK} is set, but prefect-dask is not installed: pip install 'bfr[dask]'.") from error
    return DaskTaskRunner(address=address)


def dask_workers() -> int:
    """How many workers the cluster has."""
    from distributed import get_client

    return max(1, len(get_client(os.environ[DASK]).scheduler_info()["workers"]))


@contextmanager
def _progress_artifact(name: str) -> Iterator[None]:
    """Show what `tasks.progress` counts as a Prefect progress artefact, if it takes more than a few seconds."""
    told = time.monotonic()
    artifact: UUID | None = None

    def tell(what: str, done: int, total: int) -> None:
        nonlocal told, artifact
        if time.monotonic() - told < TELL_EVERY_S and not (artifact and done == total):
            return
        told = time.monotonic()
        percent = 100 * done / total
        if artifact is None:
            artifact = create_progress_artifact(percent, key=name.replace("_", "-"), description=what)  # type: ignore[assignment]
        else:
            update_progress_artifact(artifact, percent, description=what)

    token = progress.listener.set(tell)
    try:
        yield
    finally:
        progress.listener.reset(token)


STAGES = (
    photos,
    degrade,
    restore,
    pseudo_targets,
    finetune,
    train,
    generate,
    external,
    named,
    personalize,
    identify,
    reference,
    measure,
    evaluate,
    report,
    ingest,
)
NODES = {stage.name: node(stage) for stage in STAGES}


def run(stage: Stage, params: Strict, /, **inputs: Source) -> ImageFolder:
    """The Prefect driver of flows/steps.py: run a stage as its task."""
    return NODES[stage.name](params, **inputs)
