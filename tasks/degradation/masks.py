"""Inpainting masks of DifFace: box, irregular, expand and half for tests, a mixture of LaMa's kind for training.

A mask is bool [size, size], True = hole. Lengths are DifFace's at 256 x 256 and scale with the side. Box and
irregular draw from the generator in the reference's order.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.degradation.preset import ImageU8, Preset

Mask: TypeAlias = NDArray[np.bool_]

REFERENCE_SIZE = 256


def mask_image(hq: ImageU8, mask: Mask) -> ImageU8:
    """The LQ photo: black where the mask is True. uint8 [H, W, 3]; truly black pixels become part of the hole later."""
    return np.where(mask[..., None], np.uint8(0), hq)


def box_mask(size: int, rng: np.random.Generator) -> Mask:
    """One to four rectangles, sides 30 to 150 px, at least 10 px from the border; they may overlap."""
    mask = np.zeros((size, size), dtype=bool)
    margin, shortest, longest = (_scaled(px, size) for px in (10, 30, 150))
    for _ in range(rng.integers(1, 5)):
        width, height = rng.integers(shortest, longest + 1), rng.integers(shortest, longest + 1)
        x = rng.integers(margin, size - margin - width + 1)
        y = rng.integers(margin, size - margin - height + 1)
        mask[y : y + height, x : x + width] = True
    return mask


def irregular_mask(size: int, rng: np.random.Generator) -> Mask:
    """One to six strokes (five is what the setting says) of one to five straight segments, 5 to 104 px thick."""
    canvas = np.zeros((size, size), dtype=np.uint8)
    for stroke in range(rng.integers(1, 7)):
        x, y = int(rng.integers(size)), int(rng.integers(size))
        for _ in range(1 + int(rng.integers(5))):
            angle = 0.01 + int(rng.integers(4))
            if stroke % 2 == 0:
                angle = 2 * 3.1415926 - angle
            length = _scaled(10 + int(rng.integers(200)), size)
            thickness = max(_scaled(5 + int(rng.integers(100)), size), 1)
            end_x = min(max(int(x + length * math.sin(angle)), 0), size)
            end_y = min(max(int(y + length * math.cos(angle)), 0), size)
            cv2.line(canvas, (x, y), (end_x, end_y), 1, thickness)
            x, y = end_x, end_y
    return canvas.astype(bool)


def outpainting_mask(size: int, rng: np.random.Generator) -> Mask:
    """A border of 10 to 75 px on each side with probability 1/2, on one random side if on none. Training only."""
    sides = rng.random(4) < 0.5
    if not sides.any():
        sides[rng.integers(4)] = True
    left, top, right, bottom = (sides * rng.integers(int(0.04 * size), int(0.30 * size), 4)).tolist()
    mask = np.ones((size, size), dtype=bool)
    mask[top : size - bottom, left : size - right] = False
    return mask


def expand_mask(size: int, rng: np.random.Generator) -> Mask:
    """Everything but the central half of each side; nothing is random."""
    mask = np.ones((size, size), dtype=bool)
    mask[size // 4 : size - size // 4, size // 4 : size - size // 4] = False
    return mask


def half_mask(size: int, rng: np.random.Generator) -> Mask:
    """The bottom or the right half, by a fair coin."""
    mask = np.zeros((size, size), dtype=bool)
    hole = np.s_[size // 2 :] if rng.random() > 0.5 else np.s_[:, size // 2 :]
    mask[hole] = True
    return mask


def training_mask(size: int, rng: np.random.Generator) -> Mask:
    """An irregular, box or outpainting mask, each with probability 1/3."""
    return (irregular_mask, box_mask, outpainting_mask)[rng.integers(3)](size, rng)


# DifFace's four test sets, and its training masks
MASKS: dict[str, Callable[[int, np.random.Generator], Mask]] = {
    "box": box_mask,
    "irregular": irregular_mask,
    "expand": expand_mask,
    "half": half_mask,
    "training": training_mask,
}


@dataclass(frozen=True)
class Masking(Preset):
    """A degradation that takes a part of the photo away. mask: a key of MASKS."""

    mask: str

    def degrade(self, hq: ImageU8, rng: np.random.Generator, position: int = 0) -> ImageU8:
        if hq.shape[0] != hq.shape[1]:
            raise ValueError(f"masks are made for square photos, found {hq.shape[1]} x {hq.shape[0]} pixels")
        return mask_image(hq, MASKS[self.mask](hq.shape[0], rng))


PRESETS = {f"mask_{name}": Masking(name) for name in MASKS}


def _scaled(px: int, size: int) -> int:
    return round(px * size / REFERENCE_SIZE)
