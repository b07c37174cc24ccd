"""What SwinIR is trained against: DT-BFR's U-Net with spectral norm (from Real-ESRGAN), or what a prior sees."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from tasks.diffusion.unet import UNet
from tasks.weights.seeding import initial_weights

OFFICIAL_WIDTH = 64
HEAD_WIDTH = 64
COARSER = 4  # finer features than these see noise rather than faces


def _enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class UNetDiscriminator(nn.Module):
    """Images [N, 3, H, W] in [0, 1], sides multiples of 8, to a map of logits [N, 1, H, W] (high = real).

    width: channels at full size; official 64 (4.38 M parameters); seed: of the initial weights.
    The spectral norm is the classic one (keys `weight_orig`, `weight_u`, `weight_v`): in training mode every forward
    does one power iteration, so results depend on how many forwards came before. Newer torch's parametrisation has
    other keys and runs 15 more iterations at construction; the released files need the classic one.
    """

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()

        def strided(inputs: int, outputs: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False))

        def same(inputs: int, outputs: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))

        with initial_weights(seed):
            self.conv0 = nn.Conv2d(3, width, 3, padding=1)
            self.conv1 = strided(width, 2 * width)
            self.conv2 = strided(2 * width, 4 * width)
            self.conv3 = strided(4 * width, 8 * width)
            self.conv4 = same(8 * width, 4 * width)
            self.conv5 = same(4 * width, 2 * width)
            self.conv6 = same(2 * width, width)
            self.conv7 = same(width, width)
            self.conv8 = same(width, width)
            self.conv9 = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x0 = F.leaky_relu(self.conv0(x), 0.2)
        x1 = F.leaky_relu(self.conv1(x0), 0.2)
        x2 = F.leaky_relu(self.conv2(x1), 0.2)
        x = F.leaky_relu(self.conv3(x2), 0.2)
        x = F.leaky_relu(self.conv4(_enlarge(x)), 0.2) + x2
        x = F.leaky_relu(self.conv5(_enlarge(x)), 0.2) + x1
        x = F.leaky_relu(self.conv6(_enlarge(x)), 0.2) + x0
        x = F.leaky_relu(self.conv7(x), 0.2)
        x = F.leaky_relu(self.conv8(x), 0.2)
        logits: Tensor = self.conv9(x)
        return logits


class PriorDiscriminator(nn.Module):
    """Images [N, 3, H, W] in [0, 1] to logits [N, levels, H, W] (high = real) by what a frozen diffusion prior sees.

    The prior's encoder is asked as of clean photos (t = 0); on each of its coarser levels a small network judges every
    place.
    Logits of coarser levels are repeated, so that the levels count alike in a mean. What tells blur and broken strokes
    from skin and hair is in the features from the start, so that it takes dozens of steps where the U-Net, which begins
    with nothing, takes thousands. None of the papers has it for restoration; Sauer et al. 2021 ("Projected GANs
    converge faster") for generation, with a classifier's features.

    prior: stays where it is, and is no part of this module's weights. photos: real ones, to bring the features to mean
    0 and deviation 1. H and W as the prior takes them. seed: of the initial weights.
    """

    def __init__(self, prior: UNet, photos: Tensor, seed: int) -> None:
        super().__init__()
        self._see = prior.encode  # a method is not registered as a part, and so neither trained nor saved
        with torch.no_grad(), initial_weights(seed):
            self.heads = nn.ModuleList(Head(features) for features in self.levels(photos))

    def forward(self, x: Tensor) -> Tensor:
        judged = [head(features) for head, features in zip(self.heads, self.levels(x), strict=True)]
        return torch.cat([F.interpolate(logits, x.shape[-2:]) for logits in judged], dim=1)

    def levels(self, x: Tensor) -> list[Tensor]:
        """The deepest features of every size from a quarter of the image's on, the largest first."""
        middle, maps, _ = self._see(2 * x - 1, torch.zeros(len(x), device=x.device))
        by_side = {features.shape[-1]: features for features in (*maps, middle)}
        return [features for side, features in by_side.items() if COARSER * side <= x.shape[-1]]


class Head(nn.Sequential):
    """Features [N, C, h, w] to logits [N, 1, h, w], each place by itself. features: to take mean and deviation from."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: Tensor) -> None:
        channels = features.shape[1]
        super().__init__(nn.Conv2d(channels, HEAD_WIDTH, 1), nn.LeakyReLU(0.2), nn.Conv2d(HEAD_WIDTH, 1, 1))
        deviation, mean = torch.std_mean(features, dim=(0, 2, 3), keepdim=True)
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation + 1e-4)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = super().forward((features - self.mean) / self.deviation)
        return result
