"""DifFace's colourisation (Yue & Loy 2022, Section V): a gray photo, noised and denoised by the prior, whose predicted
x_0 is pulled towards the photo's luminance.

The paper names it beside inpainting and shows none. The mask of its Eq. 16 is here the luminance, which is linear, too.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from tasks.degradation.gray import LUMINANCE
from tasks.diffusion.schedule import Schedule
from tasks.methods.difface import restore
from tasks.methods.method import Method, Networks, index_of
from tasks.methods.respacing import Respacing
from tasks.noise import ImageStreams
from tasks.restorers.network import Restore


class DifFaceColour(Method):
    """DifFace's colourisation of gray photos. It has no estimator: the gray photo itself is noised."""

    kind: Literal["difface_colour"]
    respacing: Respacing = Field(description="kept steps of the 1000")
    start_t: PositiveInt = Field(lt=1000, description="noise level to start from, of 1000: more is more colourful")
    eta: NonNegativeFloat = Field(description="of DDIM")
    lambda_known: NonNegativeFloat = Field(description="lambda of Eq. 16: how much the photo's luminance counts")

    @property
    def evaluations(self) -> int:
        return index_of(Schedule.linear().respace(self.respacing), self.start_t)

    def build(self, networks: Networks, seed: int, device: torch.device) -> Restore:
        prior, schedule = networks.load_prior(device), Schedule.linear().respace(self.respacing)
        start = index_of(schedule, self.start_t)

        def run(lq: Tensor, image_ids: Sequence[str]) -> Tensor:
            draw = partial(ImageStreams(seed, "difface_colour", image_ids, device).normal, *lq.shape[1:])
            refine = partial(refine_luminance, known=luminance(2 * lq - 1), lambda_=self.lambda_known)
            return restore(prior, schedule, lq, draw, start=start, eta=self.eta, refine_x0=refine)

        return run


def weights_for(image: Tensor) -> Tensor:
    """The weights of R, G and B in the luminance: [1, 3, 1, 1], of the image's type and device."""
    return torch.tensor(LUMINANCE, dtype=image.dtype, device=image.device).view(1, 3, 1, 1)


def luminance(image: Tensor) -> Tensor:
    """The luminance [N, 1, H, W] of images [N, 3, H, W]."""
    return (weights_for(image) * image).sum(dim=1, keepdim=True)


def refine_luminance(x_0: Tensor, known: Tensor, *, lambda_: float) -> Tensor:
    """The minimum of |x - x_0|² + lambda |w.x - known|², where w are the weights of the luminance."""
    weights = weights_for(x_0)
    return x_0 + lambda_ * weights * (known - luminance(x_0)) / (1 + lambda_ * weights.square().sum())
