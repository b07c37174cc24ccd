"""Every Prefect task of the project: a stage, plus its cache key, its retry and its progress. No thinking happens here.

The store is the cache; a Prefect result is only the key of an artefact, which is looked up in the store of this
checkout: Prefect keeps the results of all checkouts of a user in one place. One that is not there is made anew. A task
waits for those that made its inputs, which is what Prefect draws.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import runtime, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext

from tasks.basics import BadInput, Strict
from tasks.running import progress
from tasks.running.stage import Source, Stage, default_store
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
    """A Prefect task around a stage; called like the stage itself, and with the place that the result is for."""

    def key_of(_: TaskRunContext, given: dict[str, Any]) -> str:
        return stage.record(given["params"], **given["inputs"]).key

    @task(
        name=stage.name,
        tags=[GPU] if stage in OF_NETWORKS else None,
        cache_key_fn=key_of,
        persist_result=True,
        result_serializer="json",
        retries=1,
        retry_condition_fn=can_pass,
    )
    def build(params: Strict, inputs: dict[str, Source]) -> str:
        with _progress_artifact(stage.name):
            return stage(params, **inputs).manifest.key

    def call(params: Strict, at: str, inputs: dict[str, Source]) -> ImageFolder:
        key, store = stage.record(params, **inputs).key, default_store()
        is_built = store.has(stage.name, key)
        now = build.with_options(refresh_cache=not is_built, task_run_name=named_by(stage, at))
        wait_for = [*makers_of(inputs)]
        if os.environ.get(DASK):
            # the same task on every worker: they share the shards (tasks/running/shards.py)
            count = dask_workers() if stage.is_shared and not is_built else 1
            futures = [now.submit(params, inputs, wait_for=wait_for, return_state=False) for _ in range(count)]
            for future in futures:
                future.result()
            state = futures[0].state
        else:
            state = now(params, inputs, wait_for=wait_for, return_state=True)
            state.result()
        result = ImageFolder(store.path(stage.name, key))
        MAKERS[_run_id(), result.root] = state
        return result

    return call


def named_by(stage: Stage, at: str) -> str:
    """The name of a task's run: "pseudo_targets raw_x4_severe/test", "restore compared/raw_x4_severe/difface"."""
    place = "" if at == stage.name else at.removeprefix(f"{FOLDERS.get(stage.name, stage.name)}/")
    return f"{stage.name} {place}".strip()


FOLDERS = {
    "degrade": "lq",
    "restore": "restored",
    "finetune": "adapted_models",
    "reference": "references",
    "measure": "scores",
    "evaluate": "scores",
}
"""Where a stage's results usually go, if that is not called like the stage: it says no more than the stage's name."""

GPU = "gpu"  # the tag of tasks that compute networks, for those who limit them
MAKERS: dict[tuple[str, Path], State[Any]] = {}
"""The end of the task that made a result, by the flow's run and the result's folder."""


def makers_of(inputs: dict[str, Source]) -> Iterator[State[Any]]:
    """How the tasks of this run ended that made the inputs, or the folders that these are files of."""
    for source in inputs.values():
        root = source.root if isinstance(source, ImageFolder) else source.parent if isinstance(source, Path) else None
        if root and (maker := MAKERS.get((_run_id(), root))):
            yield maker


def _run_id() -> str:
    return str(runtime.flow_run.id)


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
        with suppress(httpx.HTTPError):  # a server that is away costs no work; it is told again
            if artifact is None:
                key = slug(f"{runtime.flow_run.name}-{name}")
                artifact = create_progress_artifact(percent, key=key, description=what)  # type: ignore[assignment]
            else:
                update_progress_artifact(artifact, percent, description=what)

    token = progress.listener.set(tell)
    try:
        yield
    finally:
        progress.listener.reset(token)


def slug(text: str) -> str:
    """As Prefect wants the keys of artefacts: a-z, 0-9 and dashes."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


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
OF_NETWORKS = (restore, pseudo_targets, finetune, train, generate, personalize, reference, measure, evaluate)
NODES = {stage.name: node(stage) for stage in STAGES}


def run(stage: Stage, params: Strict, at: str = "", /, **inputs: Source) -> ImageFolder:
    """The Prefect driver of flows/steps.py: run a stage as its task. at: what the result is, as Prefect shows it."""
    return NODES[stage.name](params, at, inputs)
