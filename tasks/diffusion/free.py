"""Free samples: what a prior draws from noise alone."""

import torch
from torch import Tensor

from tasks.diffusion.samplers import Denoise, Draw, p_sample
from tasks.diffusion.schedule import Schedule


@torch.no_grad()
def sample(denoise: Denoise, schedule: Schedule, noise: Draw) -> Tensor:
    """Images [N, C, H, W] in [0, 1] of ancestral sampling; noise is drawn for the start, then once a step."""
    x = noise()
    for i in reversed(range(len(schedule))):
        x = p_sample(denoise, schedule, x, i, noise())
    return (x / 2 + 0.5).clamp(0, 1)
