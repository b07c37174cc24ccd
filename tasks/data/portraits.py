"""Procedural demo faces: drawn portraits that stand in for aligned photographs (no person is depicted).

Everything is placed in unit coordinates (x to the right, y down, the image is [0,1] x [0,1]) with the eyes at y = 0.47
and the mouth at y = 0.72, turned by `Pose`, drawn on a supersampled canvas, lit by the normals of a head-shaped height
field and averaged down. Random draws never depend on the size, so a seed is one picture at any resolution.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np

MIN_SIZE, MAX_SIZE = 16, 1024
SHADE_GRID = 128  # the light varies slowly: it is computed on this grid and enlarged
SKIN = np.array(
    [(250, 222, 200), (242, 203, 172), (226, 178, 136), (200, 144, 102), (160, 106, 72), (118, 76, 52), (84, 56, 42)]
)
HAIR = np.array(
    [
        (34, 28, 27),
        (58, 39, 30),
        (96, 62, 38),
        (140, 96, 56),
        (196, 156, 100),
        (226, 198, 148),
        (150, 66, 32),
        (165, 160, 156),
    ]
)
IRIS = np.array([(70, 42, 24), (98, 64, 34), (122, 104, 56), (86, 118, 84), (84, 124, 158), (122, 140, 150)])
WHITE = np.array([250.0, 250.0, 246.0])


class Canvas:
    """Drawing surface in unit coordinates; a fourth channel is 255 where the light falls, 0 where paint shows as it is.

    Widths are in 1/256 of the image side.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.pixels = np.zeros((side, side, 4), np.uint8)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        return np.round((np.asarray(points) * self.side - 0.5) * 16).astype(np.int32)

    def fill(self, points: np.ndarray, colour: Sequence[float] | np.ndarray, lit: bool = True) -> None:
        cv2.fillPoly(self.pixels, [self._fixed(points)], (*rgb(colour), 255 * lit), cv2.LINE_AA, 4)

    def line(
        self, points: np.ndarray, colour: Sequence[float] | np.ndarray, width: float = 1, lit: bool = True
    ) -> None:
        thickness = max(1, round(width * self.side / 256))
        cv2.polylines(self.pixels, [self._fixed(points)], False, (*rgb(colour), 255 * lit), thickness, cv2.LINE_AA, 4)

    def strands(self, paths: np.ndarray, colours: np.ndarray, widths: np.ndarray | float = 1.0) -> None:
        """Lines [N, K, 2], each with its own colour [N, 3] and width."""
        for path, colour, width in zip(paths, colours, np.broadcast_to(widths, len(paths)), strict=True):
            self.line(path, colour, width)

    def dot(self, centre: np.ndarray, radius: float, colour: Sequence[float] | np.ndarray, lit: bool = True) -> None:
        self.fill(ellipse(centre, radius, radius, 20), colour, lit)

    @contextmanager
    def clip(self, points: np.ndarray, opacity: float = 1.0, blur: float = 0.0) -> Iterator[None]:
        """Keep what the block draws inside `points` (and far from them), softened by `blur`, mixed by `opacity`."""
        margin = 0.04 + 3 * blur
        x0, y0 = np.clip((np.min(points, 0) - margin) * self.side, 0, self.side).astype(int)
        x1, y1 = np.clip((np.max(points, 0) + margin) * self.side, 0, self.side).astype(int) + 1
        box = np.s_[y0:y1, x0:x1]
        before = self.pixels[box].copy()
        yield
        mask = np.zeros(before.shape[:2], np.uint8)
        if mask.size:
            cv2.fillPoly(mask, [self._fixed(points) - 16 * np.array([x0, y0], np.int32)], 255, cv2.LINE_AA, 4)
            if blur:
                mask = cv2.GaussianBlur(mask, (0, 0), blur * self.side)
            keep = cv2.merge([mask.astype(np.float32) * (opacity / 255)] * 4)
            self.pixels[box] = np.rint(before + keep * (self.pixels[box].astype(np.float32) - before))

    def tint(self, points: np.ndarray, colour: Sequence[float] | np.ndarray, opacity: float, blur: float = 0.0) -> None:
        """A soft transparent patch of colour that leaves the light as it is."""
        with self.clip(points, opacity, blur):
            x0, y0 = np.clip((np.min(points, 0) - 0.04 - 3 * blur) * self.side, 0, self.side).astype(int)
            x1, y1 = np.clip((np.max(points, 0) + 0.04 + 3 * blur) * self.side, 0, self.side).astype(int) + 1
            self.pixels[y0:y1, x0:x1, :3] = rgb(colour)


