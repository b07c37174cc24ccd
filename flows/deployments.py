"""The deployments: one `benchmark` per experiment of params.yaml, and the flows for a folder of photos."""

from typing import Any

from prefect import serve

from flows.benchmark import benchmark
from flows.photos import adapt, personalize, restore, train
from tasks.params.load import experiment_names


def serve_all() -> None:
    """Serve them all in this process until it is interrupted; each run gets a process of its own."""
    deployments: list[Any] = [
        benchmark.to_deployment(name, parameters={"experiment": name}) for name in experiment_names()
    ]
    deployments += [flow.to_deployment("photos") for flow in (adapt, restore, personalize)]
    deployments.append(train.to_deployment("model"))
    serve(*deployments, pause_on_shutdown=True)
