"""Super-resolution inputs: DifFace's bicubic sets (its appendix) and DifBFSR's eight cases (Eq. 11).

Both shrink by the "MATLAB" bicubic: Keys' cubic with a = -0.5, stretched when shrinking, borders mirrored with the edge
pixel repeated. The photo is enlarged to its old size again, bicubic, as DifFace's preparation script writes it (its
text says nearest neighbour); DifBFSR's method itself takes the small photo, `difbfsr_small`.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from tasks.degradation.blur_jpeg import Image, ImageU8, add_noise, gaussian_kernel, jpeg, to_float, to_u8
from tasks.diffusion.lowpass import resize as cubic

KERNEL_SIZE = 21  # of DifBFSR; not stated in the paper


@dataclass(frozen=True)
class BicubicSr:
    """Shrunk by `scale` and enlarged again."""

    scale: int


@dataclass(frozen=True)
class DifBfsr:
    """y = JPEG_q(down_4(x * k) + n): one of eight blur widths; noise (of 255) and JPEG quality drawn uniformly.

    The paper gives the width's range, 1.8 … 3.2, and "from hard to easy"; the eight values are a conventional reading.
    """

    sigma: float
    scale: int = 4
    noise_sigma_255: tuple[float, float] = (0, 30)
    jpeg_quality: tuple[float, float] = (50, 100)


SIGMAS = (3.2, 3.0, 2.8, 2.6, 2.4, 2.2, 2.0, 1.8)

PRESETS: dict[str, BicubicSr | DifBfsr] = {
    **{f"bicubic_x{scale}": BicubicSr(scale) for scale in (4, 8, 16)},
    **{f"difbfsr_{case}": DifBfsr(sigma) for case, sigma in enumerate(SIGMAS, start=1)},
}


def degrade(hq: ImageU8, preset: BicubicSr | DifBfsr, rng: np.random.Generator) -> ImageU8:
    """The LQ photo, as large as the HQ photo [H, W, 3]. Raises ValueError if the scale does not divide a side."""
    height, width = hq.shape[:2]
    if height % preset.scale or width % preset.scale:
        raise ValueError(f"a {height} x {width} image cannot be divided by {preset.scale}; choose a size that can")
    if isinstance(preset, BicubicSr):
        small = resize(to_float(hq), height // preset.scale, width // preset.scale)
    else:
        noise_unit = rng.standard_normal((height // preset.scale, width // preset.scale, 3), dtype=np.float32)
        sigma, quality = rng.uniform(*preset.noise_sigma_255), round(rng.uniform(*preset.jpeg_quality))
        small = difbfsr_small(to_float(hq), preset.sigma, preset.scale, sigma, noise_unit, quality)
    return to_u8(np.clip(resize(small, height, width), 0, 1))


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
