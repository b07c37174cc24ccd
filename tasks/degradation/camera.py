"""The sensor of the RAW degradation: noise, white balance, colour matrices, levels and CFA.

A camera file is JSON with exactly these keys. A small one, complete:

    {
      "name": "my phone, main camera",
      "cfa": "GRBG", "black_level": 64, "white_level": 1023,
      "noise": [
        {"iso": 100, "b1": [0.7, 0.8, 0.8, 0.7], "b2": [-42, -48, -48, -42]},
        {"iso": 1600, "shot": 9e-3, "read": 2e-4}
      ],
      "white_balance": {"kind": "uniform", "red": [1.9, 2.4], "blue": [1.5, 1.9]},
      "colour": {"kind": "ccm", "matrices": [[[1.6, -0.5, -0.1], [-0.3, 1.5, -0.2], [0.0, -0.6, 1.6]]]}
    }

cfa: the 2 x 2 cell row by row: RGGB, GRBG, GBRG or BGGR. Levels are digital numbers (DN).

noise: entries by rising ISO; between two of them the variance is linear in ISO, beyond them ISO is an error.
Variance [DN^2] = b1 DN + b2, where DN includes the black level (so b2 is mostly negative), or, for x in [0, 1] above
black, variance = shot x + read. Each is one number or four, for the cell's positions row by row.

white_balance: gains with green = 1, drawn per image. "uniform": each gain in its range. "normal": the illuminant
(1/red gain, 1/blue gain) from a bivariate normal {"mean": [r, b], "covariance": [[.., ..], [.., ..]]}, drawn again
until it lies between "low": [r, b] and "high": [r, b].

colour: "ccm", white-balanced camera RGB to linear sRGB: a random convex blend of the matrices. "calibrated_ccm", each
with the gains of its illuminant, {"kind": "calibrated_ccm", "entries": [{"ccm": .., "gains": [red, blue]}]}: the three
nearest to the drawn illuminant, weighted by inverse squared distance (what DT-BFR means; its code blends the first
three entries whatever the illuminant, nearly what "ccm" does with those three). "xyz_to_camera" (as DNG's ColorMatrix):
a random convex blend, joined with the sRGB primaries, white kept, and inverted (Brooks et al. 2019).
"""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    PositiveFloat,
    Tag,
    ValidationError,
    model_validator,
)

from tasks.basics import BadInput, Strict

Array: TypeAlias = NDArray[np.float64]
Pair: TypeAlias = tuple[FiniteFloat, FiniteFloat]
Row: TypeAlias = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
PerPosition: TypeAlias = FiniteFloat | tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]


def _invertible(matrix: tuple[Row, Row, Row]) -> tuple[Row, Row, Row]:
    if abs(np.linalg.det(matrix)) < 1e-6:
        raise ValueError(f"expected an invertible colour matrix, found {matrix}")
    return matrix


Matrix: TypeAlias = Annotated[tuple[Row, Row, Row], AfterValidator(_invertible)]

SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


class NoiseDn(Strict):
    """variance [DN^2] = b1 DN + b2 at one ISO; DN includes the black level."""

    iso: PositiveFloat
    b1: PerPosition
    b2: PerPosition


class NoiseNormalised(Strict):
    """variance = shot x + read at one ISO; x in [0, 1] between black and white level."""

    iso: PositiveFloat
    shot: PerPosition
    read: PerPosition


def _noise_form(entry: object) -> str:
    """Which of the two forms an entry of the file means to be, so that an error speaks of that one alone."""
    is_normalised = isinstance(entry, NoiseNormalised) or (isinstance(entry, dict) and not {"b1", "b2"} & set(entry))
    return "shot, read" if is_normalised else "b1, b2"


Noise: TypeAlias = Annotated[
    Annotated[NoiseDn, Tag("b1, b2")] | Annotated[NoiseNormalised, Tag("shot, read")], Discriminator(_noise_form)
]


