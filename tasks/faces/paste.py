"""Restored faces back into their photo, so that no seam is seen and nothing else is touched.

What is added to the photo is the change that the restoration made to the crop, inside a soft mask in the face's own
frame. So a face that was not changed comes back to the bit, with all its bits and at any size. The photo's detail that
is finer than the crop's pixels stays where the restoration agrees with the photo, and goes where it does not: there it
is noise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from tasks.faces.align import inverse, moved, warped

EDGE, FEATHER, ROUND = 0.04, 0.14, 0.36  # shares of the crop's side: left out all round, faded over, radius of corners
RING = 0.08  # share of the side over which the colour at the mask's edge is carried inwards
AGREED = 1.0  # levels of 8 bits: the change beside which fine detail loses half of its weight
SPREAD = 0.01  # share of the side over which that change is averaged
NEAR, CENTRE = 0.16, (0.5, 0.55)  # shares of the side: how fast a face's say fades from its centre
ROWS = 256  # of the photo that are worked on at once: memory does not grow with the photo


@dataclass(frozen=True)
class Restored:
    """A face to paste. matrix: from the photo to the crop; before, after: the crop, float32 [S, S, C], 0 … 255."""

    matrix: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def side(self) -> int:
        return len(self.before)

    @cached_property
    def change(self) -> np.ndarray:
        """What is added to the crop, float32 [S, S, C]."""
        return (matched(self.before, self.after) - self.before).astype(np.float32)

    @cached_property
    def agreement(self) -> np.ndarray:
        """How far the restoration agrees with the photo, float32 [S, S, 1], 0 … 1."""
        squares = cv2.GaussianBlur((self.change**2).mean(2), (0, 0), SPREAD * self.side)
        return 1 / (1 + np.maximum(squares, 0)[..., None] / AGREED**2)

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of what the crop covers of a photo."""
        last = self.side - 0.5
        corners = moved(np.array([(-0.5, -0.5), (last, -0.5), (-0.5, last), (last, last)]), inverse(self.matrix))
        left, top = np.clip(np.floor(corners.min(0)), 0, (width, height)).astype(int)
        right, bottom = np.clip(np.ceil(corners.max(0)) + 1, 0, (width, height)).astype(int)
        return int(left), int(top), int(right), int(bottom)


def paste(photo: np.ndarray, faces: Sequence[Restored], strength: float = 1.0) -> np.ndarray:
    """The photo, uint8 or uint16 [H, W, C], with the faces in it; its pixels outside of all masks are equal.

    strength: how much of the change is made, 0 … 1. Where faces overlap, the nearer one's centre has more to say.
    """
    out = photo.copy()
    height, width = photo.shape[:2]
    boxes = [face.box(width, height) for face in faces]
    for top in range(0, height, ROWS):
        rows = slice(top, min(top + ROWS, height))
        here = [(face, box) for face, box in zip(faces, boxes, strict=True) if meets(box, rows)]
        if here:
            out[rows] = with_changes(photo[rows], changes(photo[rows], here, top), strength)
    return out


def meets(box: tuple[int, int, int, int], rows: slice) -> bool:
    """Whether something of a face lies in these rows."""
    left, first, right, last = box
    return left < right and first < rows.stop and last > rows.start


def with_changes(strip: np.ndarray, change: np.ndarray, strength: float) -> np.ndarray:
    most = np.iinfo(strip.dtype).max
    changed = np.rint(strip + change * np.float32(strength * most / 255)).clip(0, most)
    return np.where(change != 0, changed, strip).astype(strip.dtype)


def changes(strip: np.ndarray, faces: Sequence[tuple[Restored, tuple[int, int, int, int]]], top: int) -> np.ndarray:
    """What the faces add to a strip of the photo that begins at the row `top`: float32 [h, W, C], levels of 8 bits."""
    total = np.zeros(strip.shape, np.float32)
    shares = np.zeros((*strip.shape[:2], 1), np.float32)
    for part, share, change in parts(strip, faces, top):
        total[part] += share * change
        shares[part] += share
    return np.divide(total, shares, out=total, where=shares > 0)


def parts(
    strip: np.ndarray, faces: Sequence[tuple[Restored, tuple[int, int, int, int]]], top: int
) -> Iterator[tuple[tuple[slice, slice], np.ndarray, np.ndarray]]:
    """For each face: its part of the strip, its say [h, w, 1] and its masked change [h, w, C]."""
    unit = 255 / np.iinfo(strip.dtype).max
    for face, (left, first, right, last) in faces:
        first, last = max(first, top), min(last, top + len(strip))
        part = slice(first - top, last - top), slice(left, right)
        mask, say = masks(face, left, first, right - left, last - first)
        shift = np.array([left, first], np.float64)
        at = np.column_stack([face.matrix[:, :2], face.matrix[:, 2] + face.matrix[:, :2] @ shift])
        layers = (face.change, face.before, face.agreement)
        change, before, agreement = (warped(layer, inverse(at), (right - left, last - first)) for layer in layers)
        detail = strip[part].astype(np.float32) * np.float32(unit) - before
        yield part, say, mask * (change - (1 - agreement.clip(0, 1)) * detail)


def masks(face: Restored, left: int, top: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The soft mask [h, w, 1] of a face in a part of its photo, and its say beside other faces."""
    x, y = np.meshgrid(np.arange(left, left + width), np.arange(top, top + height))
    share = ((moved(np.stack([x, y], -1), face.matrix) + 0.5) / face.side).astype(np.float32)
    mask = soft_square(share)[..., None]
    away = ((share - np.array(CENTRE, np.float32)) ** 2).sum(-1, keepdims=True)
    return mask, mask * (np.exp(-away / (2 * NEAR**2)) + np.float32(1e-4))


def soft_square(share: np.ndarray) -> np.ndarray:
    """1 well inside of a square with round corners, 0 from its edge on; share: [..., 2] of the crop's side."""
    beyond = np.abs(share - 0.5) - (0.5 - EDGE - ROUND)
    outside = np.hypot(*np.moveaxis(np.maximum(beyond, 0), -1, 0)) + np.minimum(beyond.max(-1), 0)
    depth = np.clip((ROUND - outside) / FEATHER, 0, 1)
    return depth * depth * (3 - 2 * depth)


def matched(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The restored crop with the photo's colours where the mask ends; what is well inside stays as it was restored."""
    side = len(before)
    at = (np.arange(side, dtype=np.float32) + 0.5) / side
    mask = soft_square(np.stack(np.meshgrid(at, at), -1))
    ring = np.where(mask > 0, 1 - mask, 0).astype(np.float32)[..., None]
    difference = np.concatenate([(before - after) * ring, ring], 2).astype(np.float32)
    spread = cv2.GaussianBlur(difference, (0, 0), RING * side, borderType=cv2.BORDER_REFLECT_101)
    return after + spread[..., :-1] / (spread[..., -1:] + np.float32(0.1))
