"""What a degradation is: settings that turn an HQ photo into an LQ photo, one photo and one random stream at a time."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tasks.basics import BadInput

ImageU8: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class Preset:
    """Base of the settings of a degradation. needs_position: whether a photo's place in the sorted list counts."""

    needs_position: ClassVar[bool] = False

    def degrade(self, hq: ImageU8, rng: np.random.Generator, position: int = 0) -> ImageU8:
        """The LQ photo of one HQ photo, uint8 [H, W, 3], RGB, with parameters and noise drawn from `rng`; same shape.

        Raises ValueError for a size that the preset cannot shrink.
        """
        raise NotImplementedError

    def groups(self, count: int) -> dict[int, list[int]]:
        """Of the first `count` photos, the positions by scale, where photos are shrunk by scales of their own."""
        return {}

    def training_pair(self, hq: ImageU8, rng: np.random.Generator) -> tuple[ImageU8, ImageU8]:
        """The LQ photo, and what a restorer is to make of it."""
        return self.degrade(hq, rng), hq

    def with_camera(self, camera: Path, iso: int) -> "Preset":
        """The same with the sensor of a camera file. Raises BadInput for a degradation without a sensor."""
        raise BadInput("this degradation has no camera; remove `camera` and `iso`.")


def degrade(hq: ImageU8, preset: Preset, rng: np.random.Generator, position: int = 0) -> ImageU8:
    """`preset.degrade`. Raises ValueError for another kind of array, too."""
    if hq.dtype != np.uint8 or hq.ndim != 3 or hq.shape[2] != 3:
        raise ValueError(f"degrade: expected a uint8 image [H, W, 3], found {hq.dtype} {list(hq.shape)}")
    return preset.degrade(hq, rng, position)
