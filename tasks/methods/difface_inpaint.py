"""DifFace's inpainting (Yue & Loy 2022): holes filled by LaMa, then noised part of the way and denoised by the prior.

The official code refines x_0 by a gradient step (`refine_gradient`) where the paper's Eq. 16 has a closed form
(`refine_closed`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from tasks.diffusion.samplers import Denoise, Draw
from tasks.diffusion.schedule import Schedule
from tasks.methods.difface import restore
from tasks.methods.method import Method, Need, Networks, index_of
from tasks.methods.respacing import Respacing
from tasks.noise import ImageStreams
from tasks.restorers import lama
from tasks.restorers.network import Restore


class DifFaceInpaint(Method):
    """DifFace's inpainting: the holes (truly black pixels) filled by an estimator, then noised and denoised."""

    kind: Literal["difface_inpaint"]
    respacing: Respacing = Field(description="kept steps of the 1000; published: 'ddim250'")
    start_t: PositiveInt = Field(le=1000, description="noise level to start from, of 1000; published: 480")
    eta: NonNegativeFloat = Field(description="of DDIM; published: 1")
    gamma: NonNegativeFloat = Field(
        default=0.5, description="step of the refinement towards the known pixels; published: 0.5, which replaces them"
    )
    lambda_known: NonNegativeFloat | None = Field(
        default=None, description="lambda of the paper's Eq. 16, whose closed form then takes gamma's place"
    )
    needs: ClassVar[tuple[Need, ...]] = ("prior", "estimator")
    estimators: ClassVar[tuple[str, ...]] = ("lama",)
    fills: ClassVar[bool] = True

    @property
    def evaluations(self) -> int:
        return index_of(Schedule.linear().respace(self.respacing), self.start_t)

    def build(self, networks: Networks, seed: int, device: torch.device) -> Restore:
        prior, schedule = networks.load_prior(device), Schedule.linear().respace(self.respacing)
        assert networks.estimator is not None
        estimator, start = lama.load(networks.estimator.weights).to(device), index_of(schedule, self.start_t)
        if self.lambda_known is None:
            refine = partial(refine_gradient, gamma=self.gamma)
        else:
            refine = partial(refine_closed, lambda_=self.lambda_known)

        def run(lq: Tensor, image_ids: Sequence[str]) -> Tensor:
            draw = partial(ImageStreams(seed, "difface_inpaint", image_ids, device).normal, *lq.shape[1:])
            mask = lama.hole_of(lq)
            estimate = lama.estimate(estimator, lq, mask)
            return inpaint(prior, schedule, lq, mask, estimate, draw, start=start, eta=self.eta, refine=refine)

        return run


def inpaint(
    denoise: Denoise,
    schedule: Schedule,
    lq: Tensor,
    mask: Tensor,
    estimate: Tensor,
    noise: Draw,
    *,
    start: int,
    eta: float,
    refine: Callable[[Tensor, Tensor, Tensor], Tensor],
    on_step: Callable[[int], None] = lambda i: None,
) -> Tensor:
    """Fill the holes of lq [N, C, H, W] in [0, 1]; the same shape and range back, known pixels as they are.

    mask: [N, 1, H, W], 1 = missing; estimate: what the inpainting estimator returns, in [0, 1]; refine: x_0, known
    pixels in [-1, 1] and mask to a better x_0. Official: start 120, eta 1, `refine_gradient` with gamma 0.5 (known
    pixels of x_0 are replaced). Noise as in `restore`.
    """
    known = 2 * lq - 1
    image = restore(
        denoise,
        schedule,
        estimate,
        noise,
        start=start,
        eta=eta,
        refine_x0=lambda x_0: refine(x_0, known, mask),
        on_step=on_step,
    )
    return image * mask + lq * (1 - mask)


def refine_gradient(x_0: Tensor, known: Tensor, mask: Tensor, *, gamma: float, updates: int = 1) -> Tensor:
    """Gradient steps of size gamma on the squared error of the known pixels (official code); clipped to [-1, 1]."""
    for _ in range(updates):
        x_0 = x_0 - 2 * gamma * (1 - mask) * (x_0 - known)
    return x_0.clamp(-1, 1)


def refine_closed(x_0: Tensor, known: Tensor, mask: Tensor, *, lambda_: float) -> Tensor:
    """Eq. 16 of the paper, our reading: the minimum of |x - x_0|² + lambda |(1 - mask)(x - known)|²."""
    weight = lambda_ * (1 - mask)
    return (x_0 + weight * known) / (1 + weight)
