"""Synthetic degradations: HQ photo in, LQ photo out, on the CPU, one image and one random stream at a time."""

from typing import TypeAlias

import numpy as np

from tasks.degradation import bicubic, blur_jpeg, raw
from tasks.degradation.bicubic import BicubicSr, DifBfsr
from tasks.degradation.blur_jpeg import BlurJpegRanges, ImageU8
from tasks.degradation.raw import RawSettings

__all__ = ["PRESETS", "Preset", "degrade"]

Preset: TypeAlias = BlurJpegRanges | RawSettings | BicubicSr | DifBfsr

PRESETS: dict[str, Preset] = {**blur_jpeg.PRESETS, **raw.PRESETS, **bicubic.PRESETS}


def degrade(hq: ImageU8, preset: Preset, rng: np.random.Generator) -> ImageU8:
    """The LQ photo of one HQ photo (uint8 [H, W, 3], RGB): same shape, parameters and noise drawn from `rng`.

    Another camera: dataclasses.replace(PRESETS["raw_x4_severe"], camera=load_camera(path), iso=3200).
    Raises ValueError for another kind of array and for a size that the preset cannot shrink.
    """
    if hq.dtype != np.uint8 or hq.ndim != 3 or hq.shape[2] != 3:
        raise ValueError(f"degrade: expected a uint8 image [H, W, 3], found {hq.dtype} {list(hq.shape)}")
    if isinstance(preset, RawSettings):
        return raw.raw_noise(hq, preset, rng)
    if isinstance(preset, BicubicSr | DifBfsr):
        return bicubic.degrade(hq, preset, rng)
    return blur_jpeg.blur_jpeg(hq, preset, rng)
