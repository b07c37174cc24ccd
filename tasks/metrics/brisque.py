"""BRISQUE: what people would say to a photo with such natural scene statistics (Mittal, Moorthy and Bovik 2012).

The support vectors are its authors', see brisque.NOTICE.txt; the arithmetic is that of the package brisque.
"""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from tasks.metrics.full_reference import in_float64
from tasks.metrics.statistics import SHAPES, gamma, moments, normalised, ratios

MODEL = Path(__file__).with_name("brisque.safetensors")
GRAY = (0.2125, 0.7154, 0.0721)
WIDTH = 0.05  # gamma of the kernel
BIAS = 155.845  # -rho


def brisque(images: Tensor) -> Tensor:
    """[N, 3, H, W] in [0, 1] to [N] float64; lower is better, about 0 … 100. NaN for flat photos."""
    gray = torch.einsum("nchw,c->nhw", in_float64(images).cpu(), torch.tensor(GRAY, dtype=torch.float64))
    return torch.tensor([of_gray(photo.numpy()) for photo in gray], dtype=torch.float64)


def of_gray(gray: np.ndarray) -> float:
    """Of one photo [H, W], 0 … 1."""
    half = cv2.resize(gray, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_CUBIC)
    features = np.array([*features_of(gray), *features_of(half)])
    model = load_model()
    scaled = 2 * (features - model["least"]) / (model["most"] - model["least"]) - 1
    near = np.exp(-WIDTH * ((scaled - model["vectors"]) ** 2).sum(1))
    return float(near @ model["weights"] + BIAS)


def features_of(gray: np.ndarray) -> list[float]:
    """18 numbers: shape and variance of the pixels' distribution; shape, mean and both variances of those of products
    of neighbours."""
    x = normalised(torch.from_numpy(gray), 1 / 255, "constant").numpy()
    shape, left, right = shaped(x)
    found = [shape, (left**2 + right**2) / 2]
    for product in (x[:, :-1] * x[:, 1:], x[:-1] * x[1:], x[:-1, :-1] * x[1:, 1:], x[1:, :-1] * x[:-1, 1:]):
        shape, left, right = shaped(product)
        scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
        found += [shape, (right - left) * scale * gamma(2 / shape) / gamma(1 / shape), left**2, right**2]
    return found


def shaped(values: np.ndarray) -> tuple[float, float, float]:
    """Shape, left and right standard deviation of a distribution."""
    ratio, left, right = moments(values, values >= 0)
    return float(np.interp(ratio, ratios(), SHAPES)), left, right


@cache
def load_model() -> dict[str, np.ndarray]:
    """vectors [770, 36] and their weights [770]; least and most [36] of the features that they were trained on."""
    return dict(load_file(MODEL))
