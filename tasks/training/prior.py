"""Training of the unconditional diffusion prior: the loss of guided-diffusion (mse + vb), AdamW, averaged weights.

Source: Nichol & Dhariwal 2021 (hybrid loss), Dhariwal & Nichol 2021 (ADM). DifFace and DT-BFR train theirs on FFHQ so.
"""

import copy
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
from tasks.training.supervised import average


@dataclass(frozen=True)
class PriorRecipe:
    """Settings of one run.

    iterations: optimiser steps; batch: images a step; lr: reached linearly in `warmup` steps, then a cosine to zero;
    ema: decay of the averaged weights, which are the result; bf16: bfloat16 autocast.
    """

    iterations: int
    batch: int
    lr: float
    warmup: int
    ema: float
    bf16: bool
    seed: int


def train(
    model: UNet,
    images: Tensor,
    recipe: PriorRecipe,
    device: torch.device,
    *,
    resume: Path,
    save_every: int,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> UNet:
    """Train `model` on `images` (uint8 [N, 3, H, W], mirrored at random) and return a copy with the averaged weights.

    Step s draws its images, timesteps and noise from a stream of its own, so a run that finds the state file `resume`
    (written every `save_every` steps) goes on as if it had never stopped. on_step gets the step (from 1) and its loss.
    """
    model.to(device).to(memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(model)
    optimizer = loop.adamw(model, recipe.lr)
    parts: dict[str, loop.Stateful] = {"model": model, "averaged": averaged, "adamw": optimizer}
    schedule = Schedule.linear()
    for step in range(loop.resume_from(resume, parts, asdict(recipe), device), recipe.iterations):
        warm = min(1.0, (step + 1) / recipe.warmup)
        loop.set_lr(optimizer, warm * loop.cosine_lr(step, recipe.iterations, recipe.lr, 0.0))
        x_start, t, noise = draw(images, step, recipe, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
            loss = training_losses(model, schedule, x_start, t, noise)["loss"].mean()
        loop.ensure_finite(step + 1, [loss.item()], resume)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average(averaged, model, min(recipe.ema, (1 + step) / (10 + step)))
        if loop.is_due(step + 1, save_every, recipe.iterations):
            loop.save_state(resume, parts, asdict(recipe), step + 1)
        on_step(step + 1, loss.item())
    return averaged


def draw(images: Tensor, step: int, recipe: PriorRecipe, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """x_start [B, 3, H, W] in [-1, 1], t [B] uniform in 0 … 999, noise like x_start; all from the step's stream."""
    rng = numpy_stream(recipe.seed, "train_prior", str(step))
    rows = loop.batch_indices(recipe.seed, len(images), recipe.batch, step)
    x_start = images[rows].to(device).float().div(127.5).sub(1)
    is_mirrored = torch.from_numpy(rng.random(recipe.batch) < 0.5).to(device)
    x_start = torch.where(is_mirrored[:, None, None, None], x_start.flip(-1), x_start)
    t = torch.from_numpy(rng.integers(0, 1000, recipe.batch)).to(device)
    noise = torch.from_numpy(rng.standard_normal(tuple(x_start.shape), dtype="float32")).to(device)
    return x_start.contiguous(memory_format=torch.channels_last), t, noise