@dataclass(frozen=True)
class Pose:
    """Small turn of the head; radians. `width` is half the face, in the unit of the image."""

    yaw: float
    roll: float
    width: float

    def __call__(self, points: np.ndarray | Sequence[float], lift: float = 0.0) -> np.ndarray:
        """Frontal face coordinates [..., 2] to the image; `lift` brings a part nearer to the viewer (nose > 0)."""
        points = np.asarray(points, float)
        x, y = points[..., 0] - 0.5, points[..., 1] - 0.5
        depth = np.sqrt(np.clip(1 - (x / self.width) ** 2, 0, 1)) + lift
        x = x * np.cos(self.yaw) + (depth - 0.9) * 0.22 * np.sin(self.yaw)
        c, s = np.cos(self.roll), np.sin(self.roll)
        return np.stack([0.5 + c * x - s * y, 0.5 + s * x + c * y], -1)


def rgb(colour: Sequence[float] | np.ndarray) -> tuple[int, int, int]:
    r, g, b = (min(255, max(0, round(float(c)))) for c in colour)
    return r, g, b


def mix(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    return a + (b - a) * share


def pick(palette: np.ndarray, at: float) -> np.ndarray:
    """Colour at a fractional index of a palette [N, 3]."""
    low = int(min(at, len(palette) - 1.001))
    return mix(palette[low].astype(float), palette[low + 1].astype(float), at - low)


def ellipse(centre: Sequence[float] | np.ndarray, rx: float, ry: float, count: int = 40) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([centre[0] + rx * np.cos(t), centre[1] + ry * np.sin(t)], -1)


def shades(rng: np.random.Generator, colour: np.ndarray, count: int, spread: float) -> np.ndarray:
    """Lighter and darker versions of a colour [N, 3]."""
    gain = np.exp(rng.normal(0, spread, (count, 1)))
    return colour * gain + 22 * np.maximum(gain - 1, 0)


def curve(knots: Sequence[tuple[float, float]], count: int = 24) -> np.ndarray:
    """Smooth interpolation (Lagrange for three knots) through a few points, left to right."""
    x, y = np.array(knots).T
    t = np.linspace(x[0], x[-1], count)
    return np.stack([t, np.polyval(np.polyfit(x, y, len(x) - 1), t)], -1)


def backdrop(canvas: Canvas, rng: np.random.Generator) -> None:
    """Gradient with one of: bokeh, wall boards, bricks, blurred blocks, rough plaster. Not lit."""
    base = rng.uniform(25, 225) + rng.normal(0, 28, 3)
    other = base + rng.normal(0, 35) + rng.normal(0, 18, 3)
    direction = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, canvas.side, dtype=np.float32)
    ramp = 0.5 + np.cos(direction) * axis[None, :, None] + np.sin(direction) * axis[:, None, None]
    canvas.pixels[..., :3] = np.clip(base + ramp * (other - base), 8, 247)
    kind = rng.integers(5)
    tone = mix(base, other, rng.uniform(0, 1))
    if kind == 0:
        for _ in range(rng.integers(14, 30)):
            spot = ellipse(rng.uniform(0, 1, 2), radius := rng.uniform(0.02, 0.09), radius)
            canvas.tint(spot, tone + rng.uniform(10, 90) + rng.normal(0, 40, 3), rng.uniform(0.2, 0.6), 0.003)
    elif kind == 1:
        step = rng.uniform(0.05, 0.14)
        for x in np.arange(rng.uniform(0, step), 1, step):
            canvas.line(np.array([[x, 0], [x, 1]]), tone * 0.62, 2, lit=False)
            canvas.line(np.array([[x + 0.008, 0], [x + 0.008, 1]]), tone * 1.15 + 8, 1, lit=False)
    elif kind == 2:
        high = rng.uniform(0.05, 0.09)
        for row, y in enumerate(np.arange(0, 1, high)):
            for x in np.arange(-(row % 2) * high, 1, 2 * high):
                corners = np.array([[0, 0], [2 * high - 0.01, 0], [2 * high - 0.01, high - 0.01], [0, high - 0.01]])
                canvas.fill(corners + (x, y), np.clip(tone * rng.uniform(0.8, 1.1), 12, 240), lit=False)
    elif kind == 3:
        for _ in range(rng.integers(4, 9)):
            x, y, w, h = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.6)
            block = np.array([[x - w, y - h], [x + w, y - h], [x + w, y + h], [x - w, y + h]]) * 1.0
            canvas.tint(block, base + rng.normal(0, 45) + rng.normal(0, 25, 3), 0.7, rng.uniform(0.004, 0.02))
    else:
        for spot, gain in zip(rng.uniform(0, 1, (500, 2)), rng.normal(0, 14, 500), strict=True):
            canvas.dot(spot, 0.006, np.clip(tone + gain, 8, 247), lit=False)


