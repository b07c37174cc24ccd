"""`tasks.noise.normal` in one pass: by numba on the CPU, by Triton on CUDA. The same bits, only sooner.

Elsewhere, and where a compiler is missing, the tensor operations of tasks/noise.py do it.
"""

import logging
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from tasks.running.memory import is_too_little_memory

Kernel = Callable[[Tensor, int, int, Tensor], Tensor]
"""(streams, draw, blocks, table) as `tasks.noise.normal` has them, to [N, 4 blocks] float32."""


def kernel_for(device: torch.device) -> Kernel | None:
    """The compiled version for a device, None where there is none."""
    if device.type == "cpu":
        return on_cpu()
    return on_cuda(device) if device.type == "cuda" else None


@cache
def on_cpu() -> Kernel | None:
    if not find_spec("numba"):
        return None
    from tasks.running.noise_numba import normal  # here, not above: takes half a second

    return normal


@cache
def on_cuda(device: torch.device) -> Kernel | None:
    """Tried once: Triton needs a C compiler, which some machines with a GPU lack."""
    try:
        from tasks.running.noise_triton import normal

        streams, table = (torch.zeros(shape, dtype=torch.int64, device=device) for shape in ((1, 4), (2049, 3)))
        normal(streams, 0, 1, table)
    except Exception as error:
        if is_too_little_memory(error):
            raise
        said = (str(error).splitlines() or [type(error).__name__])[0]
        logging.getLogger(__name__).warning("no Triton here (%s): noise takes ten times as long", said)
        return None
    return normal
