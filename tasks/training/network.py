"""Training of one network by one loss: estimators, priors, albums, IDM. Each brings its objective and its batches.

DT-BFR's SwinIR trains against a discriminator (`swinir_gan`), and its CodeFormer by the codes (`codeformer`).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from tasks.training import loop

Network = TypeVar("Network", bound=nn.Module)
Objective = Callable[..., Tensor]
"""objective(network, *tensors of the batch): the mean loss over the images. The network's output comes as float32."""


@dataclass(frozen=True)
class Recipe:
    """Settings of one run.

    iterations: optimiser steps (AdamW without weight decay); lr: falls to lr_min along a cosine or a line (`schedule`),
    after a linear rise over `warmup` steps; ema: decay of the averaged weights, 0 averages nothing; clip: largest norm
    of the gradient; micro_batch: images of a forward pass, whose gradients add up (None: the whole batch); bf16:
    bfloat16 autocast.
    """

    iterations: int
    lr: float
    lr_min: float
    ema: float
    seed: int
    schedule: Literal["cosine", "line"] = "cosine"
    warmup: int = 1
    clip: float | None = None
    micro_batch: int | None = None
    bf16: bool = False


DIFFACE = Recipe(300_000, 5e-5, 5e-6, ema=0.0, seed=10_000)  # batch 32, losses.l1


def train(
    model: Network,
    objective: Objective,
    batch_at: Callable[[int], tuple[Tensor, ...]],
    recipe: Recipe,
    accelerator: loop.Processes,
    *,
    resume: Path | None,
    save_every: int = 500,
    on_step: Callable[[int, loop.Losses], None] = lambda step, losses: None,
) -> Network:
    """Train `model` in place on the accelerator's device; returns a copy with the averaged weights, or itself.

    batch_at: the batch of step s (from 0), tensors of the same first size on the CPU; a pure function that threads may
    call. Several processes share its images. resume, save_every, on_step: see `loop.drive`.
    """
    device = accelerator.device
    model.to(device).to(memory_format=torch.channels_last).train().requires_grad_(True)  # type: ignore[call-overload]
    averaged = copy.deepcopy(model) if recipe.ema else model
    optimizer = loop.adamw(model, recipe.lr)
    parts: dict[str, loop.Stateful] = {"model": model, "adamw": optimizer}
    if recipe.ema:
        parts["averaged"] = averaged

    def update(step: int, batch: tuple[Tensor, ...]) -> loop.Losses:
        loop.set_lr(optimizer, lr_at(recipe, step))
        optimizer.zero_grad()
        loss = accumulate(model, objective, batch, recipe, accelerator)
        loop.ensure_finite(step + 1, [loss], resume)
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        if recipe.ema:
            average(averaged, model, recipe.ema)
        return [loss]

    loop.drive(parts, batch_at, update, recipe, accelerator, resume=resume, save_every=save_every, on_step=on_step)
    return averaged


def accumulate(
    model: nn.Module, objective: Objective, batch: tuple[Tensor, ...], recipe: Recipe, accelerator: loop.Processes
) -> float:
    """Add the gradient of one batch (this process' share of its images) to the model; returns the loss."""

    def network(*inputs: Tensor) -> Tensor:
        with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=recipe.bf16):
            output: Tensor = model(*inputs)
        return output.float()

    images = len(batch[0])
    share = range(accelerator.process_index, images, accelerator.num_processes)
    total = torch.zeros((), device=accelerator.device)
    for first in range(0, len(share), recipe.micro_batch or images):
        rows = list(share[first : first + (recipe.micro_batch or images)])
        some = [part[rows].to(accelerator.device) for part in batch]
        loss = objective(network, *some) * (len(rows) / images)
        accelerator.backward(loss)
        total += loss.detach()
    loop.sum_over_processes(accelerator, model)
    return float(accelerator.reduce(total, "sum"))


def lr_at(recipe: Recipe, step: int) -> float:
    """Learning rate of step `step` (from 0). The line stays at lr for two steps, as gen2res' code is one step late."""
    warm = min(1.0, (step + 1) / recipe.warmup)
    if recipe.schedule == "line":
        return warm * (recipe.lr_min + (recipe.lr - recipe.lr_min) * (1 - max(step - 1, 0) / recipe.iterations))
    return warm * loop.cosine_lr(step, recipe.iterations, recipe.lr, recipe.lr_min)


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """One step of the exponential moving average of the parameters; buffers are copied."""
    for old, new in zip(averaged.parameters(), model.parameters(), strict=True):
        old.mul_(decay).add_(new, alpha=1 - decay)
    for old_buffer, new_buffer in zip(averaged.buffers(), model.buffers(), strict=True):
        old_buffer.copy_(new_buffer)