def face_outline(rng: np.random.Generator, width: float) -> np.ndarray:
    """Closed outline [64, 2] from the skull to a jaw between square and pointed."""
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    s, c = np.sin(t), np.cos(t)
    jaw, chin = rng.uniform(0.82, 1.2), rng.uniform(0.36, 0.41)
    x = width * np.sign(s) * np.abs(s) ** np.where(c > 0, jaw, 0.9)
    return np.stack([0.5 + x, 0.5 + np.where(c > 0, chin * c, 0.37 * c)], -1)


def clothes(canvas: Canvas, rng: np.random.Generator) -> None:
    """Shoulders with stripes, checks or dots and a collar."""
    base, second = (rng.uniform(30, 215) + rng.normal(0, 35, 3) for _ in range(2))
    slope = rng.uniform(0.84, 0.9)
    top = slope - 0.03
    body = np.array(
        [
            (-0.1, 1.1),
            (-0.1, slope + 0.08),
            (0.12, slope + 0.02),
            (0.34, slope - 0.02),
            (0.66, slope - 0.02),
            (0.88, slope + 0.02),
            (1.1, slope + 0.08),
            (1.1, 1.1),
        ]
    )
    kind = rng.integers(4)
    with canvas.clip(body):
        canvas.fill(body, base)
        step = rng.uniform(0.03, 0.07)
        for i, x in enumerate(np.arange(0, 1, step)):
            if kind in (0, 1):
                canvas.line(np.array([[x, top], [x + 0.04, 1.05]]), second, 3)
            if kind == 1 and top + x < 1.1:
                canvas.line(np.array([[0, top + x], [1, top + x]]), second, 3)
            if kind == 2:
                for y in np.arange(top, 1.05, step):
                    canvas.dot(np.array([x + (i % 2) * step / 2, y]), 0.008, second)
    collar = mix(base, WHITE, 0.5) if rng.random() < 0.5 else base * 0.7
    for side in (-1, 1):
        flap = np.array(
            [
                (0.5 + side * 0.17, slope - 0.03),
                (0.5 + side * 0.2, slope + 0.03),
                (0.5 + side * 0.09, 1.02),
                (0.5, 0.97),
            ]
        )
        canvas.fill(flap, collar)
        canvas.line(np.vstack([flap, flap[:1]]), collar * 0.6, 1.5)


def neck(canvas: Canvas, pose: Pose, skin: np.ndarray) -> None:
    column = np.array([(0.33, 0.7), (0.32, 0.93), (0.5, 1.02), (0.68, 0.93), (0.67, 0.7)])
    canvas.fill(column, skin * 0.8)
    canvas.tint(pose(ellipse((0.5, 0.84), 0.2, 0.1)), skin * 0.35, 0.7, 0.015)


def ears(canvas: Canvas, pose: Pose, skin: np.ndarray, rng: np.random.Generator) -> None:
    size = rng.uniform(0.07, 0.09)
    for side in (-1, 1):
        x = 0.5 + side * (pose.width + 0.012)
        canvas.fill(pose(ellipse((x, 0.53), 0.036, size), -0.2), skin * 0.95)
        rim = ellipse((x, 0.53), 0.022, size * 0.7)
        canvas.tint(pose(rim, -0.2), skin * (0.6, 0.45, 0.42), 0.6, 0.004)
        canvas.line(pose(rim[10:38] if side < 0 else rim[[*range(25, 40), *range(10)]], -0.2), skin * 0.55, 1)


def complexion(canvas: Canvas, pose: Pose, skin: np.ndarray, rng: np.random.Generator) -> None:
    """Flush of the cheeks, eye sockets, and for some: freckles, wrinkles."""
    for side in (-1, 1):
        canvas.tint(
            pose(ellipse((0.5 + side * 0.16, 0.62), 0.06, 0.05)), skin * (1.0, 0.72, 0.7), rng.uniform(0.1, 0.5), 0.025
        )
        canvas.tint(
            pose(ellipse((0.5 + side * 0.12, 0.455), 0.075, 0.045)),
            skin * (0.62, 0.5, 0.5),
            rng.uniform(0.3, 0.6),
            0.014,
        )
    if rng.random() < 0.25:
        for x, y in rng.normal((0.5, 0.58), (0.11, 0.045), (70, 2)):
            canvas.dot(pose((x, y)), rng.uniform(0.002, 0.0045), skin * rng.uniform(0.66, 0.85))
    if rng.random() < 0.35:
        for y in (0.27, 0.3, 0.33):
            canvas.line(
                pose(curve([(0.36, y + rng.uniform(0, 0.02)), (0.5, y), (0.64, y + rng.uniform(0, 0.02))])),
                skin * 0.78,
                1,
            )
        for side in (-1, 1):
            for k in range(3):
                canvas.line(
                    pose(np.array([(0.5 + side * 0.195, 0.47 + k * 0.008), (0.5 + side * 0.235, 0.455 + k * 0.02)])),
                    skin * 0.72,
                    1,
                )
            canvas.line(
                pose(curve([(0.5 + side * 0.06, 0.61), (0.5 + side * 0.1, 0.65), (0.5 + side * 0.115, 0.71)])),
                skin * 0.66,
                1.5,
            )


