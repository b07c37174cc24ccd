"""PIQE: how many of a photo's active blocks are noisy or blocky (Venkatanath et al. 2015). It has no parameters."""

import torch
from torch import Tensor

from tasks.metrics.full_reference import in_float64
from tasks.metrics.statistics import normalised

BLOCK, SEGMENT = 16, 6  # pixels
ACTIVE = 0.1  # variance from which on a block counts
FLAT = 0.1  # standard deviation below which a part of an edge is flat
GRAY = (0.299, 0.587, 0.114)


def piqe(images: Tensor) -> Tensor:
    """[N, 3, H, W] in [0, 1] to [N] float64, 0 … 100; lower is better."""
    gray = torch.einsum("nchw,c->nhw", in_float64(images).cpu(), torch.tensor(GRAY, dtype=torch.float64))
    return torch.stack([of_gray(photo) for photo in gray])


def of_gray(gray: Tensor) -> Tensor:
    """Of one photo [H, W], brought to 0 … 255."""
    levels = torch.round(255 * gray / gray.max().clamp_min(1e-12))
    blocks = normalised(widened(levels), 1, "replicate").unfold(0, BLOCK, BLOCK).unfold(1, BLOCK, BLOCK).flatten(0, 1)
    variance = blocks.var(dim=(1, 2))
    is_active, is_blocky = variance > ACTIVE, blocky(blocks)
    distortion = torch.where(is_blocky, 1 - variance, 0) + torch.where(noisy(blocks, variance.sqrt()), variance, 0)
    return 100 * (distortion[is_active].sum() + 1) / (is_active.sum() + 1)


def widened(gray: Tensor) -> Tensor:
    """With the mirror image of the rows and columns that are left over; what is no whole block then does not count."""
    rows, columns = (side % BLOCK for side in gray.shape)
    gray = torch.cat([gray, gray[gray.shape[0] - rows :].flip(0)], 0)
    return torch.cat([gray, gray[:, gray.shape[1] - columns :].flip(1)], 1)


def noisy(blocks: Tensor, sigma: Tensor) -> Tensor:
    """Whether a block's centre varies like the rest of it."""
    centre = blocks[..., [7, 8]]
    rest = blocks[..., [n for n in range(BLOCK) if n not in (7, 9)]]  # 9, not 8: so in the authors' code
    ratio = (centre.std(dim=(1, 2)) / rest.std(dim=(1, 2))).nan_to_num()
    return sigma > 2 * (sigma - ratio).abs() / torch.maximum(sigma, ratio)


def blocky(blocks: Tensor) -> Tensor:
    """Whether a part of a block's edge is flat."""
    edges = torch.stack([blocks[:, 0], blocks[:, -1], blocks[..., 0], blocks[..., -1]], 1)
    return (edges.unfold(-1, SEGMENT, 1).std(-1) < FLAT).flatten(1).any(1)
