"""Reading images in threads while the device computes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Step = TypeVar("Step")
Batch = TypeVar("Batch")
READ_AHEAD = 4  # batches in flight; decoding 48 PNGs of 512 x 512 takes as long as a training step on a large GPU


def read_ahead(batch_at: Callable[[Step], Batch], steps: Iterable[Step]) -> Iterator[Batch]:
    """`batch_at(step)` for each step, in order, read by threads while the previous ones are in use."""
    waiting: deque[Future[Batch]] = deque()
    pool = ThreadPoolExecutor(READ_AHEAD)
    try:
        for step in steps:
            waiting.append(pool.submit(batch_at, step))
            if len(waiting) > READ_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