class UniformGains(Strict):
    """Red and blue gains, each uniform in its range; green is 1."""

    kind: Literal["uniform"]
    red: tuple[PositiveFloat, PositiveFloat]
    blue: tuple[PositiveFloat, PositiveFloat]

    def draw(self, rng: np.random.Generator) -> Array:
        """Gains (R, G, B)."""
        return np.array([rng.uniform(*self.red), 1.0, rng.uniform(*self.blue)])


class NormalIlluminant(Strict):
    """The illuminant (1/red gain, 1/blue gain) from a truncated bivariate normal."""

    kind: Literal["normal"]
    mean: Pair
    covariance: tuple[Pair, Pair]
    low: tuple[NonNegativeFloat, NonNegativeFloat]
    high: Pair

    @model_validator(mode="after")
    def _is_drawable(self) -> "NormalIlluminant":
        if not all(low < mean < high for low, mean, high in zip(self.low, self.mean, self.high, strict=True)):
            raise ValueError(f"expected low < mean < high, found {self.low}, {self.mean}, {self.high}")
        if self.covariance[0][1] != self.covariance[1][0] or np.linalg.eigvalsh(self.covariance).min() < 0:
            raise ValueError(f"covariance: expected symmetric and positive semi-definite, found {self.covariance}")
        return self

    def draw(self, rng: np.random.Generator) -> Array:
        """Gains (R, G, B)."""
        while True:  # the mean lies inside, so this ends
            illuminant = rng.multivariate_normal(self.mean, self.covariance)
            if np.all(illuminant > self.low) and np.all(illuminant < self.high):
                return np.array([1 / illuminant[0], 1.0, 1 / illuminant[1]])


class Ccms(Strict):
    """White-balanced camera RGB to linear sRGB: a random convex blend."""

    kind: Literal["ccm"]
    matrices: tuple[Matrix, ...] = Field(min_length=1)

    def draw(self, rng: np.random.Generator, gains: Array) -> Array:
        """One CCM [3, 3]; the gains do not matter."""
        return _convex_blend(rng, self.matrices)


class CalibratedCcm(Strict):
    """A CCM and the (red, blue) gains of the illuminant that it was measured under."""

    ccm: Matrix
    gains: tuple[PositiveFloat, PositiveFloat]


class CalibratedCcms(Strict):
    """CCMs interpolated between the three illuminants nearest to the drawn one (DT-BFR)."""

    kind: Literal["calibrated_ccm"]
    entries: tuple[CalibratedCcm, ...] = Field(min_length=3)

    def draw(self, rng: np.random.Generator, gains: Array) -> Array:
        """One CCM [3, 3] for the gains (R, G, B); nothing is random here."""
        known = 1 / np.array([entry.gains for entry in self.entries])
        distance2 = ((known - 1 / gains[[0, 2]]) ** 2).sum(axis=1)
        nearest = np.argsort(distance2, kind="stable")[:3]
        weights = 1 / np.maximum(distance2[nearest], 1e-12)  # an exact hit takes all the weight
        ccms = np.array([self.entries[i].ccm for i in nearest])
        return np.asarray(np.tensordot(weights / weights.sum(), ccms, axes=1))


class XyzToCamera(Strict):
    """XYZ to camera RGB: blended at random, joined with the sRGB primaries, white kept, inverted (Brooks et al.)."""

    kind: Literal["xyz_to_camera"]
    matrices: tuple[Matrix, ...] = Field(min_length=1)

    def draw(self, rng: np.random.Generator, gains: Array) -> Array:
        """One CCM [3, 3]; the gains do not matter."""
        rgb_to_camera = _convex_blend(rng, self.matrices) @ SRGB_TO_XYZ
        return np.asarray(np.linalg.inv(rgb_to_camera / rgb_to_camera.sum(axis=1, keepdims=True)))


