"""ArcFace with an 18-layer residual network: the identity network of the restoration papers (IDS).

Keys and numbers of the published `arcface_resnet18.pth`; gray faces of 128 x 128 in, 512 numbers out.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from tasks.metrics.offline import blamed
from tasks.weights.checkpoint import read_state_dict

WIDTHS = (64, 128, 256, 512)


class Block(nn.Module):
    """Batch norm, conv, batch norm, PReLU, conv, batch norm; plus the shortcut; the same PReLU."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, before, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = (
            nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            if stride > 1 or before != width
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.prelu(self.bn1(self.conv1(self.bn0(x))))
        return self.prelu(self.bn2(self.conv2(x)) + shortcut)  # type: ignore[no-any-return]


class ArcFace18(nn.Module):
    """[N, 1, 128, 128] in [-1, 1] to [N, 512], not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU()
        before = 64
        for index, width in enumerate(WIDTHS, start=1):
            stride = 1 if index == 1 else 2
            setattr(self, f"layer{index}", nn.Sequential(Block(before, width, stride), Block(width, width, 1)))
            before = width
        self.bn4 = nn.BatchNorm2d(512)
        self.fc5 = nn.Linear(512 * 8 * 8, 512)
        self.bn5 = nn.BatchNorm1d(512)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.prelu(self.bn1(self.conv1(x))), 2)
        for index in range(1, len(WIDTHS) + 1):
            x = getattr(self, f"layer{index}")(x)
        return self.bn5(self.fc5(self.bn4(x).flatten(1)))  # type: ignore[no-any-return]


def load(path: Path) -> ArcFace18:
    """The network of a published file, in evaluation mode, frozen. Raises BadInput for another file."""
    model = ArcFace18()
    with blamed(path):
        model.load_state_dict(read_state_dict(path))
    return model.eval().requires_grad_(False)


@torch.no_grad()
def angles(a: Tensor, b: Tensor) -> Tensor:
    """Angle in degrees between two sets of embeddings [N, D]: [N]."""
    cosine = torch.cosine_similarity(a.cpu().double(), b.cpu().double()).clamp(-1, 1)
    return torch.rad2deg(torch.arccos(cosine))
