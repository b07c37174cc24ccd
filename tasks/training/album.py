"""Personalising the prior on an album (gen2res, Ding et al. 2024): a short fine-tuning with the prior's own loss.

Official: AdamW without weight decay, learning rate falling linearly to zero, batch 4, no flips, raw weights (no
averaging); 3,000 steps on a generative album, 5,000 on a personal one.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from tasks.diffusion.schedule import Schedule
from tasks.diffusion.training_loss import training_losses
from tasks.diffusion.unet import UNet
from tasks.noise import numpy_stream
from tasks.training import loop


@dataclass(frozen=True)
class AlbumRecipe:
    """Settings of one run. iterations: optimiser steps; batch: images a step; lr: at the first two steps."""

    iterations: int
    batch: int
    lr: float
    seed: int


def train(
    model: UNet,
    album: Tensor,
    recipe: AlbumRecipe,
    device: torch.device,
    *,
    resume: Path | None = None,
    save_every: int = 500,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Fine-tune `model` in place on `album`, float32 [M, C, H, W] in [0, 1], at least one image.

    Step s draws its images, timesteps and noise from a stream of its own; a run that finds the state file `resume` goes
    on bit-equally. on_step gets the step (from 1) and its loss. Leaves the model in evaluation mode.
    """
    model.to(device).requires_grad_(True).train()
    optimizer = loop.adamw(model, recipe.lr)
    parts: dict[str, loop.Stateful] = {"model": model, "adamw": optimizer}
    schedule = Schedule.linear()
    first = loop.resume_from(resume, parts, asdict(recipe), device) if resume else 0
    for step in range(first, recipe.iterations):
        rng = numpy_stream(recipe.seed, "train_album", str(step))
        rows = rng.choice(len(album), recipe.batch, replace=len(album) <= recipe.batch)
        x_start = 2 * album[rows].to(device) - 1
        t = torch.from_numpy(rng.integers(0, len(schedule), recipe.batch)).to(device)
        noise = torch.from_numpy(rng.standard_normal(tuple(x_start.shape), dtype="float32")).to(device)
        losses = album_step(
            model, optimizer, schedule, x_start, t, noise, linear_lr(step, recipe.iterations, recipe.lr)
        )
        loop.ensure_finite(step + 1, [losses["loss"].mean().item()], resume)
        if resume and loop.is_due(step + 1, save_every, recipe.iterations):
            loop.save_state(resume, parts, asdict(recipe), step + 1)
        on_step(step + 1, losses["loss"].mean().item())
    model.eval().requires_grad_(False)


def album_step(
    model: UNet,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    x_start: Tensor,
    t: Tensor,
    noise: Tensor,
    lr: float,
) -> dict[str, Tensor]:
    """One optimiser step on x_start [N, C, H, W] in [-1, 1]; the losses [N] before it, by name."""
    loop.set_lr(optimizer, lr)
    losses = training_losses(model, schedule, x_start, t, noise)
    optimizer.zero_grad()
    losses["loss"].mean().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return losses


def linear_lr(step: int, iterations: int, lr: float) -> float:
    """Learning rate of step `step` (from 0): lr at the first two, then linear to zero (one step late, as the code)."""
    return lr * (1 - max(step - 1, 0) / iterations)
