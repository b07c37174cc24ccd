"""The deployments that a checkout serves: one of each flow, named by the checkout."""

import asyncio
import signal
from contextlib import suppress
from typing import Any

from prefect.logging.handlers import APILogHandler
from prefect.runner import Runner

from flows.benchmark import benchmark
from flows.photos import adapt, personalize, restore, train
from flows.server import API, POLL_S
from flows.terminal import Screen

FLOWS: tuple[Any, ...] = (benchmark, adapt, restore, personalize, train)
ENDING_S = 30.0  # after which a server that does not answer is given up
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Served(Runner):
    """Prefect's runner, which ends in order at the first signal: its runs are cancelled, and no other disturbs that.

    Prefect's own handler leaves the loop by an exception, at a second signal once more, and the runs as running.
    """

    async def until_a_signal(self) -> None:
        """Take runs of the deployments and start them, each in a process of its own."""
        self._serving = asyncio.get_running_loop(), asyncio.current_task()
        for number in SIGNALS:
            signal.signal(number, self.handle_sigterm)
        with suppress(asyncio.CancelledError):
            await self.start()

    def handle_sigterm(self, *_: Any, **__: Any) -> None:
        """What `start` makes of SIGTERM, and `until_a_signal` of the others."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        asyncio.run_coroutine_threadsafe(self._end(), self._serving[0])

    async def _end(self) -> None:
        loop, task = self._serving
        if task:
            loop.call_later(ENDING_S, task.cancel)
        while not self.started:  # a signal came while it starts
            await asyncio.sleep(POLL_S)
        await self.astop()


def serve_all(checkout: str) -> None:
    """Serve them all in this process until a signal; each run gets a process of its own."""
    runner = Served(pause_on_shutdown=True)
    for flow in FLOWS:
        runner.add_deployment(flow.to_deployment(checkout))
    names = ", ".join(f"{flow.name}/{checkout}" for flow in FLOWS)
    page = API.removesuffix("/api")
    Screen(1).line(f"Served until Ctrl-C: {names}. Prefect's page: {page}")
    asyncio.run(runner.until_a_signal())
    APILogHandler().flush()  # while the server is there
