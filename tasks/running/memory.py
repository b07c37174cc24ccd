"""The memory that is free for a batch, and the errors that say that it was too little."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
TOO_LITTLE = (
    "out of memory",  # CUDA, MPS
    "can't allocate memory",  # torch's allocator on the CPU
    "not enough memory",  # the same on other systems
    "bad_alloc",
    "alloc_failed",  # cuDNN, cuBLAS, cuSOLVER
)


def is_too_little_memory(error: BaseException) -> bool:
    """Whether an allocation failed; on most devices and in most libraries that is a RuntimeError like any other."""
    text = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(words in text for words in TOO_LITTLE)


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still take: of the device with torch's own cache, or of the machine or container."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    return max(0, min([psutil.virtual_memory().available, *_left_in_groups()]))


def _left_in_groups() -> Iterator[int]:
    """Bytes left under each limit of the control groups (versions 1 and 2) that this process is in, as in a container.

    Files that were read lie in memory too, but give way.
    """
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:  # another system
        return
    for _, controllers, place in (line.split(":", 2) for line in lines):
        if not controllers:
            yield from _left(CGROUPS, place, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _left(CGROUPS / "memory", place, *names)


def _left(root: Path, place: str, limit: str, usage: str, reclaimed: str) -> Iterator[int]:
    own = root / place.lstrip("/")
    for group in {own, *own.parents, root}:
        if not group.is_relative_to(root):
            continue
        try:
            most, used = (group / limit).read_text().strip(), int((group / usage).read_text())
            kinds = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except OSError:  # the group of the whole machine has no limit; that of a host is not to be seen in a container
            continue
        if most != "max":
            yield int(most) - used + int(kinds.get(reclaimed, 0))
