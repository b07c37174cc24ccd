"""RetinaFace with ResNet-50: Deng et al., "RetinaFace: Single-shot Multi-level Face Localisation in the Wild", CVPR
2020, in facexlib's layout (MIT), which GFPGAN and CodeFormer use.

One network looks at the photo on three grids; each point of a grid has two anchors, and says for each of them whether
there is a face, and where its box and its five points are.
"""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.faces.detector import Faces
from tasks.faces.mtcnn import nms
from tasks.running.device import held_device
from tasks.weights.checkpoint import fill, read_state_dict, to_be_filled

MEAN = np.array((104, 117, 123), np.float32)  # of blue, green, red
STRIDES, SIDES = (8, 16, 32), ((16, 32), (64, 128), (256, 512))  # pixels: of the grids, and their anchors
VARIANCES = 0.1, 0.2  # of places, of sizes
SURE, OVERLAP = 0.97, 0.4  # score that a face must have, as in GFPGAN; share from which on two boxes are one face
LONGEST, LEAST = 2150, 16  # pixels: the longest side that is searched, the smallest anchor
WIDTH = 256  # of the features


def conv(into: int, out: int, side: int, *, is_active: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(into, out, side, padding=side // 2, bias=False), nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, *([nn.ReLU()] if is_active else []))


class Body(nn.Module):
    """ResNet-50 up to its last three groups of layers."""

    def __init__(self) -> None:
        from torchvision.models import resnet50  # here, not above: takes seconds

        super().__init__()
        whole = resnet50(weights=None)
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            self.add_module(name, getattr(whole, name))

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for layer in self.children():
            x = layer(x)
            found.append(x)
        return found[-3:]


class Pyramid(nn.Module):
    """Features of the three grids, the coarser ones added to the finer ones."""

    def __init__(self) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (conv(into, WIDTH, 1) for into in (512, 1024, 2048))
        self.merge1, self.merge2 = conv(WIDTH, WIDTH, 3), conv(WIDTH, WIDTH, 3)

    def forward(self, found: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = self.output1(found[0]), self.output2(found[1]), self.output3(found[2])
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[2:]))
        fine = self.merge1(fine + F.interpolate(middle, size=fine.shape[2:]))
        return [fine, middle, coarse]


class Context(nn.Module):
    """SSH: what lies around each point, at three widths."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter = WIDTH // 2, WIDTH // 4
        self.conv3X3 = conv(WIDTH, half, 3, is_active=False)
        self.conv5X5_1, self.conv5X5_2 = conv(WIDTH, quarter, 3), conv(quarter, quarter, 3, is_active=False)
        self.conv7X7_2, self.conv7x7_3 = conv(quarter, quarter, 3), conv(quarter, quarter, 3, is_active=False)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv5X5_1(x)
        wide = self.conv7x7_3(self.conv7X7_2(first))
        return torch.cat([self.conv3X3(x), self.conv5X5_2(first), wide], 1).relu()


class Head(nn.Module):
    """`count` numbers for each anchor: [N, H * W * 2, count]."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.conv1x1 = count, nn.Conv2d(WIDTH, 2 * count, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(x).permute(0, 2, 3, 1).reshape(len(x), -1, self.count)


class Net(nn.Module):
    """x: BGR less MEAN [N, 3, H, W], 0 … 255; to boxes [N, A, 4], scores [N, A], points [N, A, 10], see `decoded`."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fpn = Body(), Pyramid()
        self.ssh1, self.ssh2, self.ssh3 = Context(), Context(), Context()
        self.ClassHead, self.BboxHead, self.LandmarkHead = (
            nn.ModuleList([Head(count) for _ in STRIDES]) for count in (2, 4, 10)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grids = self.fpn(self.body(x))
        features = [ssh(grid) for ssh, grid in zip((self.ssh1, self.ssh2, self.ssh3), grids, strict=True)]
        boxes, scores, points = (
            torch.cat([head(feature) for head, feature in zip(heads, features, strict=True)], 1)  # type: ignore[arg-type]
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return boxes, scores.softmax(-1)[..., 1], points


@cache
def load(weights: Path) -> Net:
    """The network of a weights file, on the CPU. Raises BadInput for another one."""
    with to_be_filled():
        net = Net()
    fill(net, read_state_dict(weights), weights, "RetinaFace (ResNet-50)")
    return net.eval().requires_grad_(False)


class RetinaFace:
    """The detector of GFPGAN and CodeFormer; finds more turned and hidden faces than MTCNN."""

    def __init__(self, weights: Path) -> None:
        self.net = load(weights)

    @torch.inference_mode()
    def detect(self, photo: np.ndarray, min_size: float) -> Faces:
        """The faces of a photo, uint8 RGB [H, W, 3], that are about `min_size` pixels large or more.

        The photo is shrunk so far that such a face is as small as the smallest anchor, and to LONGEST.
        """
        scale = min(1.0, LEAST / min_size, LONGEST / max(photo.shape[:2]))
        bgr = np.ascontiguousarray(photo[..., ::-1]).astype(np.float32)
        small = bgr if scale == 1 else cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        x = torch.from_numpy(small - MEAN).permute(2, 0, 1)[None]
        with held_device() as device:
            boxes, scores, points = (found[0].cpu() for found in self.net.to(device)(x.to(device)))
            self.net.cpu()
        shrunk = torch.tensor([small.shape[1] / photo.shape[1], small.shape[0] / photo.shape[0]])
        return faces(*decoded(boxes, points, *small.shape[:2]), scores, shrunk)


def decoded(boxes: Tensor, points: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Boxes [A, 4] and points [A, 5, 2], in pixels from the upper left corner, of what the heads say."""
    centres, sides = anchors(height, width)
    middle = centres + boxes[:, :2] * VARIANCES[0] * sides
    size = sides * (boxes[:, 2:] * VARIANCES[1]).exp()
    five = centres[:, None] + points.unflatten(1, (5, 2)) * VARIANCES[0] * sides[:, None]
    return torch.cat([middle - size / 2, middle + size / 2], 1), five


def anchors(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The centres [A, 2] and sides [A, 1] of all anchors, in pixels."""
    centres, sides = [], []
    for stride, pair in zip(STRIDES, SIDES, strict=True):
        rows, columns = (torch.arange(-(-length // stride)) + 0.5 for length in (height, width))
        y, x = torch.meshgrid(rows * stride, columns * stride, indexing="ij")
        at = torch.stack([x, y], -1).reshape(-1, 1, 2).expand(-1, len(pair), -1)
        centres.append(at.reshape(-1, 2))
        sides.append(torch.tensor(pair, dtype=torch.float32).repeat(len(at))[:, None])
    return torch.cat(centres), torch.cat(sides)


def faces(boxes: Tensor, points: Tensor, scores: Tensor, scale: Tensor) -> Faces:
    """The sure ones, each once, the largest first. scale: of x and y, from the photo's pixels to these."""
    sure = scores > SURE
    boxes, points, scores = boxes[sure] / scale.repeat(2) - 0.5, points[sure] / scale - 0.5, scores[sure]
    kept = nms(boxes, scores, OVERLAP)
    boxes, points, scores = boxes[kept], points[kept], scores[kept]
    order = ((boxes[:, 0] - boxes[:, 2]) * (boxes[:, 3] - boxes[:, 1])).argsort(stable=True).numpy()
    return Faces(boxes.numpy(), points.numpy(), scores.numpy()).some(order)
