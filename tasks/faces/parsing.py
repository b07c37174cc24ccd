"""ParseNet, which says what each pixel of an aligned face belongs to: Chen et al., "Progressive Semantic-Aware Style
Transformation for Blind Face Restoration", CVPR 2021, in facexlib's layout (MIT)."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.weights.checkpoint import fill, read_state_dict

SIDE = 512  # pixels that the network is made for
KINDS = 19
OTHER = (0, 14, 16, 17, 18)  # background, hat, necklace, neck, clothes; the rest is skin, features, ears, hair
BLUR = 11 * 2**0.5  # pixels of SIDE: two Gaussians of 11, one after the other
EDGE = 10  # pixels of SIDE that are left out all round
Region = Callable[[np.ndarray], np.ndarray]


class Conv(nn.Module):
    """A convolution of 3 x 3, mirrored at the edges, that halves or doubles the sides if asked."""

    def __init__(
        self,
        into: int,
        out: int,
        scale: Literal["", "up", "down"] = "",
        *,
        is_normed: bool = False,
        is_active: bool = False,
    ) -> None:
        super().__init__()
        self.is_up, self.is_active = scale == "up", is_active
        self.conv2d = nn.Conv2d(into, out, 3, 2 if scale == "down" else 1, bias=not is_normed)
        self.norm = nn.ModuleDict({"norm": nn.BatchNorm2d(out)}) if is_normed else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2) if self.is_up else x
        x = self.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"))
        x = self.norm["norm"](x) if self.norm else x
        return F.leaky_relu(x, 0.2) if self.is_active else x


class Residual(nn.Module):
    def __init__(self, into: int, out: int, scale: Literal["", "up", "down"] = "") -> None:
        super().__init__()
        self.shortcut_func = Conv(into, out, scale) if scale or into != out else nn.Identity()
        self.conv1 = Conv(into, out, "up" if scale == "up" else "", is_normed=True, is_active=True)
        self.conv2 = Conv(out, out, "down" if scale == "down" else "", is_normed=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut_func(x) + self.conv2(self.conv1(x))


class ParseNet(nn.Module):
    """x: RGB [N, 3, H, W], -1 … 1, sides multiples of 16; to scores of the kinds [N, 19, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        downs, ups = ((64, 128), (128, 256), (256, 256), (256, 256)), ((256, 256), (256, 256), (256, 128), (128, 64))
        self.encoder = nn.Sequential(Conv(3, 64), *(Residual(*channels, "down") for channels in downs))
        self.body = nn.Sequential(*(Residual(256, 256) for _ in range(10)))
        self.decoder = nn.Sequential(*(Residual(*channels, "up") for channels in ups))
        self.out_img_conv, self.out_mask_conv = Conv(64, 3), Conv(64, KINDS)

    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x)
        scores: Tensor = self.out_mask_conv(self.decoder(features + self.body(features)))
        return scores


def load(weights: Path, device: torch.device) -> Region:
    """`region` by the network of a weights file. Raises BadInput for another one."""
    net = ParseNet()
    fill(net, read_state_dict(weights), weights, "ParseNet")
    return partial(region, net.eval().requires_grad_(False).to(device), device)


@torch.inference_mode()
def region(net: ParseNet, device: torch.device, crop: np.ndarray) -> np.ndarray:
    """Where face and hair are in an aligned crop, uint8 [S, S, 3]: float32 [S, S, 1], 0 … 1, with soft edges."""
    side = len(crop)
    seen = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 127.5 - 1
    scores = net(torch.from_numpy(seen).permute(2, 0, 1)[None].to(device))
    kinds = scores[0].argmax(0).cpu().numpy()
    mask = cv2.GaussianBlur((~np.isin(kinds, OTHER)).astype(np.float32), (0, 0), BLUR)
    inner = np.zeros_like(mask)
    inner[EDGE:-EDGE, EDGE:-EDGE] = mask[EDGE:-EDGE, EDGE:-EDGE]
    return cv2.resize(inner, (side, side), interpolation=cv2.INTER_AREA)[..., None]
