"""Ctrl-C, SIGTERM and a page's Stop during work that must not be cut in the middle: noted, and obeyed at the next good
moment."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

LOG = logging.getLogger(__name__)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


stop: ContextVar[threading.Event | None] = ContextVar("stop", default=None)
"""Work in a thread, where no signal comes, ends at its next good moment once this is set; see `stopped_by`."""


class Stopped(Exception):
    """The work was asked to stop. What is finished is kept, and the same work goes on from there."""


@contextmanager
def stopped_by(event: threading.Event) -> Iterator[None]:
    """While the block runs, what is computed in it stops (raises Stopped) at the next good moment after the event."""
    token = stop.set(event)
    try:
        yield
    finally:
        stop.reset(token)


def is_stopped() -> bool:
    """Whether this work was asked to stop."""
    event = stop.get()
    return event is not None and event.is_set()


def heed_stop() -> None:
    """A good moment to stop. Raises Stopped if that was asked for."""
    if is_stopped():
        raise Stopped


class Interrupts:
    """What came since; `obey` hands it to who would have had it."""

    def __init__(self) -> None:
        self.noted: int | None = None

    @property
    def number(self) -> int | None:
        """The signal that came, or would have come: of a thread that was asked to stop, SIGINT."""
        if self.noted is None and is_stopped():
            self.noted = signal.SIGINT
        return self.noted

    def obey(self) -> None:
        """Deliver what was noted; does nothing if that is nothing. Usually it raises KeyboardInterrupt or Stopped."""
        if self.noted is not None:
            heed_stop()
            os.kill(os.getpid(), self.noted)


@contextmanager
def noted_interrupts(what: str) -> Iterator[Interrupts]:
    """While the block runs, the first interrupt is noted; the second one comes through at once.

    what: is finished first, for the message. Only the main thread hears of signals: in others, they go their usual way.
    """
    found = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    usual = {number: signal.getsignal(number) for number in SIGNALS}
    usual = {number: handler for number, handler in usual.items() if handler != signal.SIG_IGN}  # as behind nohup

    def let_through() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        found.noted = number
        let_through()
        LOG.warning("Stopping after %s, which is kept. Once more stops at once.", what)

    for number in usual:
        signal.signal(number, note)
    try:
        yield found
    finally:
        let_through()
