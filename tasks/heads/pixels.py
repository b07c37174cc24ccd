"""What every pixel of the picture shows of the mesh, and what it is made of (a deferred renderer's buffers)."""

from dataclasses import dataclass

import numpy as np

from tasks.heads.geometry import unit
from tasks.heads.kernels import value_noise
from tasks.heads.mesh import COLLAR, SKIN
from tasks.heads.person import stream


@dataclass
class Pixels:
    """The P covered pixels of a picture of side S, in row order.

    covered: [S, S]; depth: [S, S] in dm; part: [P]; rest, position, normal: [P, 3] on the rest mesh, in view space;
    smooth_normal: before bumps; lips, lids, ears, inside: [P] in [0, 1]; scalp, shadow: of hair and beard;
    paint: [P, 3] colour of collars; irradiance: [P, 3] from the surroundings; opening: [P] their open share.
    """

    covered: np.ndarray
    depth: np.ndarray
    part: np.ndarray
    rest: np.ndarray
    position: np.ndarray
    normal: np.ndarray
    smooth_normal: np.ndarray
    lips: np.ndarray
    lids: np.ndarray
    ears: np.ndarray
    inside: np.ndarray
    scalp: np.ndarray
    shadow: np.ndarray
    paint: np.ndarray
    irradiance: np.ndarray
    opening: np.ndarray

    @property
    def is_skin(self) -> np.ndarray:
        return self.part == SKIN

    @property
    def is_collar(self) -> np.ndarray:
        return self.part == COLLAR

    def image(self, values: np.ndarray) -> np.ndarray:
        """Values [P, ...] as a float32 picture [S, S, ...], 0 where nothing is covered."""
        picture = np.zeros(self.covered.shape + values.shape[1:], np.float32)
        picture[self.covered] = values
        return picture


@dataclass
class Material:
    """albedo: [P, 3] linear; roughness, reflectance (at normal incidence), skin (how much it scatters below): [P]."""

    albedo: np.ndarray
    roughness: np.ndarray
    reflectance: np.ndarray
    skin: np.ndarray


ATTRIBUTES = {  # of a vertex, in the order of `attribute_table`
    "rest": 3,
    "position": 3,
    "normal": 3,
    "lips": 1,
    "lids": 1,
    "ears": 1,
    "inside": 1,
    "face": 1,
    "scalp": 1,
    "shadow": 1,
    "paint": 3,
    "irradiance": 3,
    "opening": 1,
}


def gather(
    depth: np.ndarray,
    index: np.ndarray,
    weights: np.ndarray,
    triangles: np.ndarray,
    parts: np.ndarray,
    table: np.ndarray,
) -> Pixels:
    """Interpolate the vertices' attributes (table [V, A], columns as in ATTRIBUTES) at every covered pixel."""
    covered = index >= 0
    corners, w = triangles[index[covered]], weights[covered]
    shares = np.stack([1 - w.sum(1), w[:, 0], w[:, 1]], 1).astype(np.float32)
    values = sum(table[corners[:, k]] * shares[:, k : k + 1] for k in range(3))
    columns = np.split(values, np.cumsum(list(ATTRIBUTES.values()))[:-1], axis=1)
    named = {n: c[:, 0] if c.shape[1] == 1 else c for n, c in zip(ATTRIBUTES, columns, strict=True)}
    del named["face"]
    normal = unit(named.pop("normal"))
    return Pixels(covered, depth, parts[index[covered]], normal=normal, smooth_normal=normal, **named)


class Noise:
    """Noise fields of one head over the rest mesh: octaves beyond the picture's resolution are left out.

    finest: bumps a dm that the picture can show.
    """

    def __init__(self, seed: int, finest: float) -> None:
        self.volume = stream(seed, "noise").standard_normal((64, 64, 64), dtype=np.float32) * np.float32(0.9)
        self.finest = finest

    def __call__(self, points: np.ndarray, frequencies: tuple[float, ...], shift: float = 0.0) -> np.ndarray:
        """Sum of octaves [N] of variance 1 each; another `shift` is another field."""
        total = np.zeros(len(points), np.float32)
        for frequency in frequencies:
            if frequency <= self.finest:
                total += value_noise(self.volume, points + np.float32(shift), frequency)
        return total

    def vectors(self, points: np.ndarray, frequencies: tuple[float, ...], shift: float = 0.0) -> np.ndarray:
        """Three fields [N, 3]."""
        return np.stack([self(points, frequencies, shift + 3.3 * k) for k in range(3)], 1)
