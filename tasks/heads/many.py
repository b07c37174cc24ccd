"""Many heads at once, one process a core."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing import get_context

import cv2
import numpy as np

from tasks.heads.render import render

FEW = 12  # heads, whose rendering takes less time than a start of processes


def render_many(seeds: Sequence[int], size: int) -> Iterator[np.ndarray]:
    """`render(seed, size)` of each seed, in order."""
    if len(seeds) <= FEW:
        yield from (render(seed, size) for seed in seeds)
        return
    processes = min(os.cpu_count() or 1, len(seeds) // FEW + 1)
    with get_context("spawn").Pool(processes, cv2.setNumThreads, (1,)) as pool:
        yield from pool.imap(partial(render, size=size), seeds, chunksize=4)
