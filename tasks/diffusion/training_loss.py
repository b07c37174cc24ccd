"""The hybrid loss of Nichol & Dhariwal 2021 as guided-diffusion computes it: mse(eps) + vb.

Adding the whole vb (not 0.001 of it, as the paper) is what the official ADM code does.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tasks.diffusion.schedule import Schedule


def training_losses(
    denoise: Callable[[Tensor, Tensor], Tensor], schedule: Schedule, x_start: Tensor, i: Tensor, noise: Tensor
) -> dict[str, Tensor]:
    """Per-image "mse", "vb" (bits per dimension) and their sum "loss", each [N] float32.

    x_start: [N, C, H, W] in [-1, 1]; i: [N] int64, indices into the schedule; noise: like x_start.
    denoise(x_t, t [N]) -> [N, 2C, H, W]: eps and v. The vb term trains v alone: its eps is detached.
    """
    x_t = schedule.q_sample(x_start, i, noise)
    eps, v = denoise(x_t, schedule.t(i, x_t)).float().chunk(2, dim=1)
    mse = mean_per_image((noise - eps) ** 2)
    vb = variational_bound(schedule, x_start, x_t, i, eps.detach(), v)
    return {"mse": mse, "vb": vb, "loss": mse + vb}


def variational_bound(schedule: Schedule, x_start: Tensor, x_t: Tensor, i: Tensor, eps: Tensor, v: Tensor) -> Tensor:
    """One term of the variational bound, [N] bits per dimension: KL(q || p) of the step, the likelihood at i = 0.

    x_0 is predicted without clipping.
    """
    log_variance = schedule.log_variance(v, i)
    mean = schedule.posterior_mean(schedule.predict_x0(x_t, i, eps), x_t, i)
    true_mean = schedule.posterior_mean(x_start, x_t, i)
    true_log_variance = schedule.log_variance(torch.full_like(v, -1.0), i)
    kl = mean_per_image(gaussian_kl(true_mean, true_log_variance, mean, log_variance))
    nll = -mean_per_image(discretized_log_likelihood(x_start, mean, log_variance / 2))
    return torch.where(i.to(kl.device) == 0, nll, kl) / math.log(2)


def gaussian_kl(mean1: Tensor, log_variance1: Tensor, mean2: Tensor, log_variance2: Tensor) -> Tensor:
    """KL(N1 || N2) of every element, in nats."""
    ratio = torch.exp(log_variance1 - log_variance2)
    return 0.5 * (log_variance2 - log_variance1 + ratio + (mean1 - mean2) ** 2 * torch.exp(-log_variance2) - 1)


def discretized_log_likelihood(x: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    """Log-probability, in nats, of x's 8-bit bin (x ± 1/255) under a Gaussian; the outermost bins are one-sided."""
    centred, inverse = x - mean, torch.exp(-log_sigma)
    below_top = normal_cdf(inverse * (centred + 1 / 255))
    below_bottom = normal_cdf(inverse * (centred - 1 / 255))
    probability = torch.where(x > 0.999, 1 - below_bottom, below_top - below_bottom)
    probability = torch.where(x < -0.999, below_top, probability)
    return probability.clamp(min=1e-12).log()


def normal_cdf(u: Tensor) -> Tensor:
    """Phi(u) by the tanh approximation of the official code; the exact one gives other losses."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))


def mean_per_image(x: Tensor) -> Tensor:
    """[N, …] -> [N]."""
    return x.flatten(1).mean(dim=1)
