"""NIQE: how far a photo's natural scene statistics are from those of good photos (Mittal et al. 2013).

The parameters are its authors', see niqe.NOTICE.txt; the arithmetic is that of the papers' evaluation scripts.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from tasks.diffusion.lowpass import resize
from tasks.metrics.full_reference import in_float64, size_text
from tasks.metrics.statistics import SHAPES, gamma, moments, normalised, ratios
from tasks.weights.file import Unavailable

PARAMETERS = Path(__file__).with_name("niqe.safetensors")
BLOCK = 96
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
Y = (65.481, 128.553, 24.966)  # of BT.601, limited range, with 16


def niqe(images: Tensor) -> Tensor:
    """[N, 3, H, W] in [0, 1] to [N] float64; lower is better.

    Y of BT.601, rounded; blocks of 96 x 96, at full and at half size; no border is cut. Raises Unavailable for images
    with fewer than two blocks.
    """
    height, width = images.shape[-2:]
    if (height // BLOCK) * (width // BLOCK) < 2:
        raise Unavailable(f"NIQE needs images with at least two blocks of 96 x 96 pixels, found {size_text(images)}.")
    weights = torch.tensor(Y, dtype=torch.float64)
    luma = torch.einsum("nchw,c->nhw", in_float64(images).cpu(), weights) + 16
    return torch.tensor([of_luma(photo) for photo in luma.round()], dtype=torch.float64)


def of_luma(luma: Tensor) -> float:
    """Of one photo [H, W], 16 … 235."""
    height, width = (side // BLOCK * BLOCK for side in luma.shape)
    luma = luma[:height, :width]
    half = resize(luma[None, None] / 255, height // 2, width // 2)[0, 0] * 255
    features = np.hstack([block_features(luma, BLOCK), block_features(half, BLOCK // 2)])
    features = features[np.isfinite(features).all(1)]
    if len(features) < 2:  # flat
        return float("nan")
    mean, covariance = parameters()
    away = mean - features.mean(0)
    return float(np.sqrt(away @ np.linalg.pinv((covariance + np.cov(features, rowvar=False)) / 2) @ away))


def block_features(luma: Tensor, side: int) -> np.ndarray:
    """18 numbers for each block of `side` pixels."""
    blocks = normalised(luma, 1, "replicate").unfold(0, side, side).unfold(1, side, side).flatten(0, 1)
    return np.array([features_of(block) for block in blocks.numpy()])


def features_of(block: np.ndarray) -> list[float]:
    """Shape and width of the pixels' distribution; shape, mean and both widths of those of products of neighbours."""
    shape, left, right = scaled(block)
    found = [shape, (left + right) / 2]
    for shift in SHIFTS:
        shape, left, right = scaled(block * np.roll(block, shift, (0, 1)))
        found += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
    return found


def scaled(values: np.ndarray) -> tuple[float, float, float]:
    """Shape (the nearest that is tried), left and right scale (beta) of a distribution."""
    ratio, left, right = moments(values, values > 0)
    shape = SHAPES[np.argmin((ratios() - ratio) ** 2)]
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale


@cache
def parameters() -> tuple[np.ndarray, np.ndarray]:
    """Mean [36] and covariance [36, 36] of the features of good photos."""
    file = load_file(PARAMETERS)
    return file["mean"], file["covariance"]
