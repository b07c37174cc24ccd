"""The deployments that a checkout serves: one of each flow, named by the checkout."""

from typing import Any

from prefect import serve

from flows.benchmark import benchmark
from flows.photos import adapt, personalize, restore, train

FLOWS: tuple[Any, ...] = (benchmark, adapt, restore, personalize, train)


def serve_all(checkout: str) -> None:
    """Serve them all in this process until it is interrupted; each run gets a process of its own."""
    serve(*(flow.to_deployment(checkout) for flow in FLOWS), pause_on_shutdown=True)
