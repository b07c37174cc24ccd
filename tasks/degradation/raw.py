"""RAW noise of DT-BFR Eq. 10: unprocess to sensor space, shrink, add shot and read noise, develop, enlarge.

As the released code computes it: the image is linearised first and averaged in linear camera space (Eq. 10 shrinks
first; de-gamma does not commute with averaging), the enlargement goes back to the original size, and the last step
to uint8 is a floor, not a rounding (half a level darker on average). The CCM is row-normalised on the way to the sensor
and not on the way back. Nothing is quantised to integer DN, and there is no tone curve, exposure change or JPEG.

The 3 x 3 colour matrix commutes with the mean over a block, so it is applied after it: the same result for 1/16 or
1/64 of the work. Images are [H, W, 3], RGB.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from tasks.degradation.blur_jpeg import Image, resize
from tasks.degradation.camera import PUBLISHED_CAMERA, Array, Camera, load_camera
from tasks.degradation.demosaic import bayer_network
from tasks.degradation.preset import ImageU8, Preset

GAMMA = 2.2  # a pure power, without the toe of sRGB
FLIP_TO_GRBG = {"GRBG": (1, 1), "RGGB": (1, -1), "BGGR": (-1, 1), "GBRG": (-1, -1)}  # step along rows, columns


@dataclass(frozen=True)
class RawSettings(Preset):
    """What one image's RAW parameters are drawn from."""

    scale: int  # the side of the sensor image is the photo's divided by this; published: 4, 8
    iso: float  # sensor gain; published: 1500 moderate, 3000 severe
    camera: Camera = PUBLISHED_CAMERA

    def degrade(self, hq: ImageU8, rng: np.random.Generator, position: int = 0) -> ImageU8:
        """H and W divided by the scale must be even integers: else ValueError. Raises BadInput for an unknown ISO."""
        params = draw(rng, self)
        return apply(hq, params, rng.standard_normal(sensor_size(hq.shape[:2], self.scale)))

    def with_camera(self, camera: Path, iso: int) -> "RawSettings":
        return replace(self, camera=load_camera(camera), iso=iso)


@dataclass(frozen=True, eq=False)
class RawParams:
    """Everything about one image's RAW degradation but its noise."""

    scale: int
    ccm: Array  # [3, 3], white-balanced camera RGB to linear sRGB
    wb_gains: Array  # [3]: R, G = 1, B
    b1: Array  # [4], by position in the 2 x 2 cell, row by row
    b2: Array  # [4]; variance [DN^2] = b1 DN + b2
    black_level: float
    white_level: float
    cfa: str


PRESETS: dict[str, RawSettings] = {
    f"raw_x{scale}_{severity}": RawSettings(scale, iso)
    for scale in (2, 4, 8)  # 2 is for the demo's 64 x 64 faces
    for severity, iso in (("moderate", 1500), ("severe", 3000))
}


def draw(rng: np.random.Generator, settings: RawSettings) -> RawParams:
    """Draw one image's white balance and CCM; look up its noise."""
    camera = settings.camera
    wb_gains = camera.white_balance.draw(rng)
    ccm = camera.colour.draw(rng, wb_gains)
    b1, b2 = camera.noise_dn(settings.iso)
    return RawParams(settings.scale, ccm, wb_gains, b1, b2, camera.black_level, camera.white_level, camera.cfa)


def apply(hq: ImageU8, params: RawParams, noise_unit: Array) -> ImageU8:
    """Degrade `hq` (uint8 [H, W, 3]) with given parameters and noise; uint8 of the same shape.

    noise_unit: standard normal, float64 [H / scale, W / scale].
    """
    camera_rgb = unprocess(hq, params)
    dn = add_noise(mosaic(camera_rgb, params), params, noise_unit)
    rgb = demosaic(dn, params)
    return finish(develop(rgb, params), hq.shape[:2])


def sensor_size(size: tuple[int, ...], scale: int) -> tuple[int, int]:
    """(height, width) of the sensor image. Raises ValueError unless both are even: a CFA cell is 2 x 2."""
    if size[0] % (2 * scale) or size[1] % (2 * scale):
        raise ValueError(
            f"RAW x{scale}: height and width must be multiples of {2 * scale}, found {size[0]} x {size[1]}"
        )
    return size[0] // scale, size[1] // scale


