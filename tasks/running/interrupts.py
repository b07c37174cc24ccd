"""Ctrl-C and SIGTERM during work that must not be cut in the middle: noted, and obeyed at the next good moment."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LOG = logging.getLogger(__name__)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """What came since; `obey` hands it to who would have had it."""

    def __init__(self) -> None:
        self.number: int | None = None

    def obey(self) -> None:
        """Deliver what was noted; does nothing if that is nothing. Usually it raises KeyboardInterrupt."""
        if self.number is not None:
            os.kill(os.getpid(), self.number)


@contextmanager
def noted_interrupts(what: str) -> Iterator[Interrupts]:
    """While the block runs, the first interrupt is noted; the second one comes through at once.

    what: is finished first, for the message. Only the main thread can do so: in others, interrupts go their usual way.
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
        found.number = number
        let_through()
        LOG.warning("Stopping after %s, which is kept. Once more stops at once.", what)

    for number in usual:
        signal.signal(number, note)
    try:
        yield found
    finally:
        let_through()