def eye(
    canvas: Canvas, pose: Pose, side: int, skin: np.ndarray, look: dict[str, float], rng: np.random.Generator
) -> None:
    """Almond with a textured iris, pupil, catch-light, lids and lashes. `look`: gaze, open, lash, iris, light side."""
    cx, cy, half, lift = 0.5 + side * 0.12, 0.47, 0.054, look["open"]
    upper = curve([(cx - half, cy + 0.004), (cx + side * -0.005, cy - lift), (cx + half, cy + 0.002)])
    lower = curve([(cx - half, cy + 0.004), (cx + side * 0.01, cy + lift * 0.72), (cx + half, cy + 0.002)])
    almond = np.vstack([upper, lower[::-1]])
    centre, radius, colour = np.array([cx + look["gaze"], cy - 0.002]), 0.0255, pick(IRIS, look["iris"])
    with canvas.clip(pose(almond)):
        canvas.fill(pose(almond), (222, 216, 210))
        canvas.dot(pose(centre), radius, colour * 0.45)
        canvas.dot(pose(centre), radius * 0.87, colour)
        angles = np.sort(rng.uniform(0, 2 * np.pi, 26))
        spokes = np.stack([np.cos(angles), np.sin(angles)], -1)[:, None] * radius * np.array([0.4, 0.82])[None, :, None]
        canvas.strands(pose(centre + spokes), shades(rng, colour * 1.15 + 10, 26, 0.4), 1)
        canvas.dot(pose(centre), radius * 0.43, (12, 10, 10))
        canvas.tint(pose(upper + (0, -0.004)), (40, 25, 22), 0.6, 0.004)
    canvas.dot(pose(centre) + (look["light"] * 0.009, -0.009), 0.0068, WHITE, lit=False)
    canvas.dot(pose(centre) + (look["light"] * -0.009, 0.01), 0.0032, mix(colour, WHITE, 0.6), lit=False)
    canvas.line(pose(lower), skin * (0.68, 0.52, 0.5), 1)
    canvas.line(pose(upper), skin * 0.22, 1 + look["lash"])
    canvas.line(pose(upper + (0, -0.017)), skin * 0.55, 1)
    roots = upper[np.linspace(1, 22, 16).astype(int)]
    tips = roots + np.stack([(roots[:, 0] - cx) * 0.28 + side * 0.003, -0.012 * np.ones(16)], -1) * look["lash"]
    canvas.strands(pose(np.stack([roots, tips], 1)), np.full((16, 3), 24.0), 1)


def brow(
    canvas: Canvas, pose: Pose, side: int, colour: np.ndarray, bulk: float, arch: float, rng: np.random.Generator
) -> None:
    along = rng.uniform(0, 1, 70)
    spine = np.stack(
        [0.5 + side * (0.052 + 0.14 * along), 0.405 - arch * np.sin(np.pi * along**0.8) + 0.015 * along], -1
    )
    roots = spine + np.stack([np.zeros(70), rng.uniform(-1, 1, 70) * bulk * (1.1 - along)], -1)
    tips = roots + np.stack([side * (0.012 + 0.012 * along), -0.016 + 0.022 * along], -1)
    canvas.tint(
        pose(np.vstack([spine[np.argsort(along)] - (0, bulk), spine[np.argsort(-along)] + (0, bulk * 0.6)])),
        colour,
        0.45,
        0.005,
    )
    canvas.strands(pose(np.stack([roots, tips], 1)), shades(rng, colour, 70, 0.3), 1)


