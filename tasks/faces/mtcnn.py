"""MTCNN, three small networks in a row: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded
Convolutional Networks", 2016, with the weights and the arithmetic of facenet-pytorch.

P-Net proposes boxes on a pyramid of the photo, R-Net refuses most of them, O-Net refuses again and finds five points.
Everything runs on the CPU in float32, so that the points do not depend on the device.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from tasks.faces.detector import Faces

WEIGHTS = Path(__file__).with_name("mtcnn.safetensors")  # MIT, see the notice beside it
PROPOSED, REFINED, FOUND = 0.6, 0.7, 0.7  # probability of a face that a box of each network must have
FACTOR = 0.709  # from one level of the pyramid to the next
CELL, STRIDE = 12, 2  # pixels: what P-Net looks at, and how far apart
SIDE_REFINE, SIDE_FIND = 24, 48  # pixels: what R-Net and O-Net look at
AT_ONCE = 512  # boxes in one pass
LEAST = 20  # pixels: the smallest face that the networks know

Layers = list[tuple[str, nn.Module]]


class Net(nn.Module):
    """A body and its heads; `heads` have the probability of a face [N, 2, …], its box [N, 4, …] and maybe points."""

    def __init__(self, body: Layers, heads: Layers) -> None:
        super().__init__()
        self.body = nn.Sequential(OrderedDict(body))
        self.heads = nn.ModuleDict(OrderedDict(heads))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x: RGB [N, 3, H, W], -1 … 1."""
        features = self.body(x)
        found = {name: head(features) for name, head in self.heads.items()}
        return found | {"face": found["face"].softmax(1)[:, 1]}


class Columns(nn.Module):
    """[N, C, H, W] to [N, W * H * C], column by column: the order in which the first version's weights were stored."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 2, 1).flatten(1)


def conv(n: int, into: int, out: int, side: int, pool: int = 0) -> Layers:
    """Convolution, PReLU and, with `pool` > 0, pooling by 2 over so many pixels."""
    pooled: Layers = [(f"pool{n}", nn.MaxPool2d(pool, 2, ceil_mode=True))] if pool else []
    return [(f"conv{n}", nn.Conv2d(into, out, side)), (f"prelu{n}", nn.PReLU(out)), *pooled]


def dense(n: int, into: int, out: int) -> Layers:
    return [("columns", Columns()), (f"dense{n}", nn.Linear(into, out)), (f"prelu{n}", nn.PReLU(out))]


def build() -> nn.ModuleDict:
    """The three networks, not yet loaded."""
    pnet = [*conv(1, 3, 10, 3, pool=2), *conv(2, 10, 16, 3), *conv(3, 16, 32, 3)]
    rnet = [*conv(1, 3, 28, 3, pool=3), *conv(2, 28, 48, 3, pool=3), *conv(3, 48, 64, 2), *dense(4, 576, 128)]
    onet = [*conv(1, 3, 32, 3, pool=3), *conv(2, 32, 64, 3, pool=3), *conv(3, 64, 64, 3, pool=2)]
    onet += [*conv(4, 64, 128, 2), *dense(5, 1152, 256)]
    boxes: Layers = [("face", nn.Linear(128, 2)), ("box", nn.Linear(128, 4))]
    points: Layers = [("face", nn.Linear(256, 2)), ("box", nn.Linear(256, 4)), ("points", nn.Linear(256, 10))]
    return nn.ModuleDict(
        {
            "pnet": Net(pnet, [("face", nn.Conv2d(32, 2, 1)), ("box", nn.Conv2d(32, 4, 1))]),
            "rnet": Net(rnet, boxes),
            "onet": Net(onet, points),
        }
    )


@cache
def networks() -> nn.ModuleDict:
    """The three networks with their weights, frozen, on the CPU."""
    nets = build()
    nets.load_state_dict(load_file(WEIGHTS))
    return nets.eval().requires_grad_(False)


class Mtcnn:
    """The detector that needs no download."""

    @torch.inference_mode()
    def detect(self, photo: np.ndarray, min_size: float = LEAST) -> Faces:
        """The faces of a photo, uint8 RGB [H, W, 3], that are about `min_size` pixels large or more, 20 at least."""
        picture = torch.from_numpy(np.ascontiguousarray(photo)).permute(2, 0, 1)[None].float()
        boxes = proposed(picture, max(LEAST, min_size))
        boxes = refined(picture, boxes)
        boxes, points, scores = found(picture, boxes)
        order = sorted(range(len(boxes)), key=lambda i: (-area(boxes[i : i + 1]).item(), *boxes[i].tolist()))
        return Faces(boxes.numpy(), points.numpy(), scores.numpy()).some(np.array(order, int))


# ------------------------------------------------------------------------------------------ the three networks
def proposed(picture: Tensor, min_size: float) -> Tensor:
    """Square boxes [N, 4] by P-Net, over all levels of the pyramid. picture: [1, 3, H, W], 0 … 255."""
    levels = [at_level(picture, scale) for scale in scales(min(picture.shape[-2:]), min_size)]
    if not levels:
        return torch.zeros(0, 4)
    boxes, moves, scores = (torch.cat(parts) for parts in zip(*levels, strict=True))
    kept = nms(boxes, scores, 0.7)
    return squared(moved(boxes[kept], moves[kept], extra=0))


def scales(side: int, min_size: float) -> Iterator[float]:
    """Of the levels of the pyramid, the finest first: P-Net's cell is `min_size` in it, and fits into the last one."""
    scale = CELL / min_size
    left = side * scale
    while left >= CELL:
        yield scale
        scale, left = scale * FACTOR, left * FACTOR


