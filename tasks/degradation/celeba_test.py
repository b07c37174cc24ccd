"""CelebA-Test of DifFace: 4,000 photos with fixed parameters (Eq. 17, 18), a full grid; its severity sweep.

Photo i of the sorted list gets row i. The severity sweep groups the rows by scale: ten groups of 400, each with the
full grid of the other parameters. sigma_y and the noise repeat the generators that the official script seeds, so
neither depends on an experiment's seed.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice, product
from typing import ClassVar

import numpy as np

from tasks.basics import BadInput
from tasks.degradation.blur_jpeg import BlurJpegParams, Image, apply, low_size, to_float
from tasks.degradation.preset import ImageU8, Preset


@dataclass(frozen=True)
class CelebaTest(Preset):
    """The preset: a photo's parameters and noise are those of its position in the sorted list of 4,000."""

    needs_position: ClassVar[bool] = True

    def degrade(self, hq: ImageU8, rng: np.random.Generator, position: int = 0) -> ImageU8:
        """Raises BadInput from the 4,001st photo on: there are no parameters for it."""
        if position >= len(rows()):
            raise BadInput(f"celeba_test: the table has {len(rows())} photos, found more. Leave {len(rows())} there.")
        return apply(to_float(hq), rows()[position], _Drawn.of(hq.shape[0], hq.shape[1]).noise(position))

    def groups(self, count: int) -> dict[int, list[int]]:
        """The severity sweep: of the first `count` photos, the positions of each scale that is among them."""
        scales = [round(row.scale) for row in rows()[:count]]
        return {scale: [n for n, own in enumerate(scales) if own == scale] for scale in SCALES if scale in scales}


class _Drawn:
    """The official noise of one size of photos, by position: drawn in order, and anew where that goes back."""

    def __init__(self, height: int, width: int) -> None:
        self.size = (height, width)
        self._start()

    @classmethod
    @cache
    def of(cls, height: int, width: int) -> "_Drawn":
        return cls(height, width)

    def _start(self) -> None:
        self.units, self.next = noise_units(*self.size), 0

    def noise(self, position: int) -> Image:
        if position < self.next:
            self._start()
        *_, unit = islice(self.units, position - self.next + 1)
        self.next = position + 1
        return unit


PRESETS = {"celeba_test": CelebaTest()}
SEED = 10_000
QUALITIES = (30, 40, 50, 60, 70)
SCALES = tuple(range(4, 41, 4))
NOISES = (1, 5, 10, 15, 20)
SIGMAS = (4, 8, 12, 16)
THETAS = (0.0, 0.25, 0.5, 0.75)  # of pi


@cache
def rows() -> tuple[BlurJpegParams, ...]:
    """The parameters of the 4,000 photos, in order; outermost in the grid: quality, scale, noise, sigma_x, theta."""
    choose = random.Random(SEED)
    return tuple(
        BlurJpegParams(sigma_x, choose.choice(SIGMAS), theta * math.pi, scale, noise, quality)
        for quality, scale, noise, sigma_x, theta in product(QUALITIES, SCALES, NOISES, SIGMAS, THETAS)
    )


def noise_units(height: int = 512, width: int = 512) -> Iterator[Image]:
    """The official noise of each photo in order, standard normal float32 [h, w, 3], RGB (drawn as BGR).

    height, width: of the photos; all of them are alike, as one generator draws for one after the other.
    """
    legacy = np.random.RandomState(SEED)
    for row in rows():
        height_lq, width_lq = low_size((height, width), row.scale)
        yield np.asarray(legacy.standard_normal((height_lq, width_lq, 3))[..., ::-1], dtype=np.float32)
