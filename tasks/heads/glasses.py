"""Glasses: a frame of thick lines in space, lenses that tint and mirror."""

from dataclasses import dataclass

import cv2
import numpy as np

from tasks.heads.eyes import Eyeball
from tasks.heads.light import Light
from tasks.heads.person import Person, stream
from tasks.heads.pose import Crop

FRAMES = np.array(
    [
        (0.012, 0.012, 0.013),
        (0.03, 0.018, 0.012),
        (0.09, 0.05, 0.025),
        (0.35, 0.33, 0.31),
        (0.40, 0.30, 0.16),
        (0.10, 0.02, 0.02),
    ]
)
FRAME_SHARES = (0.36, 0.14, 0.12, 0.2, 0.12, 0.06)


@dataclass(frozen=True)
class Glasses:
    """rims: two closed curves [41, 3]; bars: bridge and temples [., 3], all in rest pose; thickness: dm.

    mirror, shade: how much the lenses reflect and absorb.
    """

    rims: tuple[np.ndarray, np.ndarray]
    bars: tuple[np.ndarray, ...]
    colour: np.ndarray
    thickness: float
    mirror: float
    shade: float


def draw_glasses(person: Person, balls: tuple[Eyeball, Eyeball], ear: np.ndarray) -> Glasses | None:
    """One in six wears glasses, more with age."""
    rng = stream(person.seed, "glasses")
    wears = rng.random() < 0.13 + 0.22 * person.wrinkled
    width, squareness = rng.uniform(0.21, 0.27), rng.choice([2, 2.6, 3.2, 4])
    height = width * rng.uniform(0.62, 0.92)
    gap, front = abs(balls[0].centre[0]), max(ball.centre[2] for ball in balls) + 0.33
    middle = max(gap, width + 0.06)
    y = balls[0].centre[1] - 0.05
    colour = FRAMES[rng.choice(len(FRAMES), p=FRAME_SHARES)] * np.exp(0.15 * rng.normal(size=3))
    glasses = Glasses(
        rims=(rim(middle, y, width, height, front, squareness), rim(-middle, y, width, height, front, squareness)),
        bars=(
            bridge(middle - width, y + 0.35 * height, front),
            *(temple(s, middle + width, y + 0.4 * height, front, ear) for s in (1, -1)),
        ),
        colour=colour,
        thickness=float(rng.choice([0.014, 0.022, 0.034, 0.05])),
        mirror=rng.uniform(0.02, 0.12),
        shade=rng.uniform(0.0, 0.12) if rng.random() < 0.93 else rng.uniform(0.5, 0.8),
    )
    return glasses if wears else None


def rim(x: float, y: float, width: float, height: float, front: float, squareness: float) -> np.ndarray:
    """Superellipse round one lens, bent round the face."""
    a = np.linspace(0, 2 * np.pi, 41)
    px = x + np.sign(np.cos(a)) * np.abs(np.cos(a)) ** (2 / squareness) * width
    py = y + np.sign(np.sin(a)) * np.abs(np.sin(a)) ** (2 / squareness) * height
    return np.stack([px, py, front - 0.25 * px**2 - 0.05 * (y - py)], 1)


def bridge(half: float, y: float, front: float) -> np.ndarray:
    x = np.linspace(-half, half, 9)
    return np.stack([x, y + 0.03 * np.cos(x / max(half, 0.01)), front - 0.25 * x**2 + 0.02], 1)


def temple(side: int, x: float, y: float, front: float, ear: np.ndarray) -> np.ndarray:
    """From the hinge to the ear; ear: [3], where the left one meets the head on top."""
    return np.linspace([side * x, y, front - 0.25 * x**2], ear * [side, 1, 1], 12)


def lay_lenses(picture: np.ndarray, glasses: Glasses, crop: Crop, light: Light) -> None:
    """Darken and mirror through both lenses, in place; picture: [S, S, 3] linear."""
    side = picture.shape[0]
    for rim_points in glasses.rims:
        corners = crop.screen(crop.pose.view(rim_points), side)[:, :2]
        mask = np.zeros((side, side), np.float32)
        cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
        low, high = corners.min(0), corners.max(0)
        y, x = np.mgrid[0:side, 0:side].astype(np.float32)
        u, v = (x - low[0]) / (high[0] - low[0] + 1e-6), (y - low[1]) / (high[1] - low[1] + 1e-6)
        streak = np.exp(-(((u - v * 0.6 - 0.2) / 0.22) ** 2)) * (1 - v)
        glare = glasses.mirror * (0.1 * light.radiance.mean(0) + streak[..., None] * 0.6 * light.power)
        picture *= 1 - mask[..., None] * glasses.shade
        picture += mask[..., None] * glare.astype(np.float32)
