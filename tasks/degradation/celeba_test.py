"""CelebA-Test of DifFace: 4,000 photos with fixed parameters (Eq. 17, 18), a full grid; its severity sweep.

Photo i of the sorted list gets row i. The severity sweep groups the rows by scale: ten groups of 400, each with the
full grid of the other parameters. sigma_y and the noise repeat the generators that the official script seeds.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import ClassVar

import numpy as np

from tasks.degradation.blur_jpeg import BlurJpegParams, Image, apply, low_size, to_float
from tasks.degradation.preset import ImageU8, Preset


@dataclass(frozen=True)
class CelebaTest(Preset):
    """The preset: a photo's parameters are the row of its position in the sorted list (it starts anew after 4,000)."""

    needs_position: ClassVar[bool] = True

    def degrade(self, hq: ImageU8, rng: np.random.Generator, position: int = 0) -> ImageU8:
        params = rows()[position % len(rows())]
        noise = rng.standard_normal((*low_size(hq.shape[:2], params.scale), 3), dtype=np.float32)
        return apply(to_float(hq), params, noise)


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


def noise_units(side: int = 512) -> Iterator[Image]:
    """The official noise of each photo in order, standard normal float32 [h, w, 3], RGB (drawn as BGR)."""
    legacy = np.random.RandomState(SEED)
    for row in rows():
        height, width = low_size((side, side), row.scale)
        yield np.asarray(legacy.standard_normal((height, width, 3))[..., ::-1], dtype=np.float32)
