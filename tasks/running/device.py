"""Which device computes, and the lock that keeps two stages off one GPU."""

import ctypes
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt, with its defaults
DEFAULTS = {M_TRIM_THRESHOLD: 128 * 1024, M_MMAP_MAX: 65536}
LOCKS = Path(tempfile.gettempdir()) / f"bfr-gpu-{os.getuid()}"


@contextmanager
def held_device() -> Iterator[torch.device]:
    """The device to compute on, held while the block runs: a free GPU, else Apple's, else the CPU.

    One flock per GPU index, so a dead process never keeps one; with all taken, waits for GPU 0. The CPU is not locked:
    the operating system shares it well.
    """
    if not torch.cuda.is_available():
        with kept_memory():
            yield torch.device("mps" if torch.backends.mps.is_available() else "cpu")
        return
    index, lock = _lock_a_gpu(torch.cuda.device_count())
    with lock:
        yield torch.device("cuda", index)


@contextmanager
def kept_memory() -> Iterator[None]:
    """While the block runs, the process keeps the memory of tensors that are gone for the next ones.

    By default glibc hands large blocks back, and the system zeroes their pages anew for each tensor: a fifth of the
    time of a network on large images (docs/performance.md). Does nothing with other C libraries.
    """
    library = ctypes.CDLL(None)
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(M_TRIM_THRESHOLD, -1)
    mallopt(M_MMAP_MAX, 0)
    try:
        yield
    finally:
        for option, value in DEFAULTS.items():
            mallopt(option, value)
        library.malloc_trim(0)


def _lock_a_gpu(count: int) -> tuple[int, IO[str]]:
    LOCKS.mkdir(exist_ok=True)
    for index in range(count):
        lock = (LOCKS / str(index)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return index, lock
        except BlockingIOError:
            lock.close()
    lock = (LOCKS / "0").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return 0, lock
