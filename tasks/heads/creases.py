"""Folds and wrinkles: grooves along polylines of the rest face, deeper with age and with a smile."""

import numpy as np

from tasks.heads.geometry import unit
from tasks.heads.kernels import crease_field
from tasks.heads.person import Person, stream
from tasks.heads.pixels import Noise, Pixels
from tasks.heads.pose import Pose

Fold = tuple[list[tuple[float, float]], float, float]  # points x, y (dm, x > 0), width (dm), depth when old
FOLDS: dict[str, Fold] = {
    "nasolabial": ([(0.17, 6.92), (0.25, 6.83), (0.32, 6.70), (0.345, 6.58)], 0.042, 0.70),
    "marionette": ([(0.29, 6.57), (0.315, 6.48), (0.31, 6.38)], 0.022, 0.40),
    "lower lid": ([(0.17, 7.20), (0.25, 7.14), (0.35, 7.13), (0.44, 7.17)], 0.020, 0.45),
    "cheek": ([(0.19, 7.10), (0.28, 7.03), (0.38, 7.01)], 0.030, 0.28),
    "frown": ([(0.065, 7.44), (0.05, 7.52), (0.06, 7.60)], 0.016, 0.45),
    "jowl": ([(0.42, 6.55), (0.40, 6.42), (0.34, 6.32)], 0.035, 0.30),
    "neck": ([(0.02, 6.02), (0.2, 6.03), (0.4, 6.10)], 0.022, 0.35),
    "neck low": ([(0.02, 5.86), (0.2, 5.88), (0.38, 5.95)], 0.020, 0.25),
}
CROW_FEET = [
    ((0.54, 7.30), (0.65, 7.37)),
    ((0.55, 7.27), (0.67, 7.28)),
    ((0.54, 7.24), (0.65, 7.20)),
    ((0.52, 7.21), (0.61, 7.13)),
]
FOREHEAD = (7.64, 7.72, 7.81, 7.90)
YOUNG = 0.22  # share of a fold's depth that a young face has


def draw_creases(person: Person, smile: float) -> np.ndarray:
    """Grooves [L, 6] as `kernels.crease_field` takes them, each side on its own; smile: 0..1."""
    rng = stream(person.seed, "creases")
    old = person.wrinkled
    lines = []
    for side in (1, -1):
        for name, (points, width, deep) in FOLDS.items():
            young = YOUNG if name in ("nasolabial", "lower lid") else 0.0
            smiling = 0.7 * smile if name in ("nasolabial", "lower lid") else 0.0
            depth = deep * (young + (1 - young) * old + smiling) * np.exp(0.35 * rng.normal())
            lines += polyline(rng, points, side, width * rng.uniform(0.8, 1.3), depth)
        for start, end in CROW_FEET:
            depth = (0.4 * old + 0.3 * smile * (0.3 + old)) * rng.uniform(0.3, 1.2)
            lines += polyline(rng, [start, end], side, 0.012 * rng.uniform(0.8, 1.4), depth)
    lines += forehead_lines(rng, 0.5 * max(0.0, old - 0.15))
    return np.array(lines)


def polyline(
    rng: np.random.Generator, points: list[tuple[float, float]], side: int, width: float, depth: float
) -> list:
    """Segments of a fold, slightly shifted at random, half as deep at its ends."""
    at = (np.array(points) + 0.012 * rng.normal(size=(len(points), 2))) * [side, 1]
    taper = np.interp(np.linspace(0, 1, len(points) - 1), [0, 0.5, 1], [0.7, 1.0, 0.6])
    return [[*a, *b, depth * t, width] for a, b, t in zip(at[:-1], at[1:], taper, strict=True)]


def forehead_lines(rng: np.random.Generator, depth: float) -> list:
    """Broken wavy lines across the forehead."""
    lines = []
    for height in FOREHEAD:
        reach, shift, strength = rng.uniform(0.2, 0.45), 0.08 * rng.normal(), depth * rng.uniform(0.2, 1.2)
        x = np.linspace(-reach, reach, 9) + shift
        y = height + 0.02 * rng.normal() + 0.008 * rng.normal(size=9) + 0.03 * np.cos(x * rng.uniform(4, 9))
        fade = strength * (1 - np.abs(np.linspace(-1, 1, 8))) ** 0.5
        lines += [[x[i], y[i], x[i + 1], y[i + 1], fade[i], 0.016] for i in range(8)]
    return lines


def carve(pixels: Pixels, pose: Pose, creases: np.ndarray, noise: Noise, person: Person) -> None:
    """Tilt the normals of the skin by creases and by the unevenness of flesh and pores; darken the creases' grounds."""
    rng = stream(person.seed, "relief")
    on_face = pixels.is_skin & (pixels.rest[:, 2] > 0.3)
    rest = pixels.rest[on_face]
    warped = rest[:, :2] + 0.012 * noise.vectors(rest, (9.0,), 40.0)[:, :2]
    depth, slope = crease_field(warped, creases)
    tilt = slope @ pose.head[:, :2].T
    tilt += rng.uniform(0.008, 0.02) * (1 + person.wrinkled) * noise.vectors(rest, (5.0, 11.0), 50.0)
    tilt += rng.uniform(0.012, 0.024) * (1 + 0.6 * person.wrinkled) * noise.vectors(rest, (24.0, 50.0, 110.0), 60.0)
    bare = (1 - 0.6 * pixels.lips[on_face])[:, None]
    pixels.normal = pixels.normal.copy()
    pixels.normal[on_face] = unit(pixels.normal[on_face] + tilt * bare)
    pixels.irradiance[on_face] *= 1 - 0.35 * np.clip(depth, 0, 1)[:, None]
