"""IDM (Zhao et al., "Towards Authentic Face Restoration"): a conditional diffusion model that predicts the clean image.

No code was released. Where the paper leaves a figure open, this follows SR3 (Saharia et al. 2022), as the paper says
that it does: 2000 levels with beta from 1e-6 to 1e-2 for training, a continuous noise level as the network's input, and
any other number of levels for sampling. gamma is a-bar of the diffusion literature: 1 is clean, 0 pure noise.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from tasks.basics import one_of
from tasks.diffusion.samplers import Draw
from tasks.diffusion.unet import UNet, UNetConfig
from tasks.methods.method import Method, Need, Networks
from tasks.noise import ImageStreams
from tasks.restorers.network import Restore
from tasks.weights.checkpoint import fill, read_state_dict, to_be_filled

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(condition x, noisy y, both [N, C, H, W]; gamma [N]) to the clean y_0 [N, C, H, W]; images in [-1, 1]."""

Variance = Literal["sr3", "posterior"]
Sampler = Literal["ancestral", "ddim"]
Target = Literal["clean", "noise"]

NETWORKS = {
    # 120.8 M parameters, the paper says 120 M; its channel widths are not printed, these are ours
    "idm512": UNetConfig(
        model_channels=64,
        channel_mult=(1, 2, 2, 4, 4, 8, 8),
        num_res_blocks=(2,) * 7,
        attention_sizes=(32, 16, 8),
        image_size=512,
        in_channels=6,
        out_channels=3,
    ),
    "idm128": UNetConfig(
        model_channels=32,
        channel_mult=(1, 2, 3, 4, 4),
        num_res_blocks=(1, 1, 1, 1, 2),
        attention_sizes=(16, 8),
        image_size=128,
        in_channels=6,
        out_channels=3,
        num_head_channels=32,
    ),
}


IdmName = Annotated[str, one_of("IDM network", NETWORKS)]


class IdmNetwork(nn.Module):
    """The network: condition and noisy image side by side in, clean image out."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.unet = UNet(config)

    def forward(self, x: Tensor, y: Tensor, gamma: Tensor) -> Tensor:
        """Clean image [N, 3, H, W] of noisy y and condition x, in [-1, 1]; gamma [N] in 0 … 1."""
        prediction: Tensor = self.unet(torch.cat([x, y], dim=1), 1000 * gamma.sqrt())
        return prediction


def load_network(arch: str, path: Path, device: torch.device) -> IdmNetwork:
    """IDM's network in evaluation mode. Raises BadInput for weights that are missing or of another shape."""
    with to_be_filled():
        model = IdmNetwork(NETWORKS[arch])
    fill(model, read_state_dict(path), path, f"an {arch!r} network")
    return model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


class Idm(Method):
    """IDM: conditional diffusion in few steps."""

    kind: Literal["idm"]
    arch: IdmName
    steps: PositiveInt = Field(description="published: 10")
    variance: Variance = "sr3"
    sampler: Sampler = Field(default="ancestral", description="published: ancestral; ddim is its ablation (4.3)")
    predicts: Target = Field(default="clean", description="of its network; noise: Eq. 6, the ablation of Eq. 7")
    needs: ClassVar[tuple[Need, ...]] = ("weights",)
    is_cleaned: ClassVar[bool] = True

    @property
    def evaluations(self) -> int:
        return self.steps

    def build(self, networks: Networks, seed: int, device: torch.device) -> Restore:
        network, levels = load_network(self.arch, networks.weights, device), sampling_levels(self.steps)
        predict = clean_of(network, self.predicts)

        def run(lq: Tensor, image_ids: Sequence[str]) -> Tensor:
            draw = partial(ImageStreams(seed, "idm", image_ids, device).normal, *lq.shape[1:])
            return restore(predict, levels, lq, draw, variance=self.variance, sampler=self.sampler)

        return run


@cache
def training_levels(steps: int = 2000, first: float = 1e-6, last: float = 1e-2) -> Tensor:
    """gamma_0 = 1 … gamma_T, float64 [steps + 1]: the products of 1 - beta, beta linear from `first` to `last`."""
    betas = torch.linspace(first, last, steps, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, dim=0)])


