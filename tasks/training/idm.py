"""Training of IDM: a clean image from a degraded and a noised one, L1 (Zhao et al., Eq. 7).

The first model learns from the photos as they are; it then cleans them (extrinsic iteration), and the second model,
which starts from the first, learns to make the cleaned photos from the same degraded ones.
"""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from tasks.idm import Idm, distance, gamma_between, noised, training_levels
from tasks.noise import numpy_stream
from tasks.training import loop
from tasks.training.supervised import average


@dataclass(frozen=True)
class IdmRecipe:
    """Settings of one run. Published: batch 32, 100,000 iterations, a constant learning rate.

    iterations: optimiser steps; lr: constant after `warmup` steps; ema: decay of the averaged weights, which are the
    result; norm: 1 or 2 of the loss; bf16: bfloat16 autocast.
    """

    iterations: int
    lr: float
    warmup: int
    ema: float
    norm: int
    bf16: bool
    seed: int


def train(
    model: Idm,
    batch_at: Callable[[int], tuple[Tensor, Tensor]],
    recipe: IdmRecipe,
    device: torch.device,
    *,
    resume: Path,
    save_every: int,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Idm:
    """Train `model` and return a copy with the averaged weights, in evaluation mode.

    batch_at: lq and target of step s (from 0), each [B, 3, H, W] float32 in [0, 1]; a pure function that threads may
    call. Step s draws noise and levels from a stream of its own; a run that finds the state file `resume` goes on.
    """
    model.to(device).to(memory_format=torch.channels_last).train().requires_grad_(True)
    averaged = copy.deepcopy(model)
    optimizer = loop.adamw(model, recipe.lr)
    parts: dict[str, loop.Stateful] = {"model": model, "averaged": averaged, "adamw": optimizer}
    steps = range(loop.resume_from(resume, parts, asdict(recipe), device), recipe.iterations)
    for step, (lq, target) in zip(steps, loop.read_ahead(batch_at, steps), strict=True):
        loop.set_lr(optimizer, recipe.lr * min(1.0, (step + 1) / recipe.warmup))
        x, y_0 = (2 * images.to(device) - 1 for images in (lq, target))
        gamma, eps = draw(step, recipe, y_0)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
            prediction = model(x, noised(y_0, gamma, eps), gamma)
        loss = distance(prediction.float(), y_0, 1 if recipe.norm == 1 else 2)
        loop.ensure_finite(step + 1, [loss.item()], resume)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average(averaged, model, min(recipe.ema, (1 + step) / (10 + step)))
        if loop.is_due(step + 1, save_every, recipe.iterations):
            loop.save_state(resume, parts, asdict(recipe), step + 1)
        on_step(step + 1, loss.item())
    return averaged.eval().requires_grad_(False)


def draw(step: int, recipe: IdmRecipe, y_0: Tensor) -> tuple[Tensor, Tensor]:
    """gamma [B] and noise like y_0, from the step's stream."""
    rng = numpy_stream(recipe.seed, "train_idm", str(step))
    level = torch.from_numpy(rng.integers(1, len(training_levels()), len(y_0)))
    gamma = gamma_between(level, torch.from_numpy(rng.random(len(y_0))))
    eps = torch.from_numpy(rng.standard_normal(tuple(y_0.shape), dtype="float32"))
    return gamma.to(y_0.device), eps.to(y_0.device)
