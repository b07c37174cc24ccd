"""One step of each sampler, as plain functions of a denoiser, a schedule, a state and noise.

denoise(x_t [N, C, H, W], t [N]) -> [N, 2C, H, W]: eps, and v of the learned variance. `i` counts the kept steps; a step
turns the state at i into the state before it. Predicted x_0 is clipped to [-1, 1], as in every official sampler.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from tasks.diffusion.schedule import Schedule

Denoise = Callable[[Tensor, Tensor], Tensor]

Draw = Callable[[], Tensor]
"""Hands out new standard normal noise of the images' shape, device and float32 at each call."""


class Prediction(NamedTuple):
    """What one evaluation of the network says; each [N, C, H, W] float32."""

    x_0: Tensor
    """clean image, clipped to [-1, 1]"""
    eps: Tensor
    """the network's own noise; x_t's noise given the clipped x_0 is `Schedule.predict_eps`"""
    log_variance: Tensor
    """log sigma² of the ancestral step (learned range)"""


def predict(denoise: Denoise, schedule: Schedule, x_t: Tensor, i: int) -> Prediction:
    """Evaluate the network once."""
    eps, v = denoise(x_t, schedule.t(i, x_t)).float().chunk(2, dim=1)
    x_0 = schedule.predict_x0(x_t, i, eps).clamp(-1, 1)
    return Prediction(x_0, eps, schedule.log_variance(v, i))


def p_sample(denoise: Denoise, schedule: Schedule, x_t: Tensor, i: int, noise: Tensor) -> Tensor:
    """Ancestral sampling with learned variance: draw from p(x_{i-1} | x_i). The noise is unused at i = 0."""
    return ancestral_step(schedule, x_t, i, predict(denoise, schedule, x_t, i), noise)


def ancestral_step(schedule: Schedule, x_t: Tensor, i: int, prediction: Prediction, noise: Tensor) -> Tensor:
    """posterior mean + sigma noise; the mean alone at i = 0. For samplers that change or use the prediction."""
    mean = schedule.posterior_mean(prediction.x_0, x_t, i)
    return mean if i == 0 else mean + (prediction.log_variance / 2).exp() * noise


def ddim_sample(denoise: Denoise, schedule: Schedule, x_t: Tensor, i: int, noise: Tensor, *, eta: float) -> Tensor:
    """DDIM with eps derived again from the clipped x_0 (guided-diffusion)."""
    x_0 = predict(denoise, schedule, x_t, i).x_0
    return ddim_step(schedule, i, x_0, schedule.predict_eps(x_t, i, x_0), noise, eta=eta)


def ddim_sample_raw(denoise: Denoise, schedule: Schedule, x_t: Tensor, i: int, noise: Tensor, *, eta: float) -> Tensor:
    """DDIM with the clipped x_0 but the network's own eps (DifFace)."""
    x_0, eps, _ = predict(denoise, schedule, x_t, i)
    return ddim_step(schedule, i, x_0, eps, noise, eta=eta)


def ddim_step(schedule: Schedule, i: int, x_0: Tensor, eps: Tensor, noise: Tensor, *, eta: float) -> Tensor:
    """Eq. 12 of Song et al. 2021 (DDIM): √a-bar' x_0 + √(1 - a-bar' - sigma²) eps + sigma noise.

    eta: 0 is deterministic, 1 has the variance of ancestral sampling. a-bar' is 1 at i = 0, where sigma is 0.
    """
    a_bar, a_bar_prev = float(schedule.alphas_cumprod[i]), float(schedule.alphas_cumprod_prev[i])
    sigma = eta * math.sqrt((1 - a_bar_prev) / (1 - a_bar) * (1 - a_bar / a_bar_prev))
    mean = math.sqrt(a_bar_prev) * x_0 + math.sqrt(1 - a_bar_prev - sigma**2) * eps
    return mean if i == 0 else mean + sigma * noise


def dpm_solver(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    start: int,
    *,
    change: Callable[[Tensor, int], Tensor] = lambda x, i: x,
    on_step: Callable[[int], None] = lambda i: None,
) -> Tensor:
    """DPM-Solver++(2M) of Lu et al. 2022: x_0 from the state x at index start - 1, in `start` evaluations, no noise.

    change(x, i): another state in place of x, the one before index i, while that is not x_0 itself. on_step(i) is
    called after each step.
    """
    older = None
    for i in reversed(range(start)):
        x_0 = predict(denoise, schedule, x, i).x_0
        x = dpm_solver_step(schedule, x, i, x_0, older)
        x, older = change(x, i) if i else x, x_0
        on_step(i)
    return x


def dpm_solver_step(schedule: Schedule, x_t: Tensor, i: int, x_0: Tensor, older: Tensor | None) -> Tensor:
    """The state before index i. older: the x_0 that was predicted at i + 1; None: a step of first order (DDIM).

    With lambda = log(√a-bar / √(1 - a-bar)) and h its increase: sigma' / sigma x_t - √a-bar' (e^-h - 1) D, where
    D = x_0 + (x_0 - older) h / (2 h before).
    """
    if i == 0:
        return x_0
    a_bar, a_bar_prev = float(schedule.alphas_cumprod[i]), float(schedule.alphas_cumprod_prev[i])
    h = half_log_snr(a_bar_prev) - half_log_snr(a_bar)
    if older is not None:
        h_before = half_log_snr(a_bar) - half_log_snr(float(schedule.alphas_cumprod[i + 1]))
        x_0 = x_0 + h / (2 * h_before) * (x_0 - older)
    return math.sqrt((1 - a_bar_prev) / (1 - a_bar)) * x_t - math.sqrt(a_bar_prev) * math.expm1(-h) * x_0


def half_log_snr(a_bar: float) -> float:
    """lambda of a-bar."""
    return math.log(a_bar / (1 - a_bar)) / 2