def unprocess(hq: ImageU8, params: RawParams) -> Array:
    """uint8 photo to the sensor's linear RGB before white balance, float64 [H / scale, W / scale, 3], in [0, 1]."""
    height, width = sensor_size(hq.shape[:2], params.scale)
    linear = np.ascontiguousarray(_degamma_table()[hq])
    linear = cv2.resize(linear, (width, height), interpolation=cv2.INTER_AREA)  # integer factor: the mean of a block
    inverse = np.linalg.inv(params.ccm / params.ccm.sum(axis=1, keepdims=True))
    return np.asarray(np.clip(linear @ inverse.T / params.wb_gains, 0, 1))


def mosaic(camera_rgb: Array, params: RawParams) -> Image:
    """One colour per pixel by the CFA, in DN: float32 [h, w], black level included, not quantised."""
    planes = np.empty(camera_rgb.shape[:2], dtype=np.float32)
    for (row, column), channel in _cfa_positions(params.cfa):
        planes[row::2, column::2] = camera_rgb[row::2, column::2, channel]
    return planes * np.float32(params.white_level - params.black_level) + np.float32(params.black_level)


def noise_std(dn: Image, params: RawParams) -> Array:
    """Standard deviation of the shot and read noise in DN, float64 [h, w]: sqrt(max(b1 DN + b2, 0))."""
    b1, b2 = (np.tile(b.reshape(2, 2), (dn.shape[0] // 2, dn.shape[1] // 2)) for b in (params.b1, params.b2))
    return np.asarray(np.sqrt(np.maximum(b1 * dn + b2, 0)))


def add_noise(dn: Image, params: RawParams, noise_unit: Array) -> Image:
    """Noisy sensor image, float32 [h, w], clipped to [0, white level]. Raises ValueError for noise of another shape."""
    if noise_unit.shape != dn.shape:
        raise ValueError(f"noise_unit: expected shape {dn.shape}, the sensor's; found {noise_unit.shape}")
    noisy = (dn + noise_unit * noise_std(dn, params)).astype(np.float32)
    return np.clip(noisy, 0, np.float32(params.white_level))


def demosaic(dn: Image, params: RawParams) -> Image:
    """DN to the sensor's RGB, float32 [h, w, 3] in [0, 1], by the Bayer network."""
    sparse = sparse_mosaic(dn, params)
    rows, columns = FLIP_TO_GRBG[params.cfa]  # the network knows GRBG; the other three are its mirror images
    grbg = torch.from_numpy(np.ascontiguousarray(sparse[::rows, ::columns]))  # already channels_last
    with torch.inference_mode():
        rgb = bayer_network()(grbg[None].permute(0, 3, 1, 2))[0].clamp(0, 1).permute(1, 2, 0)
    return np.ascontiguousarray(rgb.numpy()[::rows, ::columns])


def sparse_mosaic(dn: Image, params: RawParams) -> Image:
    """DN to [0, 1], each sample in its colour's plane and zeros elsewhere: float32 [h, w, 3]."""
    span = np.float32(params.white_level - params.black_level)
    normalised = np.clip((dn - np.float32(params.black_level)) / span, 0, 1)
    sparse = np.zeros((*dn.shape, 3), dtype=np.float32)
    for (row, column), channel in _cfa_positions(params.cfa):
        sparse[row::2, column::2, channel] = normalised[row::2, column::2]
    return sparse


def develop(rgb: Image, params: RawParams) -> Image:
    """White balance, CCM and gamma: the sensor's RGB to a display image, float32 [h, w, 3] in [0, 1]."""
    balanced = np.clip(rgb * params.wb_gains, 0, 1)
    linear = np.clip(balanced @ params.ccm.T, 0, 1)
    return np.asarray(linear ** (1 / GAMMA), dtype=np.float32)


def finish(image: Image, size: tuple[int, ...]) -> ImageU8:
    """Bilinear to (height, width), then uint8 by a floor, as the released code writes it."""
    return np.asarray(np.floor(np.clip(resize(image, size), 0, 1) * np.float32(255)), dtype=np.uint8)


@cache
def _degamma_table() -> NDArray[np.float64]:
    return np.asarray((np.arange(256) / 255) ** GAMMA)


def _cfa_positions(cfa: str) -> list[tuple[tuple[int, int], int]]:
    """((row, column) in the 2 x 2 cell, RGB channel), row by row."""
    return [(divmod(i, 2), "RGB".index(colour)) for i, colour in enumerate(cfa)]