def nose(canvas: Canvas, pose: Pose, skin: np.ndarray, light: float, rng: np.random.Generator) -> None:
    wide, tip = rng.uniform(0.042, 0.062), rng.uniform(0.595, 0.615)
    canvas.tint(
        pose(np.array([(0.5 - light * 0.02, 0.44), (0.5 - light * 0.055, tip), (0.5, tip)]), 0.15),
        skin * 0.6,
        0.5,
        0.009,
    )
    canvas.tint(pose(ellipse((0.5, tip + 0.025), wide, 0.012), 0.15), skin * (0.55, 0.42, 0.4), 0.7, 0.008)
    for side in (-1, 1):
        canvas.tint(pose(ellipse((0.5 + side * wide * 0.5, tip + 0.018), 0.013, 0.0065), 0.2), skin * 0.12, 0.9, 0.002)
        wing = ellipse((0.5 + side * wide * 0.8, tip + 0.003), 0.017, 0.02)
        canvas.line(pose(wing[:12] if side > 0 else wing[8:20], 0.1), skin * 0.55, 1)
    canvas.tint(
        pose(ellipse((0.5 + light * 0.008, tip - 0.012), 0.009, 0.008), 0.25), mix(skin, WHITE, 0.6), 0.55, 0.005
    )
    canvas.tint(
        pose(np.array([(0.494, 0.46), (0.506, 0.46), (0.506, 0.57), (0.494, 0.57)]) + (light * 0.008, 0), 0.2),
        mix(skin, WHITE, 0.4),
        0.4,
        0.005,
    )


def mouth(canvas: Canvas, pose: Pose, skin: np.ndarray, rng: np.random.Generator) -> None:
    """Lips with a crease, vertical lines and a highlight; some smile with teeth."""
    half, smile, full = rng.uniform(0.075, 0.105), rng.uniform(-0.004, 0.022), rng.uniform(0.014, 0.03)
    gap = rng.uniform(0.012, 0.024) if rng.random() < 0.35 else 0.0
    red = mix(skin * (0.8, 0.55, 0.52), np.array([178.0, 40.0, 58.0]), rng.uniform(0, 0.65) ** 2)
    x = np.linspace(-1, 1, 25)
    bow = full * (1 - np.abs(x) ** 2.2) * (1 - 0.28 * np.exp(-((x / 0.16) ** 2)))
    crease = 0.72 - smile * x**2
    top, under = crease - gap * 0.35 * (1 - x**2), crease + gap * (1 - x**2)
    line = np.stack([0.5 + half * x, top], -1)
    low = np.stack([0.5 + half * x, under], -1)
    upper, lower = line - np.stack([0 * x, bow], -1), low + np.stack([0 * x, 1.25 * full * (1 - x**2) ** 0.8], -1)
    canvas.tint(pose(lower + (0, 0.02)), skin * 0.55, 0.55, 0.01)
    canvas.fill(pose(np.vstack([upper, line[::-1]])), red * 0.82)
    canvas.fill(pose(np.vstack([low, lower[::-1]])), red)
    if gap:
        with canvas.clip(pose(np.vstack([line, low[::-1]]))):
            canvas.fill(pose(np.vstack([line - (0, 0.002), low[::-1]])), (60, 24, 26))
            canvas.fill(pose(np.vstack([line, low[::-1] - (0, gap * 0.3)])), (232, 226, 214))
            for k in range(-4, 5):
                canvas.line(pose(np.array([(0.5 + k * 0.017, 0.69), (0.5 + k * 0.017, 0.76)])), (176, 160, 150), 1)
    canvas.line(pose(line), red * 0.35, 2 if not gap else 1)
    for k in rng.uniform(-0.7, 0.7, 12):
        canvas.line(
            pose(np.array([(0.5 + half * k, 0.727 + gap), (0.5 + half * k * 1.05, 0.724 + gap + full)])), red * 0.84, 1
        )
    canvas.tint(
        pose(ellipse((0.5 + rng.normal(0, 0.01), 0.722 + gap + full * 0.55), 0.026, full * 0.22)),
        mix(red, WHITE, 0.65),
        0.7,
        0.003,
    )


@dataclass(frozen=True)
class HairStyle:
    """Hair lives between the hairline (depth 0) and the outer contour (depth 1), at angles from ear (-1) to ear (1)."""

    colour: np.ndarray
    kind: int  # 0 parted, 1 fringe, 2 brushed back, 3 curls, 4 shorn or bald
    hairline: float
    volume: float
    part: float
    length: float  # y where the side hair ends; below 0.6 it is short
    wave: float

    def at(self, angle: np.ndarray, depth: np.ndarray, width: float) -> np.ndarray:
        theta = np.asarray(angle) * 1.75
        rx = width * 0.96 + depth * (self.volume + 0.02)
        ry = (0.47 - self.hairline) + depth * (self.hairline - 0.12 + self.volume)
        return np.stack([0.5 + rx * np.sin(theta), 0.47 - ry * np.cos(theta)], -1)


