"""The U-Net discriminator with spectral normalisation that DT-BFR trains SwinIR against (from Real-ESRGAN)."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from tasks.weights.seeding import initial_weights

OFFICIAL_WIDTH = 64


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
