"""Synthetic degradations by name: HQ photo in, LQ photo out, on the CPU, one photo and one random stream at a time."""

from typing import Annotated, TypeAlias

import numpy as np

from tasks.basics import one_of
from tasks.degradation import bicubic, blur_jpeg, celeba_test, masks, raw
from tasks.degradation.bicubic import BicubicSr, DifBfsr
from tasks.degradation.blur_jpeg import BlurJpegRanges, ImageU8
from tasks.degradation.celeba_test import CelebaTest
from tasks.degradation.masks import Masking
from tasks.degradation.raw import RawSettings

Preset: TypeAlias = BlurJpegRanges | RawSettings | BicubicSr | DifBfsr | CelebaTest | Masking


PRESETS: dict[str, Preset] = {
    **blur_jpeg.PRESETS,
    **raw.PRESETS,
    **bicubic.PRESETS,
    **celeba_test.PRESETS,
    **masks.PRESETS,
}

DegradationName = Annotated[str, one_of("degradation", PRESETS)]


def degrade(hq: ImageU8, preset: Preset, rng: np.random.Generator, position: int = 0) -> ImageU8:
    """The LQ photo of one HQ photo (uint8 [H, W, 3], RGB): same shape, parameters and noise drawn from `rng`.

    position: of the photo in its sorted list, for CelebA-Test's table (it starts anew after 4,000).

    Another camera: dataclasses.replace(PRESETS["raw_x4_severe"], camera=load_camera(path), iso=3200).
    Raises ValueError for another kind of array and for a size that the preset cannot shrink.
    """
    if hq.dtype != np.uint8 or hq.ndim != 3 or hq.shape[2] != 3:
        raise ValueError(f"degrade: expected a uint8 image [H, W, 3], found {hq.dtype} {list(hq.shape)}")
    if isinstance(preset, RawSettings):
        return raw.raw_noise(hq, preset, rng)
    if isinstance(preset, CelebaTest):
        params = celeba_test.rows()[position % len(celeba_test.rows())]
        noise = rng.standard_normal((*blur_jpeg.low_size(hq.shape[:2], params.scale), 3), dtype=np.float32)
        return blur_jpeg.apply(blur_jpeg.to_float(hq), params, noise)
    if isinstance(preset, Masking):
        return masks.apply_mask(hq, preset, rng)
    if isinstance(preset, BicubicSr | DifBfsr):
        return bicubic.degrade(hq, preset, rng)
    return blur_jpeg.blur_jpeg(hq, preset, rng)