def hair_style(rng: np.random.Generator) -> HairStyle:
    colour = HAIR[rng.integers(len(HAIR))] * rng.uniform(0.8, 1.15) + rng.normal(0, 5, 3)
    kind = int(rng.choice(5, p=[0.34, 0.2, 0.18, 0.16, 0.12]))
    length = rng.uniform(0.62, 1.1) if kind in (0, 1, 3) and rng.random() < 0.6 else 0.4
    volume = rng.uniform(0.07, 0.15) if kind == 3 else rng.uniform(0.02, 0.08)
    return HairStyle(colour, kind, rng.uniform(0.2, 0.27), volume, rng.uniform(-0.4, 0.4), length, rng.uniform(0, 0.02))


def side_strands(style: HairStyle, width: float, count: int, inner: float, rng: np.random.Generator) -> np.ndarray:
    """Long hair [N, 14, 2] falling beside the face."""
    t = np.linspace(0, 1, 14)
    side, out = np.sign(rng.uniform(-1, 1, (count, 1))), rng.uniform(inner, 1, (count, 1))
    end = style.length + rng.normal(0, 0.03, (count, 1))
    sway = style.wave * np.sin(rng.normal(0, 0.5, (count, 1)) + t * 14) + rng.normal(0, 0.012, (count, 1)) * t
    x = 0.5 + side * (width * 0.93 + out * (style.volume + 0.05) + 0.04 * np.sin(np.pi * t)) + sway
    return np.stack([x, 0.4 + t * (end - 0.4)], -1)


def back_hair(canvas: Canvas, pose: Pose, style: HairStyle, rng: np.random.Generator) -> None:
    if style.length < 0.6:
        return
    reach = pose.width + style.volume + 0.06
    curtain = np.array(
        [(0.5 - reach, 0.4), (0.5 - reach - 0.02, style.length), (0.5 + reach + 0.02, style.length), (0.5 + reach, 0.4)]
    )
    canvas.fill(pose(curtain), style.colour * 0.45)
    canvas.strands(
        pose(side_strands(style, pose.width - 0.08, 90, 0, rng)),
        shades(rng, style.colour * 0.6, 90, 0.35),
        rng.choice([1, 2, 4], 90),
    )


