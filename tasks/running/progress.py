"""Progress of long work: a terminal bar with an estimate, and whoever else listens (Prefect's progress artefact)."""

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TypeVar

from tqdm import tqdm

from tasks.running.interrupts import heed_stop

T = TypeVar("T")

# Called as listener(what, done, total) after each piece of work; set by tasks/nodes.py inside a Prefect run.
listener: ContextVar[Callable[[str, int, int], None] | None] = ContextVar("progress_listener", default=None)


def track(items: Sequence[T], what: str) -> Iterator[T]:
    """Yield the items, showing how many are done and how long the rest will take; before each, one may stop it."""
    tell = listener.get()
    for done, item in enumerate(tqdm(items, desc=what, mininterval=1, leave=False), start=1):
        heed_stop()
        yield item
        if tell:
            tell(what, done, len(items))


class Bar:
    """Progress of work that calls back, a training loop say: `with Bar(what, total) as bar: … bar.advance()`."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0

    def __enter__(self) -> "Bar":
        self._bar = tqdm(total=self.total, desc=self.what, mininterval=1, leave=False)
        self._tell = listener.get()
        return self

    def advance(self) -> None:
        self.done += 1
        self._bar.update()
        if self._tell:
            self._tell(self.what, self.done, self.total)

    def __exit__(self, *_: object) -> None:
        self._bar.close()


class Amount:
    """Progress of a download, in bytes: `with Amount(what, total, begun) as amount: … amount.add(1000)`.

    total: 0 where it is not known; begun: what was there before.
    """

    def __init__(self, what: str, total: int, begun: int) -> None:
        self.what, self.total, self.done = what, total, begun

    def __enter__(self) -> "Amount":
        self._bar = tqdm(total=self.total or None, initial=self.done, desc=self.what, unit="B", unit_scale=True)
        self._tell = listener.get()
        return self

    def add(self, count: int) -> None:
        heed_stop()
        self.done += count
        self._bar.update(count)
        if self._tell:
            self._tell(self.what, self.done, self.total)

    def __exit__(self, *_: object) -> None:
        self._bar.close()
