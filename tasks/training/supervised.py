"""Pre-training of a restorer on pairs (LQ, HQ) with a plain loss: L1, as DifFace trains its estimators.

DT-BFR pre-trains its SwinIR with an adversarial loss as well: `swinir_gan.train` with the recipe `swinir_gan.PRETRAIN`.
"""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tasks.training import loop

if TYPE_CHECKING:
    from accelerate import Accelerator

Loss = Callable[[Tensor, Tensor], Tensor]
"""Of output and target, both [B, 3, H, W]; the mean over the images, so that processes can share a batch."""


@dataclass(frozen=True)
class SupervisedRecipe:
    """Settings of one run.

    iterations: optimiser steps; lr: falls to lr_min along a cosine; ema: decay of the averaged weights (0 averages
    nothing: they are the last ones); bf16: bfloat16 autocast.
    """

    iterations: int
    lr: float
    lr_min: float
    ema: float
    bf16: bool
    seed: int


DIFFACE = SupervisedRecipe(300_000, 5e-5, 5e-6, ema=0.0, bf16=False, seed=10_000)  # batch 32, losses.l1


def train(
    model: nn.Module,
    loss: Loss,
    batch_at: Callable[[int], tuple[Tensor, Tensor]],
    recipe: SupervisedRecipe,
    accelerator: "Accelerator",
    *,
    resume: Path,
    save_every: int,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> nn.Module:
    """Train `model` in place on the accelerator's device and return a copy with the averaged weights.

    batch_at: the batch of step s (from 0): lq and hq, each [B, 3, H, W] float32 in [0, 1] on the CPU; a pure function
    that threads may call. Several processes share its images; B must be a multiple of their number.
    resume: state file, written every `save_every` steps and at the end; a run that finds it goes on from there.
    on_step: called after every step with its number (from 1) and its loss.
    """
    model.to(accelerator.device).train()
    averaged = copy.deepcopy(model)
    optimizer = loop.adamw(model, recipe.lr)
    parts: dict[str, loop.Stateful] = {"model": model, "averaged": averaged, "adamw": optimizer}
    steps = range(loop.resume_from(resume, parts, asdict(recipe), accelerator.device), recipe.iterations)
    for step, batch in zip(steps, loop.read_ahead(batch_at, steps), strict=True):
        loop.set_lr(optimizer, loop.cosine_lr(step, recipe.iterations, recipe.lr, recipe.lr_min))
        optimizer.zero_grad()
        with loop.step_randomness(recipe.seed, step, accelerator):
            step_loss = accumulate(model, loss, batch, recipe, accelerator)
        loop.ensure_finite(step + 1, [step_loss], resume)
        optimizer.step()
        average(averaged, model, recipe.ema)
        if loop.is_due(step + 1, save_every, recipe.iterations) and accelerator.is_main_process:
            loop.save_state(resume, parts, asdict(recipe), step + 1)
        on_step(step + 1, step_loss)
    return averaged


def accumulate(
    model: nn.Module,
    loss: Loss,
    batch: tuple[Tensor, Tensor],
    recipe: SupervisedRecipe,
    accelerator: "Accelerator",
) -> float:
    """Add the gradient of one batch (this process' share of its images) to the model; returns the loss."""
    share = slice(accelerator.process_index, None, accelerator.num_processes)
    lq, hq = (images[share].to(accelerator.device) for images in batch)
    with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=recipe.bf16):
        output = model(lq)
    share_of_loss = loss(output.float(), hq) / accelerator.num_processes
    accelerator.backward(share_of_loss)
    loop.sum_over_processes(accelerator, model)
    return float(accelerator.reduce(share_of_loss.detach(), "sum"))


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """One step of the exponential moving average of the parameters; buffers are copied."""
    for old, new in zip(averaged.parameters(), model.parameters(), strict=True):
        old.mul_(decay).add_(new, alpha=1 - decay)
    for old_buffer, new_buffer in zip(averaged.buffers(), model.buffers(), strict=True):
        old_buffer.copy_(new_buffer)
