"""Faces of a photo: where they are, and their five points."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Faces:
    """The faces of one photo, the largest first; x, y in pixels, where the centre of the first pixel is (0, 0).

    boxes: float32 [N, 4], left, top, right, bottom; points: float32 [N, 5, 2], eyes, tip of the nose, corners of the
    mouth, the viewer's left first; scores: float32 [N], 0 … 1.
    """

    boxes: np.ndarray
    points: np.ndarray
    scores: np.ndarray

    def some(self, which: np.ndarray) -> "Faces":
        """Those of the numbers, or of the mask."""
        return Faces(self.boxes[which], self.points[which], self.scores[which])

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def sizes(self) -> np.ndarray:
        """The longer side of each box [N], in pixels."""
        return np.maximum(self.boxes[:, 2] - self.boxes[:, 0], self.boxes[:, 3] - self.boxes[:, 1])


class Detector(Protocol):
    """What finds faces."""

    def detect(self, photo: np.ndarray, min_size: float) -> Faces:
        """The faces of a photo, uint8 RGB [H, W, 3], that are at least `min_size` pixels large."""
        ...
