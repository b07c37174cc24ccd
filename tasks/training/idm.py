"""Training of IDM: a clean image from a degraded and a noised one, L1 (Zhao et al., Eq. 7).

The first model learns from the photos as they are; it then cleans them (extrinsic iteration), and the second model,
which starts from the first, learns to make the cleaned photos from the same degraded ones. Published: batch 32, 100,000
iterations, a constant learning rate.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tasks.methods.idm import distance, gamma_between, noised, training_levels
from tasks.noise import numpy_stream

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""lq and target [B, 3, H, W] in [0, 1], gamma [B], eps like the target."""


def objective(network: Callable[..., Tensor], lq: Tensor, target: Tensor, gamma: Tensor, eps: Tensor) -> Tensor:
    """Mean absolute error of the predicted clean image."""
    x, y_0 = 2 * lq - 1, 2 * target - 1
    return distance(network(x, noised(y_0, gamma, eps), gamma), y_0, 1)


def draw(lq: Tensor, target: Tensor, seed: int, name: str) -> Batch:
    """A batch with noise levels and noise from the stream `name`."""
    rng = numpy_stream(seed, "train_idm", name)
    level = torch.from_numpy(rng.integers(1, len(training_levels()), len(target)))
    gamma = gamma_between(level, torch.from_numpy(rng.random(len(target))))
    return lq, target, gamma, torch.from_numpy(rng.standard_normal(tuple(target.shape), dtype="float32"))
