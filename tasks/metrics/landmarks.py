"""Landmark distance (LMD): how far 98 facial landmarks lie from those of the ground truth, in pixels."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from tasks.metrics.full_reference import levels
from tasks.metrics.offline import blamed
from tasks.metrics.remembering import Remembering
from tasks.weights.checkpoint import read_state_dict
from tasks.weights.file import MissingPackage
from tasks.weights.official import FAN98

SIDE = 256  # of the network's input
POINTS = 98


def lmd(weights_dir: Path, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """(restored, reference), both [N, 3, H, W] in [0, 1], to pixels of the image [N].

    Raises MissingWeights, and MissingPackage without facexlib.
    """
    path = FAN98.find(weights_dir, "LMD")
    try:
        from facexlib.alignment.awing_arch import FAN
    except ImportError as error:
        raise MissingPackage(f"LMD needs the package facexlib ({error}): pip install 'bfr[faces]'") from error
    network = FAN(num_modules=4, num_landmarks=POINTS, device=device)
    with blamed(path):
        network.load_state_dict(read_state_dict(path))
    network = network.to(device).eval().requires_grad_(False)

    def points(images: Tensor) -> Tensor:
        photos = [
            cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
            for image in levels(images).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        ]
        x = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float().to(device) / 255
        height, width = images.shape[-2:]
        found = decode(network(x)[0][-1][:, :POINTS].cpu())
        return found * torch.tensor([width / 64, height / 64], dtype=torch.float64)

    of_reference = Remembering(points)
    return lambda restored, reference: distance(points(restored), of_reference(reference))


def decode(heatmaps: Tensor) -> Tensor:
    """[N, K, H, W] to float64 points (x, y) in the grid, [N, K, 2]: a quarter from the peak to its higher neighbour.

    Where a neighbour is missing (a peak on the border) the quarter is left out; the official decoder fails there.
    """
    n, k, height, width = heatmaps.shape
    peak = heatmaps.flatten(2).argmax(-1)
    x, y = peak % width, peak // width
    padded = torch.nn.functional.pad(heatmaps.double(), (1, 1, 1, 1))
    rows, columns = torch.arange(n)[:, None], torch.arange(k)[None]

    def at(dx: int, dy: int) -> Tensor:
        return padded[rows, columns, y + 1 + dy, x + 1 + dx]

    shift_x = torch.sign(at(1, 0) - at(-1, 0)) * ((x > 0) & (x < width - 1))
    shift_y = torch.sign(at(0, 1) - at(0, -1)) * ((y > 0) & (y < height - 1))
    return torch.stack([x + 0.25 * shift_x, y + 0.25 * shift_y], dim=-1) + 0.5


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean Euclidean distance of two sets of points [N, K, 2]: [N]."""
    return torch.linalg.vector_norm(a - b, dim=-1).mean(-1)
