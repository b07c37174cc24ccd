"""Training of one network by one loss: estimators, priors, albums, IDM. Each brings its objective and its batches.

DT-BFR's SwinIR trains against a discriminator (`swinir_gan`), and its CodeFormer by the codes (`codeformer`).
"""

import copy
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from tasks.running.half import half_precision
from tasks.training import loop
from tasks.training.loop import Session, Steps

Network = TypeVar("Network", bound=nn.Module)
Objective = Callable[..., Tensor]
"""objective(network, *tensors of the batch): the mean loss over the images. The network's output comes as float32."""


class Averaged(Steps):
    """Training whose result are the averaged weights."""

    ema: float = Field(ge=0, lt=1, description="decay of the averaged weights, which are the result; 0: the last ones")
    bf16: bool = Field(default=False, description="bfloat16 autocast")


class Recipe(Averaged):
    """AdamW without weight decay; the learning rate falls along a cosine."""

    lr_min: NonNegativeFloat = Field(description="the learning rate falls to it along a cosine; lr: constant")
    warmup: PositiveInt = Field(default=1, description="steps over which the learning rate rises first")
    clip: PositiveFloat | None = Field(default=None, description="largest norm of the gradient")
    micro_batch: PositiveInt | None = Field(default=None, description="images of a forward pass; default: the batch")

    def lr_at(self, step: int) -> float:
        """Learning rate of step `step` (from 0)."""
        return min(1.0, (step + 1) / self.warmup) * loop.cosine_lr(step, self.iterations, self.lr, self.lr_min)

    @classmethod
    def constant(cls, steps: Averaged, **others: Any) -> Self:
        """The settings with these steps at their learning rate, which stays as it is."""
        return cls(**{name: getattr(steps, name) for name in Averaged.model_fields}, lr_min=steps.lr, **others)


class Settings(loop.Settings, Protocol):
    """What `train` asks of the settings of a run: those of a `Recipe`, or of `Steps` that fix the rest."""

    @property
    def lr(self) -> float: ...
    @property
    def ema(self) -> float: ...
    @property
    def bf16(self) -> bool: ...
    @property
    def clip(self) -> float | None: ...
    @property
    def micro_batch(self) -> int | None: ...
    def lr_at(self, step: int) -> float: ...


def train(
    model: Network,
    objective: Objective,
    batch_at: Callable[[int], tuple[Tensor, ...]],
    settings: Settings,
    seed: int,
    session: Session,
) -> Network:
    """Train `model` in place on the session's device; returns a copy with the averaged weights, or itself.

    batch_at: the batch of step s (from 0), tensors of the same first size on the CPU; a pure function that threads may
    call. Several processes share its images.
    """
    model.to(session.device).to(memory_format=torch.channels_last).train().requires_grad_(True)  # type: ignore[call-overload]
    averaged = copy.deepcopy(model) if settings.ema else model
    optimizer = loop.adamw(model, settings.lr)
    parts: dict[str, loop.Stateful] = {"model": model, "adamw": optimizer}
    if settings.ema:
        parts["averaged"] = averaged

    def update(step: int, batch: tuple[Tensor, ...]) -> loop.Losses:
        loop.set_lr(optimizer, settings.lr_at(step))
        optimizer.zero_grad()
        loss = accumulate(model, objective, batch, settings, session.processes)
        loop.ensure_finite(step + 1, [loss], session.resume)
        if settings.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        if settings.ema:
            average(averaged, model, settings.ema)
        return [loss]

    loop.drive(parts, batch_at, update, settings, seed, session)
    return averaged


def accumulate(
    model: nn.Module, objective: Objective, batch: tuple[Tensor, ...], settings: Settings, accelerator: loop.Processes
) -> float:
    """Add the gradient of one batch (this process' share of its images) to the model; returns the loss."""

    def network(*inputs: Tensor) -> Tensor:
        with half_precision(accelerator.device, settings.bf16):
            output: Tensor = model(*inputs)
        return output.float()

    images = len(batch[0])
    share = loop.share_of(batch, accelerator)
    total = torch.zeros((), device=accelerator.device)
    size = settings.micro_batch or images
    for first in range(0, len(share[0]), size):
        some = [part[first : first + size] for part in share]
        loss = objective(network, *some) * (len(some[0]) / images)
        accelerator.backward(loss)
        total += loss.detach()
    loop.sum_over_processes(accelerator, model)
    return float(accelerator.reduce(total, "sum"))


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """One step of the exponential moving average of the parameters; buffers are copied."""
    old: list[Tensor] = list(averaged.parameters())
    new: list[Tensor] = list(model.parameters())
    torch._foreach_mul_(old, decay)  # one kernel for many parameters
    torch._foreach_add_(old, new, alpha=1 - decay)
    if buffers := list(averaged.buffers()):
        torch._foreach_copy_(buffers, list(model.buffers()))
