"""DifFace (Yue & Loy 2022): a restorer's output, noised part of the way and denoised by the unconditional prior.

The steps follow the official code: x is noised at `start` but denoised from `start - 1`, DDIM takes the network's own
eps beside the clipped x_0.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from tasks.diffusion.samplers import Denoise, Draw, ddim_step, dpm_solver, predict
from tasks.diffusion.schedule import Schedule
from tasks.methods.method import Method, Need, Networks, index_of
from tasks.methods.respacing import Respacing
from tasks.noise import ImageStreams
from tasks.restorers.network import Restore


class DifFace(Method):
    """DifFace: a restorer's output, noised and denoised by the prior."""

    kind: Literal["difface"]
    respacing: Respacing = Field(description="kept steps of the 1000; published: 'ddim250'")
    start_t: PositiveInt = Field(le=1000, description="noise level to start from, of 1000; published: 400")
    eta: NonNegativeFloat = Field(description="of DDIM; published: 0.5")
    sampler: Literal["ddim", "dpm_solver"] = Field(
        default="ddim", description="dpm_solver: of second order, for fewer steps, and without eta; published: ddim"
    )
    needs: ClassVar[tuple[Need, ...]] = ("prior", "estimator")

    @property
    def evaluations(self) -> int:
        return index_of(Schedule.linear().respace(self.respacing), self.start_t)

    def build(self, networks: Networks, seed: int, device: torch.device) -> Restore:
        prior, schedule = networks.load_prior(device), Schedule.linear().respace(self.respacing)
        assert networks.estimator is not None
        estimator, start = networks.estimator.load(device), index_of(schedule, self.start_t)

        def run(lq: Tensor, image_ids: Sequence[str]) -> Tensor:
            draw = partial(ImageStreams(seed, "difface", image_ids, device).normal, *lq.shape[1:])
            if self.sampler == "dpm_solver":
                return restore_in_second_order(prior, schedule, estimator(lq, image_ids), draw, start=start)
            return restore(prior, schedule, estimator(lq, image_ids), draw, start=start, eta=self.eta)

        return run


@torch.no_grad()
def restore(
    denoise: Denoise,
    schedule: Schedule,
    y0: Tensor,
    noise: Draw,
    *,
    start: int,
    eta: float,
    refine_x0: Callable[[Tensor], Tensor] = lambda x_0: x_0,
    on_step: Callable[[int], None] = lambda i: None,
) -> Tensor:
    """Restorations of the diffused estimator's output y0 [N, C, H, W] in [0, 1]; the same shape and range back.

    start: index of the schedule (official: 100 of "ddim250", t = 400); eta: of DDIM (official: 0.5); refine_x0: changes
    every predicted x_0, in [-1, 1]. Noise is drawn for the start, then once a step. on_step(i) is called after each.
    Raises ValueError unless 0 < start < len(schedule).
    """
    if not 0 < start < len(schedule):
        raise ValueError(f"expected 0 < start < {len(schedule)} (steps of the schedule), found start = {start}")
    x = schedule.q_sample(2 * y0.clamp(0, 1) - 1, start, noise())
    for i in reversed(range(start)):
        x_0, eps, _ = predict(denoise, schedule, x, i)
        x = ddim_step(schedule, i, refine_x0(x_0), eps, noise(), eta=eta)
        on_step(i)
    return (x / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def restore_in_second_order(denoise: Denoise, schedule: Schedule, y0: Tensor, noise: Draw, *, start: int) -> Tensor:
    """`restore` by DPM-Solver++(2M), for fewer steps; the paper has no such variant.

    Noise is drawn once, for index start - 1, where the deterministic chain begins.
    """
    x = schedule.q_sample(2 * y0.clamp(0, 1) - 1, start - 1, noise())
    return (dpm_solver(denoise, schedule, x, start) / 2 + 0.5).clamp(0, 1)