class Camera(Strict):
    """One sensor. The module's docstring describes the fields and the file."""

    name: str
    cfa: Literal["RGGB", "GRBG", "GBRG", "BGGR"]
    black_level: NonNegativeFloat
    white_level: PositiveFloat
    noise: tuple[Noise, ...] = Field(min_length=1)
    white_balance: Annotated[UniformGains | NormalIlluminant, Field(discriminator="kind")]
    colour: Annotated[Ccms | CalibratedCcms | XyzToCamera, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _is_consistent(self) -> "Camera":
        if self.black_level >= self.white_level:
            raise ValueError(f"black_level {self.black_level} must be below white_level {self.white_level}")
        if any(first.iso >= second.iso for first, second in pairwise(self.noise)):
            raise ValueError(f"noise: iso must rise from entry to entry, found {[entry.iso for entry in self.noise]}")
        return self

    def noise_dn(self, iso: float) -> tuple[Array, Array]:
        """b1 and b2 at an ISO, [4] each, linear between the entries. Raises BadInput beyond the first and last one."""
        known = [entry.iso for entry in self.noise]
        if not known[0] <= iso <= known[-1]:
            raise BadInput(
                f"camera {self.name!r}: ISO {iso:g} lies outside its noise table ({known[0]:g} to {known[-1]:g});"
                " choose an ISO inside, or calibrate and add an entry"
            )
        table = np.array([self._b1_b2(entry) for entry in self.noise])  # [entries, 2, 4]
        b1, b2 = (np.array([np.interp(iso, known, table[:, i, p]) for p in range(4)]) for i in range(2))
        return b1, b2

    def _b1_b2(self, entry: NoiseDn | NoiseNormalised) -> Array:
        if isinstance(entry, NoiseDn):
            b1, b2 = np.broadcast_to(entry.b1, 4), np.broadcast_to(entry.b2, 4)
        else:
            span = self.white_level - self.black_level
            b1 = np.broadcast_to(entry.shot, 4) * span
            b2 = np.broadcast_to(entry.read, 4) * span**2 - self.black_level * b1
        return np.array([b1, b2])


def load_camera(path: Path) -> Camera:
    """Read and check a camera file. Raises BadInput that names the file and every wrong key."""
    try:
        return Camera.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise BadInput(f"camera file {path} is missing; its format is described in {__name__}") from error
    except ValidationError as error:
        wrong = (
            f"{path}: {'.'.join(map(str, item['loc'])) or '(whole file)'}: {item['msg']} (found: {item['input']!r:.80})"
            for item in error.errors()
        )
        raise BadInput("\n".join((*wrong, f"The format is described in {__name__}"))) from error


def _convex_blend(rng: np.random.Generator, matrices: tuple[Matrix, ...]) -> Array:
    weights = rng.uniform(size=len(matrices))
    return np.asarray(np.tensordot(weights / weights.sum(), np.array(matrices), axes=1))


PUBLISHED_CAMERA = Camera(
    name="published matrices and gains, noise like DT-BFR's sensor",
    cfa="GRBG",
    black_level=64,
    white_level=1023,
    # DT-BFR's calibration may not be shipped. These figures match its severities; the LQ is 0.4-0.6 dB better, as the
    # gains are milder.
    noise=(
        NoiseNormalised(iso=1500, shot=6.1e-3, read=1.23e-4),
        NoiseNormalised(iso=3000, shot=1.25e-2, read=4.3e-4),
    ),
    # Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019, without its global gain
    white_balance=UniformGains(kind="uniform", red=(1.9, 2.4), blue=(1.5, 1.9)),
    colour=XyzToCamera(
        kind="xyz_to_camera",
        matrices=(
            ((1.0234, -0.2969, -0.2266), (-0.5625, 1.6328, -0.0469), (-0.0703, 0.2188, 0.6406)),
            ((0.4913, -0.0541, -0.0202), (-0.613, 1.3513, 0.2906), (-0.1564, 0.2151, 0.7183)),
            ((0.838, -0.263, -0.0639), (-0.2887, 1.0725, 0.2496), (-0.0627, 0.1427, 0.5438)),
            ((0.6596, -0.2079, -0.0562), (-0.4782, 1.3016, 0.1933), (-0.097, 0.1581, 0.5181)),
        ),
    ),
)
