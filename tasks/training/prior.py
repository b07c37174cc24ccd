"""Training of the unconditional diffusion prior: the loss of guided-diffusion, mse + vb.

Source: Nichol & Dhariwal 2021 (hybrid loss), Dhariwal & Nichol 2021 (ADM). DifFace and DT-BFR train theirs on FFHQ so,
and gen2res goes on with the same loss on an album.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from tasks.diffusion.schedule import Schedule
from tasks.diffusion.training_loss import training_losses
from tasks.noise import numpy_stream

Batch = tuple[Tensor, Tensor, Tensor]
"""x_start [B, 3, H, W] in [-1, 1], t [B] of 0 … 999, noise like x_start."""


@cache
def schedule() -> Schedule:
    return Schedule.linear()


def objective(network: Callable[..., Tensor], x_start: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Mean of mse + vb over the images."""
    return training_losses(network, schedule(), x_start, t, noise)["loss"].mean()


@torch.no_grad()
def noise_mse(model: nn.Module, batch: Batch, device: torch.device, images: int) -> float:
    """Mean squared error of the noise that the network predicts, over a batch of which `images` go at a time."""
    parts = zip(*(part.split(images) for part in batch), strict=True)
    terms = [training_losses(model, schedule(), *(part.to(device) for part in some))["mse"] for some in parts]
    return float(torch.cat(terms).mean())


def draw(images: Tensor, seed: int, name: str) -> Batch:
    """A batch from images [B, 3, H, W] in [0, 1], mirrored at random; all from the stream `name`."""
    rng = numpy_stream(seed, "train_prior", name)
    is_mirrored = torch.from_numpy(rng.random(len(images)) < 0.5)
    x_start = 2 * torch.where(is_mirrored[:, None, None, None], images.flip(-1), images) - 1
    return x_start, *draw_noise(x_start, rng)


def draw_noise(x_start: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """t, uniform, and noise."""
    t = torch.from_numpy(rng.integers(0, len(schedule()), len(x_start)))
    return t, torch.from_numpy(rng.standard_normal(tuple(x_start.shape), dtype="float32"))
