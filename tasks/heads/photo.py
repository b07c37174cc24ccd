"""The camera: exposure on the face, lens, white balance, tone, sharpening, grain."""

from dataclasses import dataclass

import cv2
import numpy as np

from tasks.heads.geometry import ramp
from tasks.heads.light import LUMA, Light, draw_hue
from tasks.heads.person import Person, stream


@dataclass(frozen=True)
class Camera:
    """exposure: factor about right; lengths as shares of the image side; grain: standard deviation at mid grey."""

    exposure: float
    balance: np.ndarray
    blur: float
    sharpening: float
    contrast: float
    saturation: float
    glow: float
    vignette: float
    grain: float
    colour_grain: float


def draw_camera(seed: int) -> Camera:
    """The camera of a seed; fields in the order of drawing."""
    rng = stream(seed, "camera")
    return Camera(
        exposure=float(np.exp(0.22 * rng.normal())),
        balance=draw_hue(rng, 0.065) * [0.99, 1.0, 1.03],
        blur=0.004 * rng.beta(1, 2.5),
        sharpening=rng.uniform(0.1, 0.6),
        contrast=float(np.clip(rng.normal(1.1, 0.12), 0.85, 1.4)),
        saturation=float(np.clip(rng.normal(0.96, 0.10), 0.65, 1.2)),
        glow=rng.uniform(0.01, 0.06),
        vignette=rng.uniform(0, 0.35) * (rng.random() < 0.5),
        grain=0.002 + 0.010 * rng.beta(1, 2.5),
        colour_grain=rng.uniform(0.2, 0.7),
    )


def face_exposure(luminance: np.ndarray, covered: np.ndarray, person: Person, camera: Camera) -> float:
    """Factor that brings the middle of the face to its tone, less where it would burn out.

    luminance: [S, S] of the mesh, linear; dark skin is exposed darker than light skin, but by less than it is.
    """
    side = len(luminance)
    y, x = np.mgrid[0:side, 0:side] / side - 0.55
    face = luminance[covered & (np.maximum(np.abs(x + 0.05), np.abs(y)) < 0.22)]
    target = 0.315 * (person.tone / 0.32) ** 0.62 * camera.exposure
    exposure = target / max(float(np.median(face)), 1e-4)
    bright = float(np.percentile(face, 93)) * exposure
    return exposure * min(1.0, 0.74 * (person.tone / 0.32) ** 0.25 / bright)


def develop(picture: np.ndarray, size: int, camera: Camera, light: Light, seed: int) -> np.ndarray:
    """Linear light [S, S, 3], exposed, to uint8 [size, size, 3] sRGB; S a multiple of size."""
    picture = cv2.resize(np.clip(picture, 0, 8).astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    picture = lens(picture, camera)
    picture = picture * (camera.balance / light.cast**0.85).astype(np.float32)
    picture = tone(picture, camera)
    picture = sharpen(picture, camera, size)
    picture = picture + grain(picture, camera, stream(seed, "grain"))
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def lens(picture: np.ndarray, camera: Camera) -> np.ndarray:
    """Blur, glow round bright places, dark corners."""
    size = len(picture)
    if camera.blur * size > 0.2:
        picture = cv2.GaussianBlur(picture, (0, 0), camera.blur * size)
    wide = cv2.GaussianBlur(np.clip(picture, 0, 3), (0, 0), size * 0.02)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    corners = 1 - camera.vignette * ramp(np.hypot(x, y), 0.25, 0.75)
    return (picture * (1 - camera.glow) + camera.glow * wide) * corners[..., None].astype(np.float32)


def tone(picture: np.ndarray, camera: Camera) -> np.ndarray:
    """Highlights rolled off, sRGB curve, contrast about the middle, saturation."""
    soft = np.where(picture > 0.6, 0.6 + 0.4 * (1 - np.exp(-(picture - 0.6) / 0.5)), picture)
    coded = np.where(soft < 0.0031308, 12.92 * soft, 1.055 * np.maximum(soft, 1e-6) ** (1 / 2.4) - 0.055)
    curved = 0.5 + 0.5 * np.tanh((coded - 0.5) * 2 * camera.contrast) / np.tanh(camera.contrast)
    mixed = coded + (curved - coded) * 0.5
    grey = (mixed @ LUMA)[..., None]
    return (grey + (mixed - grey) * camera.saturation).astype(np.float32)


def sharpen(picture: np.ndarray, camera: Camera, size: int) -> np.ndarray:
    """Unsharp masking, as cameras do: over 1.2 pixels of a picture of 128."""
    blurred = cv2.GaussianBlur(picture, (0, 0), 1.2 * size / 128)
    return picture + camera.sharpening * (picture - blurred)


def grain(picture: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Sensor noise [size, size, 3]: shot noise of mostly brightness, weaker in highlights and deep shadows."""
    size = len(picture)
    luma, chroma = (
        rng.standard_normal((size, size, 1), dtype=np.float32),
        rng.standard_normal((size, size, 3), dtype=np.float32),
    )
    noise = luma + camera.colour_grain * cv2.GaussianBlur(chroma, (0, 0), 0.8)
    level = np.clip(picture @ LUMA.astype(np.float32), 0, 1)[..., None]
    return camera.grain * noise * (0.35 + 1.3 * np.sqrt(level) * (1 - 0.6 * level))
