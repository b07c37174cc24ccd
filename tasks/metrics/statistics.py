"""Natural scene statistics: what photos of good quality have in common, whatever they show (Mittal et al. 2012, 2013).

Everything is computed on the CPU in float64: from a gray photo [H, W] to numbers.
"""

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, SIGMA = 7, 7 / 6
SHAPES = np.arange(0.2, 10.001, 0.001)  # of the distributions that are tried, as the authors' codes do


def gamma(x: float) -> float:
    return math.gamma(x) if math.isfinite(x) else math.nan


@cache
def ratios() -> np.ndarray:
    """Of the moments, by shape; they rise."""
    one, two, three = (np.array([math.gamma(n / shape) for shape in SHAPES]) for n in (1, 2, 3))
    return two**2 / (one * three)


def normalised(gray: Tensor, constant: float, border: str) -> Tensor:
    """Each pixel [H, W] less its neighbourhood's mean, by its standard deviation ("MSCN"), in a Gaussian of 7 x 7.

    border: "replicate", or "constant" for zeros.
    """

    def mean(x: Tensor) -> Tensor:
        padded = F.pad(x[None, None], [WINDOW // 2] * 4, mode=border)
        return F.conv2d(F.conv2d(padded, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))[0, 0]

    weights = window()
    mu = mean(gray)
    return (gray - mu) / ((mean(gray**2) - mu**2).abs().sqrt() + constant)


@cache
def window() -> Tensor:
    """One side of the Gaussian window [7]."""
    weights = torch.exp(-((torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    return weights / weights.sum()


def moments(values: np.ndarray, is_right: np.ndarray) -> tuple[float, float, float]:
    """Ratio (of `ratios`), left and right standard deviation of an asymmetric generalised Gaussian with these values.

    is_right: which values are on the right side; the codes differ in zeros. NaN where one side is empty.
    """
    left, right = values[values < 0], values[is_right]
    if not len(left) or not right.any():
        return np.nan, np.nan, np.nan
    sigma_l, sigma_r = float(np.sqrt(np.mean(left**2))), float(np.sqrt(np.mean(right**2)))
    skew = sigma_l / sigma_r
    ratio = float(np.mean(np.abs(values)) ** 2 / np.mean(values**2))
    return ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2, sigma_l, sigma_r