def scalp_strands(style: HairStyle, width: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Strands [N, 10, 2] over the top of the head in the direction of the style."""
    t, one = np.linspace(0, 1, 10), np.ones((count, 10))
    depth = rng.uniform(0, 1, (count, 1)) * one
    angle = rng.uniform(-1, 1, (count, 1))
    if style.kind == 0:
        start = np.full((count, 1), style.part)
        angle = start + t * (np.where(angle > style.part, 1.0, -1.0) * rng.uniform(0.7, 1.0, (count, 1)) - start)
    elif style.kind == 1:
        depth = 1 - t * rng.uniform(0.6, 1.35, (count, 1)) ** np.where(np.abs(angle) < 0.6, 1, 2)
        angle = angle * (0.8 + 0.2 * t) + style.part * 0.3 * (1 - t)
    elif style.kind == 2:
        depth = rng.uniform(-0.03, 0.5, (count, 1)) + t * 0.6
        angle = angle + t * style.part * 0.5
    depth = depth + rng.normal(0, 0.05, (count, 1)) + style.wave * 4 * np.sin(t * 12 + rng.normal(0, 0.6, (count, 1)))
    return style.at(angle * one, depth, width)


def curls(style: HairStyle, width: float, count: int, rng: np.random.Generator) -> np.ndarray:
    turn = np.linspace(0, 1.5 * np.pi, 10) + rng.uniform(0, 2 * np.pi, (count, 1))
    centre = style.at(rng.uniform(-1.05, 1.05, (count, 1)), rng.uniform(-0.05, 1, (count, 1)), width)
    return centre + rng.uniform(0.008, 0.024, (count, 1, 1)) * np.stack([np.cos(turn), np.sin(turn)], -1)


def front_hair(canvas: Canvas, pose: Pose, style: HairStyle, light: float, rng: np.random.Generator) -> None:
    if style.kind == 4:
        buzz = rng.random() < 0.6
        roots = style.at(rng.uniform(-1, 1, 500), rng.uniform(0, 1, 500), pose.width)
        if buzz:
            canvas.strands(pose(np.stack([roots, roots + (0.004, -0.008)], 1)), shades(rng, style.colour, 500, 0.25), 1)
        return
    around = np.linspace(-1, 1, 40)
    cap = np.vstack(
        [style.at(around, np.full(40, 1.0), pose.width), style.at(around[::-1], np.full(40, 0.0), pose.width)]
    )
    canvas.tint(pose(cap + (0, 0.012)), style.colour * 0.3, 0.5, 0.01)
    canvas.fill(pose(cap), style.colour * 0.6)
    for count, spread, width in ((70, 0.28, 4.0), (90, 0.38, 2.0), (200, 0.45, 1.0)):
        make = curls if style.kind == 3 else scalp_strands
        paths = make(style, pose.width, count * 2 if style.kind == 3 else count, rng)
        glow = np.exp(-(((paths[:, 5, 0] - 0.5 - light * 0.12) / 0.12) ** 2))[:, None]
        tones = shades(rng, style.colour, len(paths), spread) * (0.85 + 0.35 * glow) + 18 * glow
        canvas.strands(pose(paths), tones, width)
    if style.length > 0.6:
        for count, width in ((24, 4.0), (60, 1.0)):
            canvas.strands(
                pose(side_strands(style, pose.width, count, 0.1, rng)), shades(rng, style.colour, count, 0.4), width
            )


def beard(canvas: Canvas, pose: Pose, colour: np.ndarray, rng: np.random.Generator) -> None:
    """Stubble, moustache or full beard, hair by hair."""
    kind = rng.choice(["stubble", "moustache", "full"])
    if kind != "moustache":
        count, long = (420, 0.006) if kind == "stubble" else (520, rng.uniform(0.025, 0.06))
        angle, depth = rng.uniform(-1.45, 1.45, count), np.sqrt(rng.uniform(0.3, 1, count))
        roots = np.stack([0.5 + pose.width * 0.93 * depth * np.sin(angle), 0.6 + 0.28 * depth * np.cos(angle)], -1)
        tips = roots + np.stack([np.sin(angle) * 0.3 + rng.normal(0, 0.25, count), np.ones(count)], -1) * long
        with canvas.clip(pose(ellipse((0.5, 0.7), 0.4, 0.35)), 0.55 if kind == "stubble" else 0.95):
            canvas.strands(
                pose(np.stack([roots, tips], 1)),
                shades(rng, colour, count, 0.35),
                1 if kind == "stubble" else rng.choice([1, 2], count),
            )
    if kind != "stubble":
        x = rng.uniform(-1, 1, 160)
        roots = np.stack([0.5 + 0.085 * x, 0.66 + 0.02 * x**2 + rng.uniform(0, 0.018, 160)], -1)
        canvas.strands(
            pose(np.stack([roots, roots + np.stack([x * 0.016, np.full(160, 0.022)], -1)], 1)),
            shades(rng, colour, 160, 0.35),
            1,
        )


def glasses(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Thin or bold frames with a bridge, temples and a reflection on each lens."""
    frame = np.array(
        [[24, 22, 24], [92, 52, 30], [176, 150, 90], [130, 134, 140], [120, 24, 34]][rng.integers(5)], float
    )
    bold, power = rng.uniform(1.5, 4), rng.choice([1.0, 0.6])
    t = np.linspace(0, 2 * np.pi, 41)
    rx, ry = rng.uniform(0.085, 0.098), rng.uniform(0.06, 0.085)
    for side in (-1, 1):
        cx = 0.5 + side * 0.122
        rim = np.stack(
            [
                cx + rx * np.sign(np.cos(t)) * np.abs(np.cos(t)) ** power,
                0.48 + ry * np.sign(np.sin(t)) * np.abs(np.sin(t)) ** power,
            ],
            -1,
        )
        shine = np.array([(cx - 0.05, 0.4), (cx - 0.01, 0.4), (cx - 0.04, 0.56), (cx - 0.08, 0.56)])
        with canvas.clip(pose(rim, 0.1), rng.uniform(0.06, 0.3)):
            canvas.fill(pose(shine, 0.1), WHITE, lit=False)
        canvas.line(pose(rim, 0.1), frame, bold)
        canvas.line(pose(rim[24:32], 0.1), mix(frame, WHITE, 0.55), 1)
        canvas.line(
            np.stack([pose((cx + side * rx, 0.46), 0.1), pose((0.5 + side * (pose.width + 0.01), 0.48), -0.2)]),
            frame,
            bold,
        )
    canvas.line(pose(curve([(0.5 - 0.122 + rx, 0.465), (0.5, 0.452), (0.5 + 0.122 - rx, 0.465)]), 0.15), frame, bold)


def shade_map(pose: Pose, light: np.ndarray, ambient: float, key: np.ndarray) -> np.ndarray:
    """Light on the head [SHADE_GRID, SHADE_GRID, 3] around 1, from the normals of a height field."""
    axis = (np.arange(SHADE_GRID, dtype=np.float32) + 0.5) / SHADE_GRID
    x, y = np.meshgrid(axis, axis)
    centre = pose((0.5, 0.5), -0.8)
    r2 = ((x - centre[0]) / (pose.width * 1.12)) ** 2 + ((y - centre[1]) / 0.47) ** 2
    height = 0.3 * np.sqrt(np.maximum(1 - r2, 0) + 0.06)
    bumps = [
        (0.5, 0.53, 0.022, 0.07, 0.05),
        (0.5, 0.6, 0.035, 0.03, 0.05),
        (0.38, 0.465, 0.055, 0.035, -0.026),
        (0.62, 0.465, 0.055, 0.035, -0.026),
        (0.35, 0.6, 0.07, 0.06, 0.025),
        (0.65, 0.6, 0.07, 0.06, 0.025),
        (0.5, 0.385, 0.15, 0.03, 0.018),
        (0.5, 0.72, 0.08, 0.03, 0.018),
        (0.5, 0.765, 0.06, 0.014, -0.012),
        (0.5, 0.83, 0.06, 0.035, 0.02),
    ]
    for bx, by, sx, sy, high in bumps:
        px, py = pose((bx, by), 0.1)
        height += high * np.exp(-(((x - px) / sx) ** 2) - ((y - py) / sy) ** 2)
    dy, dx = np.gradient(height, 1 / SHADE_GRID)
    facing = (light[2] - dx * light[0] - dy * light[1]) / np.sqrt(1 + dx * dx + dy * dy)
    diffuse = np.clip(0.25 + 0.75 * facing, 0, 1)[..., None]
    return (ambient + diffuse * key).astype(np.float32)


def develop(canvas: Canvas, shade: np.ndarray, size: int) -> np.ndarray:
    """Light what is marked as lit and average down to uint8 [size, size, 3]."""
    small = cv2.resize(canvas.pixels, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    lit = small[..., 3:] / 255
    light = cv2.resize(shade, (size, size), interpolation=cv2.INTER_AREA if size < SHADE_GRID else cv2.INTER_LINEAR)
    colour = small[..., :3] * (1 - lit + lit * light)
    colour = np.where(colour > 215, 215 + 40 * np.tanh((colour - 215) / 40), colour)
    return np.rint(np.clip(colour, 0, 255)).astype(np.uint8)


def portrait(seed: int, size: int) -> np.ndarray:
    """The face of `seed` as uint8 RGB [size, size, 3]; another size is the same picture at another resolution.

    Raises ValueError unless size is an integer from MIN_SIZE to MAX_SIZE.
    """
    if not isinstance(size, int | np.integer) or not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(
            f"portrait: size must be an integer from {MIN_SIZE} to {MAX_SIZE}, found {size!r}; choose one in that range"
        )
    rng = np.random.default_rng(seed)
    canvas = Canvas(size * max(2, -(-256 // size)))
    pose = Pose(float(rng.normal(0, 0.2)), float(rng.normal(0, 0.05)), rng.uniform(0.26, 0.3))
    depth_of_tone = rng.uniform(0, 6)
    skin = pick(SKIN, depth_of_tone) * rng.uniform(0.94, 1.02) + rng.normal(0, 4, 3)
    style, outline = hair_style(rng), face_outline(rng, pose.width)
    side = float(rng.choice([-1, 1]))
    light = np.array([side * rng.uniform(0.15, 0.85), -rng.uniform(0.1, 0.7), rng.uniform(0.5, 0.9)])
    ambient, key = rng.uniform(0.15, 0.45), rng.uniform(0.7, 1.0) * (1 + rng.normal(0, 0.06, 3))
    look = {
        "gaze": rng.normal(0, 0.006),
        "open": rng.uniform(0.017, 0.028),
        "lash": rng.uniform(0.4, 1.3),
        "iris": min(rng.uniform(0, 5), 6 - depth_of_tone),
        "light": side,
    }
    hair_of_face = style.colour * 0.8
    brow_bulk, brow_arch = rng.uniform(0.007, 0.017), rng.uniform(0.008, 0.03)

    backdrop(canvas, rng)
    back_hair(canvas, pose, style, rng)
    neck(canvas, pose, skin)
    clothes(canvas, rng)
    ears(canvas, pose, skin, rng)
    canvas.fill(pose(outline), skin)
    complexion(canvas, pose, skin, rng)
    nose(canvas, pose, skin, side, rng)
    mouth(canvas, pose, skin, rng)
    if style.length < 0.6 and rng.random() < 0.45:
        beard(canvas, pose, hair_of_face, rng)
    for eye_side in (-1, 1):
        eye(canvas, pose, eye_side, skin, look, rng)
        brow(canvas, pose, eye_side, hair_of_face, brow_bulk, brow_arch, rng)
    front_hair(canvas, pose, style, side, rng)
    if rng.random() < 0.3:
        glasses(canvas, pose, rng)
    return develop(canvas, shade_map(pose, light / np.linalg.norm(light), ambient, key), size)
