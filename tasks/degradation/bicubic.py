"""Super-resolution inputs: DifFace's bicubic sets (its appendix) and DifBFSR's eight cases (Eq. 11).

Both shrink by the "MATLAB" bicubic: Keys' cubic with a = -0.5, stretched when shrinking, borders mirrored with the edge
pixel repeated. The photo is enlarged to its old size again, bicubic, as DifFace's preparation script writes it (its
text says nearest neighbour); DifBFSR's method shrinks it once more, which is not quite the small photo again.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from tasks.degradation.blur_jpeg import Image, add_noise, gaussian_kernel, jpeg, to_float, to_u8
from tasks.degradation.preset import ImageU8, Preset
from tasks.diffusion.lowpass import resize as cubic

KERNEL_SIZE = 21  # of DifBFSR; not stated in the paper


@dataclass(frozen=True)
class BicubicSr(Preset):
    """Shrunk by `scale` and enlarged again."""

    scale: int

    def degrade(self, hq: ImageU8, rng: np.random.Generator, position: int = 0) -> ImageU8:
        return enlarged(resize(to_float(hq), *small_size(hq, self.scale)), hq)


@dataclass(frozen=True)
class DifBfsr(Preset):
    """y = JPEG_q(down_4(x * k) + n): one of eight blur widths; noise (of 255) and JPEG quality drawn uniformly.

    The paper gives the width's range, 1.8 … 3.2, and "from hard to easy"; the eight values are a conventional reading.
    """

    sigma: float
    scale: int = 4
    noise_sigma_255: tuple[float, float] = (0, 30)
    jpeg_quality: tuple[float, float] = (50, 100)

    def degrade(self, hq: ImageU8, rng: np.random.Generator, position: int = 0) -> ImageU8:
        noise_unit = rng.standard_normal((*small_size(hq, self.scale), 3), dtype=np.float32)
        sigma, quality = rng.uniform(*self.noise_sigma_255), round(rng.uniform(*self.jpeg_quality))
        return enlarged(difbfsr_small(to_float(hq), self.sigma, self.scale, sigma, noise_unit, quality), hq)


SIGMAS = (3.2, 3.0, 2.8, 2.6, 2.4, 2.2, 2.0, 1.8)

PRESETS: dict[str, BicubicSr | DifBfsr] = {
    **{f"bicubic_x{scale}": BicubicSr(scale) for scale in (4, 8, 16)},
    **{f"difbfsr_{case}": DifBfsr(sigma) for case, sigma in enumerate(SIGMAS, start=1)},
}


def small_size(hq: ImageU8, scale: int) -> tuple[int, int]:
    """(height, width) of the shrunken photo. Raises ValueError if the scale does not divide a side."""
    height, width = hq.shape[:2]
    if height % scale or width % scale:
        raise ValueError(f"a {height} x {width} image cannot be divided by {scale}; choose a size that can")
    return height // scale, width // scale


def enlarged(small: Image, hq: ImageU8) -> ImageU8:
    """A shrunken photo at the size of its HQ photo."""
    return to_u8(np.clip(resize(small, *hq.shape[:2]), 0, 1))


def difbfsr_small(
    hq: Image, sigma: float, scale: int, noise_sigma_255: float, noise_unit: Image, quality: int
) -> Image:
    """The small LQ photo of DifBFSR, float32 [H / scale, W / scale, 3] in [0, 1]; noise_unit: as small."""
    kernel = gaussian_kernel(sigma, sigma, 0.0, KERNEL_SIZE)
    blurred = np.asarray(cv2.filter2D(hq, -1, kernel, borderType=cv2.BORDER_REFLECT_101), dtype=np.float32)
    small = resize(blurred, hq.shape[0] // scale, hq.shape[1] // scale)
    return jpeg(add_noise(small, noise_sigma_255, noise_unit), quality)


def resize(image: Image, height: int, width: int) -> Image:
    """Bicubic, antialiased when shrinking; float32 [height, width, 3], not clipped."""
    return cubic(torch.from_numpy(image).permute(2, 0, 1)[None], height, width)[0].permute(1, 2, 0).numpy()