def sampling_levels(steps: int) -> Tensor:
    """gamma'_0 = 1 … gamma'_steps, float64 [steps + 1]: evenly spaced levels of the training schedule (paper: 10)."""
    levels = training_levels()
    last = len(levels) - 1
    return levels[[round(i * last / steps) for i in range(steps + 1)]]


def gamma_between(level: Tensor, share: Tensor) -> Tensor:
    """A continuous noise level for training: uniform between gamma_level and gamma_(level - 1), float32 [N].

    level: int64 [N] in 1 … 2000; share: [N], uniform in 0 … 1.
    """
    levels = training_levels()
    low, high = levels[level], levels[level - 1]
    return (low + (high - low) * share).float()


def noised(y_0: Tensor, gamma: Tensor, eps: Tensor) -> Tensor:
    """Eq. 5: y at the noise level gamma [N] (or one for all)."""
    gamma = gamma.reshape(-1, *[1] * (y_0.ndim - 1)) if gamma.ndim else gamma
    return gamma.sqrt() * y_0 + (1 - gamma).sqrt() * eps


def clean_of(network: Predict, predicts: Target) -> Predict:
    """What predicts the clean image, by a network that predicts it, or the noise (Eq. 5, solved for y_0)."""
    if predicts == "clean":
        return network

    def clean(x: Tensor, y: Tensor, gamma: Tensor) -> Tensor:
        level = gamma.reshape(-1, *[1] * (y.ndim - 1)).to(y.dtype)
        return (y - (1 - level).sqrt() * network(x, y, gamma)) / level.sqrt()

    return clean


def distance(prediction: Tensor, target: Tensor, norm: Literal[1, 2] = 1) -> Tensor:
    """Eq. 7: mean absolute (norm 1, which keeps colours) or squared difference. With eps as the target, Eq. 6."""
    difference = prediction - target
    return difference.abs().mean() if norm == 1 else difference.square().mean()


@torch.no_grad()
def restore(
    predict: Predict,
    levels: Tensor,
    lq: Tensor,
    noise: Draw,
    *,
    variance: Variance = "sr3",
    sampler: Sampler = "ancestral",
    on_step: Callable[[int], None] = lambda i: None,
) -> Tensor:
    """Restorations of lq [N, C, H, W] in [0, 1] by ancestral sampling (Eq. 8) or DDIM; the same shape and range back.

    levels: of `sampling_levels`. variance: "sr3" is 1 - alpha', "posterior" that of q(y_(i-1) | y_i, y_0); DDIM has
    none. Noise is drawn for the start, then once an ancestral step except the last; on_step(i) is called after each
    step, i counting down to 1.
    """
    x, y = 2 * lq - 1, noise()
    for i in reversed(range(1, len(levels))):
        gamma = torch.full((len(x),), float(levels[i]), device=x.device)
        y_0 = predict(x, y, gamma).to(y.dtype).clamp(-1, 1)
        if sampler == "ddim":
            y = deterministic(levels, i, y, y_0)
        else:
            mean, sigma = ancestral(levels, i, y, y_0, variance)
            y = mean + sigma * noise() if i > 1 else mean
        on_step(i)
    return (y / 2 + 0.5).clamp(0, 1)


def ancestral(levels: Tensor, i: int, y: Tensor, y_0: Tensor, variance: Variance) -> tuple[Tensor, float]:
    """Mean and standard deviation of the step from level i to level i - 1, given the predicted clean image."""
    gamma, gamma_prev = float(levels[i]), float(levels[i - 1])
    alpha = gamma / gamma_prev
    eps = (y - math.sqrt(gamma) * y_0) / math.sqrt(1 - gamma)
    mean = (y - (1 - alpha) / math.sqrt(1 - gamma) * eps) / math.sqrt(alpha)
    scale = (1 - gamma_prev) / (1 - gamma) if variance == "posterior" else 1.0
    return mean, math.sqrt((1 - alpha) * scale)


def deterministic(levels: Tensor, i: int, y: Tensor, y_0: Tensor) -> Tensor:
    """The step of DDIM (eta 0) from level i to level i - 1, given the predicted clean image."""
    gamma, gamma_prev = float(levels[i]), float(levels[i - 1])
    eps = (y - math.sqrt(gamma) * y_0) / math.sqrt(1 - gamma)
    return math.sqrt(gamma_prev) * y_0 + math.sqrt(1 - gamma_prev) * eps
