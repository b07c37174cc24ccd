"""Networks that enlarge whole photos: ESRGAN's (Wang et al. 2018, 2021), Real-ESRGAN x2plus and x4plus among them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tasks.weights.checkpoint import spandrel_network

TILE, MARGIN = 256, 16  # pixels of the photo: what is enlarged at once, and what the network sees around it


def load(path: Path, device: torch.device) -> nn.Module:
    """The network of a weights file, frozen. Raises BadInput for another architecture."""
    return spandrel_network(path, "RRDBNet").eval().requires_grad_(False).to(device)


def factor_of(network: Any) -> int:
    """How many times as long the sides become."""
    return int(network.scale) // int(network.shuffle_factor or 1)


@torch.inference_mode()
def enlarged(network: nn.Module, photo: np.ndarray, device: torch.device) -> np.ndarray:
    """A photo, float32 [H, W, 3], 0 … 1, enlarged tile by tile, so that memory does not grow with it."""
    factor, (height, width) = factor_of(network), photo.shape[:2]
    out = np.empty((height * factor, width * factor, 3), np.float32)
    for rows in tiles(height):
        for columns in tiles(width):
            (top, bottom, above), (left, right, before) = rows, columns
            seen = photo[above : bottom + MARGIN, before : right + MARGIN]
            large: Tensor = network(torch.from_numpy(seen.transpose(2, 0, 1).copy())[None].to(device))
            inner = large[0, :, (top - above) * factor :, (left - before) * factor :].permute(1, 2, 0).clamp(0, 1)
            here = out[top * factor : bottom * factor, left * factor : right * factor]
            here[:] = inner[: here.shape[0], : here.shape[1]].cpu().numpy()
    return out


def tiles(length: int) -> Iterator[tuple[int, int, int]]:
    """First, last and first seen pixel of each tile along a side."""
    for first in range(0, length, TILE):
        yield first, min(first + TILE, length), max(0, first - MARGIN)
