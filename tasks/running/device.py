"""Which device computes, and the lock that keeps two stages off one GPU."""

import ctypes
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

from tasks.store.provenance import USED

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt, with its defaults
DEFAULTS = {M_TRIM_THRESHOLD: 128 * 1024, M_MMAP_MAX: 65536}
LOCKS = Path(tempfile.gettempdir()) / f"bfr-gpu-{os.getuid()}"
PAUSE_S = 0.5  # between two looks at GPUs that are all taken


@contextmanager
def held_device() -> Iterator[torch.device]:
    """The device to compute on, held while the block runs: a free GPU, else Apple's, else the CPU.

    This alone decides which device computes. One flock per GPU, so a dead process never keeps one; with all taken,
    waits for the first that is given back. Processes that `accelerate launch` started have the GPU of their local rank
    each. The CPU is not locked: the operating system shares it well.
    """
    if not torch.cuda.is_available():
        with kept_memory():
            yield torch.device("mps" if torch.backends.mps.is_available() else "cpu")
        return
    rank = local_rank()
    index, lock = _lock_a_gpu(range(torch.cuda.device_count()) if rank is None else [rank])
    USED.set(torch.cuda.get_device_name(index))
    with lock, torch.cuda.device(index):
        yield torch.device("cuda", index)


def local_rank() -> int | None:
    """The number of this process among those that `accelerate launch` or `torchrun` started on this machine."""
    rank = os.environ.get("LOCAL_RANK")
    return None if rank is None else int(rank)


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


def _lock_a_gpu(indices: Sequence[int]) -> tuple[int, IO[str]]:
    LOCKS.mkdir(exist_ok=True)
    while True:
        for index in indices:
            lock = (LOCKS / name_of(index)).open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return index, lock
            except BlockingIOError:
                lock.close()
        time.sleep(PAUSE_S)


def name_of(index: int) -> str:
    """What a visible GPU is called in every process: its UUID, or that of the slice (MIG).

    Its index is another one in a process with another CUDA_VISIBLE_DEVICES.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if index < len(visible) and visible[index].strip().startswith("MIG-"):
        return visible[index].strip().replace("/", "-")  # an older form has slashes
    return str(torch.cuda.get_device_properties(index).uuid)
