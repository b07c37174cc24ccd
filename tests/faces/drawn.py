"""Photos for the tests: rendered heads, turned and scaled, on drawn backgrounds, and where their five points lie."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from tasks.heads.render import landmarks, render

SIDE = 192  # of the heads as they are rendered


class Head(NamedTuple):
    """A head in a photo: its seed, the side of its picture in pixels, its centre, its turn in degrees."""

    seed: int = 3
    side: float = 120
    x: float = 100
    y: float = 90
    turn: float = 0


rendered = cache(render)


def draw(heads: Sequence[Head], width: int = 220, height: int = 180, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A photo, uint8 [height, width, 3], and the points [N, 5, 2] of the heads in it."""
    photo = background(width, height, seed)
    points = []
    for head in heads:
        matrix = placed(head)
        fine = cv2.warpAffine(rendered(head.seed, SIDE).astype(np.float32), matrix, (width, height))
        mask = cv2.warpAffine(np.ones((SIDE, SIDE), np.float32), matrix, (width, height))[..., None]
        photo = photo * (1 - mask) + fine * mask
        points.append((landmarks(head.seed, SIDE) - 0.5) @ matrix[:, :2].T + matrix[:, 2])
    return photo.round().clip(0, 255).astype(np.uint8), np.array(points).reshape(-1, 5, 2)


def background(width: int, height: int, seed: int) -> np.ndarray:
    """Soft colours with a little grain: float32 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    soft = cv2.resize(
        rng.uniform(40, 210, (5, 7, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return soft + rng.normal(0, 4, soft.shape).astype(np.float32)


def placed(head: Head) -> np.ndarray:
    """The matrix [2, 3] from a rendered head's pixels to the photo's."""
    matrix = cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), head.turn, head.side / SIDE)
    matrix[:, 2] += np.array([head.x, head.y]) - (SIDE - 1) / 2
    return matrix
