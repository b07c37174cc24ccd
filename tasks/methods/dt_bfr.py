"""Algorithm 1 of DT-BFR: clean pseudo targets from an unconditional diffusion prior.

The steps and their order follow the official code, which differs from the paper's text: a 250-step chain (K = 600 and
L = 360 are its indices 150 and 90), x is noised at `start` but denoised from `start - 1`, the variance is learned, x_0
is clipped, and every use of noise is a new draw (Eq. 5 shares one).
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from pydantic import (
    Field,
    PositiveInt,
    model_validator,
)
from torch import Tensor

from tasks.basics import Strict
from tasks.diffusion.lowpass import low_pass
from tasks.diffusion.samplers import Denoise, Draw, dpm_solver, p_sample
from tasks.diffusion.schedule import Schedule
from tasks.methods.respacing import Respacing


class PseudoTargets(Strict):
    """Algorithm 1 of DT-BFR."""

    respacing: Respacing = Field(description="kept steps of the 1000, in guided-diffusion's notation; published: '250'")
    start_t: PositiveInt = Field(le=1000, description="K: noise level to start from, of 1000; published: 600")
    stop_t: int = Field(ge=0, description="L: the low frequencies are constrained while t > L; published: 360")
    factor: PositiveInt = Field(description="N: shrink factor of the low-pass filter; published: 16, CodeFormer x4: 8")
    is_constrained: bool = Field(default=True, description="false: the unconditional variant of the ablation")
    sampler: Literal["ancestral", "dpm_solver"] = Field(
        default="ancestral", description="dpm_solver: of second order, for fewer steps; published: ancestral"
    )
    samples: PositiveInt = Field(
        default=1, description="not in the papers: each target is the mean of so many draws; published: 1"
    )
    bf16: bool = Field(default=False, description="bfloat16 autocast of the prior; published: float32")

    @model_validator(mode="after")
    def _order(self) -> "PseudoTargets":
        if self.stop_t >= self.start_t:
            raise ValueError(f"stop_t (L = {self.stop_t}) must be below start_t (K = {self.start_t})")
        return self

    @property
    def evaluations(self) -> int:
        """Evaluations of the prior for one photo."""
        start, _ = step_indices(Schedule.linear().respace(self.respacing), start_t=self.start_t, stop_t=self.stop_t)
        return start * self.samples


Variant = Callable[[Denoise, Schedule, Tensor, Draw], Tensor]
"""Targets of a denoiser, the schedule, y0 and noise."""


@torch.no_grad()
def pseudo_targets(
    denoise: Denoise,
    schedule: Schedule,
    y0: Tensor,
    noise: Draw,
    *,
    start: int,
    reg_end: int,
    factor: int,
    on_step: Callable[[int], None] = lambda i: None,
) -> Tensor:
    """Pseudo targets of the restorations y0 [N, C, H, W] in [0, 1]; the same shape and range back.

    start, reg_end: indices of the schedule, see `step_indices`; the low frequencies of y0 are imposed after the steps
    start - 1 … reg_end. factor: N of the low-pass filter; must divide H and W. on_step(i) is called after each step.
    Noise is drawn in the official order: for the start, then per step the sampler's and, if constrained, y's.
    Raises ValueError unless 0 <= reg_end < start < len(schedule).
    """
    if not 0 <= reg_end < start < len(schedule):
        raise ValueError(
            f"expected 0 <= reg_end < start < {len(schedule)} (steps of the schedule),"
            f" found start = {start}, reg_end = {reg_end}"
        )
    clean = 2 * y0 - 1
    x = schedule.q_sample(clean, start, noise())
    for i in reversed(range(start)):
        x = p_sample(denoise, schedule, x, i, noise())
        if i >= max(reg_end, 1):  # the result itself, after i = 0, stays free
            reference = schedule.q_sample(clean, i - 1, noise())
            x = x + low_pass(reference - x, factor)
        on_step(i)
    return (x / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def unconditional_targets(
    denoise: Denoise,
    schedule: Schedule,
    y0: Tensor,
    noise: Draw,
    *,
    start: int,
    on_step: Callable[[int], None] = lambda i: None,
) -> Tensor:
    """The ablation without the low-frequency constraint: noise y0 to `start`, then denoise freely."""
    x = schedule.q_sample(2 * y0 - 1, start, noise())
    for i in reversed(range(start)):
        x = p_sample(denoise, schedule, x, i, noise())
        on_step(i)
    return (x / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def second_order_targets(
    denoise: Denoise,
    schedule: Schedule,
    y0: Tensor,
    noise: Draw,
    *,
    start: int,
    reg_end: int,
    factor: int,
    on_step: Callable[[int], None] = lambda i: None,
) -> Tensor:
    """`pseudo_targets` by DPM-Solver++(2M), for fewer steps; the paper has no such variant.

    The chain is deterministic and begins at start - 1, where it is told to be; all noise is one draw, so that the low
    frequencies of y0 are imposed with the noise that the state has. reg_end = start: without the constraint.
    """
    clean, eps = 2 * y0 - 1, noise()

    def constrained(x: Tensor, i: int) -> Tensor:
        return x + low_pass(schedule.q_sample(clean, i - 1, eps) - x, factor) if i >= reg_end else x

    x = schedule.q_sample(clean, start - 1, eps)
    x_0 = dpm_solver(denoise, schedule, x, start, change=constrained, on_step=on_step)
    return (x_0 / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def mean_of_draws(
    variant: Variant, samples: int, denoise: Denoise, schedule: Schedule, y0: Tensor, noise: Draw
) -> Tensor:
    """The mean of so many targets of a variant, in [0, 1]; no paper has it. Each goes on along the images' streams."""
    total = variant(denoise, schedule, y0, noise)
    for _ in range(samples - 1):
        total = total + variant(denoise, schedule, y0, noise)
    return total / samples


def targets_of(settings: PseudoTargets, schedule: Schedule) -> Variant:
    """What the settings ask for."""
    return partial(mean_of_draws, variant_of(settings, schedule), settings.samples)


def variant_of(settings: PseudoTargets, schedule: Schedule) -> Variant:
    """One draw of what the settings ask for."""
    start, reg_end = step_indices(schedule, start_t=settings.start_t, stop_t=settings.stop_t)
    if settings.sampler == "dpm_solver":
        reg_end = reg_end if settings.is_constrained else start
        return partial(second_order_targets, start=start, reg_end=reg_end, factor=settings.factor)
    if settings.is_constrained:
        return partial(pseudo_targets, start=start, reg_end=reg_end, factor=settings.factor)
    return partial(unconditional_targets, start=start)


def step_indices(schedule: Schedule, *, start_t: int, stop_t: int) -> tuple[int, int]:
    """(start, reg_end) of a schedule for the paper's K and L, both steps of the original 1000.

    start is the first kept step with t >= K, reg_end the first with t > L: (600, 360) is (150, 90) of "250".
    Raises ValueError if the schedule keeps no step at K or above, or none between L and K to constrain.
    """
    kept = schedule.timestep_map
    start, reg_end = int((kept < start_t).sum()), int((kept <= stop_t).sum())
    if start == len(schedule):
        raise ValueError(f"K = {start_t} is above the last kept step, t = {int(kept[-1])}; choose a smaller K")
    if reg_end >= start:
        raise ValueError(
            f"no kept step lies between L = {stop_t} and K = {start_t}; choose them further apart, or keep more steps"
        )
    return start, reg_end
