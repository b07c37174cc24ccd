"""Out-of-focus surroundings behind the head, drawn on a fixed grid: plain walls, rooms, leaves, sky, lamps."""

import cv2
import numpy as np

from tasks.heads.geometry import ramp
from tasks.heads.light import LUMA, Light, directions, draw_hue
from tasks.heads.person import pick, stream

GRID = 192
STYLES = {"plain": 0.42, "gradient": 0.18, "room": 0.18, "leaves": 0.11, "street": 0.08, "lamps": 0.03}


def draw_backdrop(seed: int, side: int, light: Light) -> np.ndarray:
    """[side, side, 3] linear light, mean luminance about 0.35 of a white wall's."""
    rng = stream(seed, "backdrop")
    style = pick(rng, STYLES)
    y, x = np.mgrid[0:GRID, 0:GRID] / GRID - 0.5
    slope = rng.normal(size=2) * (0.9 if style == "gradient" else 0.45)
    brightness = np.exp(rng.normal(-0.75, 0.7)) * np.exp(slope[0] * x + slope[1] * y)
    picture = brightness[..., None] * draw_hue(rng, 0.18)
    draw = {"room": add_room, "leaves": add_leaves, "street": add_street, "lamps": add_lamps}.get(style, add_wall)
    picture = draw(rng, picture)
    behind = light.radiance[directions()[:, 2] < 0.2].mean(0)
    picture = picture * (0.4 + 0.6 * behind / (behind @ LUMA))
    return cv2.resize(picture.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)


def patches(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth random field [GRID, GRID] of variance about 1."""
    field = rng.normal(size=(cells + 2, cells + 2)).astype(np.float32)
    return cv2.resize(field, (GRID, GRID), interpolation=cv2.INTER_CUBIC)


def add_wall(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Mottled a little, with the glow of a lamp for some."""
    y, x = np.mgrid[0:GRID, 0:GRID] / GRID - 0.5
    centre, size = rng.normal(0, 0.4, 2), rng.uniform(0.3, 0.8)
    glow = rng.uniform(0, 1.2) * (rng.random() < 0.4) * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / size**2)
    return picture * np.exp(0.07 * patches(rng, 4) + 0.012 * patches(rng, 24) + glow)[..., None]


def add_room(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Furniture, frames, doors, windows as blurred boxes."""
    picture, wall = np.ascontiguousarray(picture), picture.mean((0, 1))
    for _ in range(rng.integers(4, 14)):
        colour = wall * np.exp(0.7 * rng.normal()) * draw_hue(rng, 0.15)
        colour = colour * np.exp(0.25 * (rng.random() < 0.2) * rng.normal(size=3))
        x, y, width, height = rng.uniform(-0.2, 1), rng.uniform(-0.2, 1), rng.uniform(0.04, 0.5), rng.uniform(0.05, 0.9)
        low, high = (int(x * GRID), int(y * GRID)), (int((x + width) * GRID), int((y + height) * GRID))
        cv2.rectangle(picture, low, high, colour.tolist(), -1)
    picture = picture * np.exp(0.06 * patches(rng, 16))[..., None]
    return cv2.GaussianBlur(picture, (0, 0), GRID * float(np.exp(rng.uniform(-3.5, -2.3))))


def add_leaves(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Foliage: patches at all scales, green."""
    for cells in (4, 8, 16, 32, 64):
        picture = picture * np.exp(patches(rng, cells)[..., None] * [0.35, 0.36, 0.28] * (8 / (cells + 4)) ** 0.35)
    grey = picture @ LUMA
    picture = grey[..., None] * np.exp(np.array([-0.08, 0.06, -0.4]) + 0.12 * rng.normal(size=3))
    return cv2.GaussianBlur(picture, (0, 0), GRID * float(np.exp(rng.uniform(-3.9, -2.7))))


def add_street(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Sky over something darker, with a blurred outline."""
    height = rng.uniform(0.1, 0.8) + 0.06 * patches(rng, 6)[0]
    below = ramp(np.arange(GRID)[:, None] / GRID - height, -0.02, 0.02)[..., None]
    sky = np.exp(rng.normal(0.1, 0.4)) * np.array([0.75, 0.9, 1.15])
    picture = sky * (1 - below) + picture * np.exp(0.25 * patches(rng, 10) + 0.2 * patches(rng, 30))[..., None] * below
    return cv2.GaussianBlur(picture, (0, 0), GRID * float(np.exp(rng.uniform(-3.9, -2.6))))


def add_lamps(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Dark, with discs of lamps out of focus."""
    picture = picture * 0.35
    size = rng.uniform(0.01, 0.035)
    for _ in range(rng.integers(6, 26)):
        colour = np.exp(rng.normal(-0.5, 0.7)) * tinted(rng)
        disc = np.zeros((GRID, GRID), np.float32)
        centre = tuple(int(v) for v in rng.uniform(0, GRID, 2))
        cv2.circle(disc, centre, max(1, int(GRID * size * rng.uniform(0.7, 1.2))), 1.0, -1, cv2.LINE_AA)
        picture = picture + disc[..., None] * colour
    return cv2.GaussianBlur(picture, (0, 0), GRID * 0.008)


def tinted(rng: np.random.Generator) -> np.ndarray:
    """Colour [3] of a lamp: mostly warm."""
    return np.array([1.2, 0.85, 0.5]) * np.exp(0.35 * rng.normal(size=3))