def at_level(picture: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [N, 4], their moves [N, 4] and scores [N] of one level."""
    height, width = picture.shape[-2:]
    small = shrunk(picture, (int(height * scale + 1), int(width * scale + 1)))
    out = networks()["pnet"](small)
    rows, columns = (out["face"][0] >= PROPOSED).nonzero(as_tuple=True)
    corner = torch.stack([columns, rows], 1).float()
    boxes = torch.cat([((STRIDE * corner + add) / scale).floor() for add in (1, CELL)], 1)
    moves, scores = out["box"][0][:, rows, columns].T, out["face"][0][rows, columns]
    kept = nms(boxes, scores, 0.5)
    return boxes[kept], moves[kept], scores[kept]


def refined(picture: Tensor, boxes: Tensor) -> Tensor:
    """The boxes that R-Net takes for faces, moved and squared [N, 4]."""
    boxes, out = looked_at(picture, boxes, "rnet", SIDE_REFINE)
    good = out["face"] > REFINED
    boxes, scores, moves = boxes[good], out["face"][good], out["box"][good]
    kept = nms(boxes, scores, 0.7)
    return squared(moved(boxes[kept], moves[kept], extra=1))


def found(picture: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [N, 4], points [N, 5, 2] and scores [N] of the faces that O-Net finds."""
    boxes, out = looked_at(picture, boxes, "onet", SIDE_FIND)
    good = out["face"] > FOUND
    boxes, scores = boxes[good], out["face"][good]
    sides = boxes[:, None, 2:] - boxes[:, None, :2] + 1
    points = sides * out["points"][good].unflatten(1, (2, 5)).mT + boxes[:, None, :2] - 1
    boxes = moved(boxes, out["box"][good], extra=1)
    kept = without_inner(boxes, scores, 0.7)
    return boxes[kept], points[kept], scores[kept]


def looked_at(picture: Tensor, boxes: Tensor, name: str, side: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The boxes that lie in the picture, and what a network says to each, cut out and brought to `side` pixels."""
    height, width = picture.shape[-2:]
    corners = boxes.trunc().long()
    left, top = corners[:, 0].clamp(min=1) - 1, corners[:, 1].clamp(min=1) - 1
    right, bottom = corners[:, 2].clamp(max=width), corners[:, 3].clamp(max=height)
    inside = (right > left) & (bottom > top)
    cuts = torch.stack([left, top, right, bottom], 1)[inside].tolist()
    parts = [cuts[first : first + AT_ONCE] for first in range(0, max(1, len(cuts)), AT_ONCE)]
    outs = [networks()[name](cut_out(picture, part, side)) for part in parts]
    return boxes[inside], {key: torch.cat([out[key] for out in outs]) for key in outs[0]}


def cut_out(picture: Tensor, cuts: Sequence[Sequence[int]], side: int) -> Tensor:
    """[N, 3, side, side] of the cuts (left, top, right, bottom), -1 … 1."""
    if not cuts:
        return torch.zeros(0, 3, side, side)
    return torch.cat([shrunk(picture[:, :, y:bottom, x:right], (side, side)) for x, y, right, bottom in cuts])


def shrunk(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """By averages over areas, and to -1 … 1."""
    return (F.interpolate(picture, size=size, mode="area") - 127.5) / 128


# ---------------------------------------------------------------------------------------------------- boxes
def area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def nms(boxes: Tensor, scores: Tensor, most: float) -> Tensor:
    """Which boxes stay, the best first, when those go whose overlap (IoU) with a better one is over `most`.

    As torchvision's; that package takes longer to load than a photo to search.
    """
    order = scores.argsort(descending=True, stable=True)
    left, areas, kept = boxes[order].numpy(), area(boxes)[order].numpy(), []
    numbers = order.numpy()
    while len(numbers):
        kept.append(int(numbers[0]))
        sides = np.minimum(left[0, 2:], left[1:, 2:]) - np.maximum(left[0, :2], left[1:, :2])
        both = sides.clip(min=0).prod(1)
        stay = 1 + np.flatnonzero(~(both / (areas[0] + areas[1:] - both) > np.float64(most)))
        left, areas, numbers = left[stay], areas[stay], numbers[stay]
    return torch.tensor(kept, dtype=torch.long)


def moved(boxes: Tensor, moves: Tensor, extra: int) -> Tensor:
    """Boxes [N, 4] moved at each side by shares of their sizes; `extra` pixels count to the sizes."""
    sizes = boxes[:, 2:] - boxes[:, :2] + extra
    return boxes + moves * sizes.repeat(1, 2)


def squared(boxes: Tensor) -> Tensor:
    """Squares [N, 4] about the boxes, as large as their longer sides."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    side = sizes.amax(1, keepdim=True)
    corner = boxes[:, :2] + sizes * 0.5 - side * 0.5
    return torch.cat([corner, corner + side], 1)


def without_inner(boxes: Tensor, scores: Tensor, most: float) -> list[int]:
    """Which boxes stay, the best first, when those go that share over `most` of the smaller one with a better one."""
    sizes = boxes[:, 2:] - boxes[:, :2] + 1
    areas = sizes.prod(1)
    left, kept = scores.argsort(stable=True).tolist(), []
    while left:
        best = left.pop()
        kept.append(best)
        both = torch.minimum(boxes[best, 2:], boxes[left, 2:]) - torch.maximum(boxes[best, :2], boxes[left, :2]) + 1
        shared = both.clamp(min=0).prod(1) / torch.minimum(areas[best], areas[left])
        left = [i for i, share in zip(left, shared.tolist(), strict=True) if share <= most]
    return kept
