"""Restoration by generation with constrained priors (Ding et al. 2024): noise a photo, denoise it by a personal prior.

The prior is fine-tuned (tasks/training/album.py) on an album: photos of the subject, or samples that are guided by the
LQ photo itself ("generative album"). The steps follow the official code: no off-by-one at the start, ancestral steps
with learned variance, and a guidance whose norm is not squared (the paper's Eq. 6 squares it, its text says L1).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tasks.diffusion.samplers import Denoise, ancestral_step, predict
from tasks.diffusion.schedule import Schedule
from tasks.pseudo_targets import Draw

Guided = Callable[[int], bool]
"""Whether the step at index i is guided."""


def never(i: int) -> bool:
    """No guidance."""
    return False


def skip_guidance(steps: int, *, skip: int, last: int, first: int = 0) -> Guided:
    """The official rule for a chain of `steps`: every `skip`-th step, and all of the noisiest `last`.

    No step below index `first`; skip = 0: only the noisiest. Official for albums: skip 10, last 200 of 1000.
    """

    def is_guided(i: int) -> bool:
        return i >= first and ((skip > 0 and (i + 1) % skip == 0) or i >= steps - last)

    return is_guided


def restore(
    denoise: Denoise,
    schedule: Schedule,
    y0: Tensor,
    noise: Draw,
    *,
    start: int,
    is_guided: Guided = never,
    scale: float = 0.0,
    on_step: Callable[[int], None] = lambda i: None,
) -> Tensor:
    """Restorations of the photos y0 [N, C, H, W] in [0, 1]; the same shape and range back.

    start: K, how many steps of the schedule to undo (paper: 200 of 1000); is_guided, scale: guidance towards y0 (the
    paper has none; the official command leaves every 10th step on with scale 0.3). Noise is drawn for the start, then
    once a step. Raises ValueError unless 0 < start <= len(schedule).
    """
    if not 0 < start <= len(schedule):
        raise ValueError(f"expected 0 < start <= {len(schedule)} (steps of the schedule), found start = {start}")
    reference = 2 * y0 - 1
    x = schedule.q_sample(reference, start - 1, noise())
    return _denoise(denoise, schedule, x, reference, noise, start, is_guided, scale, on_step)


def generative_album(
    denoise: Denoise,
    schedule: Schedule,
    y0: Tensor,
    noise: Draw,
    *,
    is_guided: Guided,
    scale: float,
    on_step: Callable[[int], None] = lambda i: None,
) -> Tensor:
    """Clean faces that resemble the photos y0 [N, C, H, W] in [0, 1], from pure noise; the same shape and range back.

    The official album has 16 of one photo: repeat it. Official: scale 0.3, `skip_guidance` with skip 10, last 200.
    """
    return _denoise(denoise, schedule, noise(), 2 * y0 - 1, noise, len(schedule), is_guided, scale, on_step)


def _denoise(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    reference: Tensor,
    noise: Draw,
    start: int,
    is_guided: Guided,
    scale: float,
    on_step: Callable[[int], None],
) -> Tensor:
    for i in reversed(range(start)):
        if is_guided(i):
            sample, gradient = _guided_step(denoise, schedule, x, i, reference, noise())
            x = sample - scale * gradient
        else:
            with torch.no_grad():
                x = ancestral_step(schedule, x, i, predict(denoise, schedule, x, i), noise())
        on_step(i)
    return (x / 2 + 0.5).clamp(0, 1)


def _guided_step(
    denoise: Denoise, schedule: Schedule, x: Tensor, i: int, reference: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """The ancestral sample, and the gradient by x of each image's distance between the reference and predicted x_0."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        prediction = predict(denoise, schedule, x, i)
        distance = torch.linalg.vector_norm((reference - prediction.x_0).flatten(1), dim=1).sum()
        (gradient,) = torch.autograd.grad(distance, x)
    with torch.no_grad():
        return ancestral_step(schedule, x, i, prediction, noise), gradient
