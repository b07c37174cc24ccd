"""Many heads at once, one process a core."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import cv2
import numpy as np

from tasks.heads.render import render

FEW = 12  # heads, whose rendering takes less time than a start of processes


def render_many(seeds: Sequence[int], size: int) -> Iterator[np.ndarray]:
    """`render(seed, size)` of each seed, in order.

    Raises BrokenProcessPool where no process can start, as from a script without `if __name__ == "__main__"`.
    """
    if len(seeds) <= FEW:
        yield from (render(seed, size) for seed in seeds)
        return
    processes = min(os.cpu_count() or 1, len(seeds) // FEW + 1)
    with ProcessPoolExecutor(processes, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        yield from pool.map(partial(render, size=size), seeds, chunksize=4)
