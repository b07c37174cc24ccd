"""Blur, shrink, noise, JPEG, enlarge: DT-BFR Eq. 9 = DifFace Eq. 17 = IDM Eq. 11, as the released code computes it.

Where the texts and the code differ, this is the code: bilinear both ways without antialiasing (DifFace writes bicubic),
sigma is a standard deviation on a fixed 41 x 41 support (the texts call it the size), the enlargement goes back to the
original size, and r may lie below 1 (the image then grows first). The papers' symbols: k is the kernel of `blur_sigma`,
r = `scale`, delta = `noise_sigma_255`, q = `jpeg_quality`.

Images are [H, W, 3], RGB, float32 in [0, 1] inside, uint8 outside. A horizontal flip is the data loader's business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.degradation.preset import ImageU8, Preset

Image: TypeAlias = NDArray[np.float32]
Range: TypeAlias = tuple[float, float]

KERNEL_SIZE = 41
PHOTOMETRIC_LUMA = np.array([0.2989, 0.587, 0.114], dtype=np.float32)  # torchvision's; they sum to 0.9999
DIRECT_KERNEL_SIZE = 121  # pixels; from here on a Fourier transform is faster
NEGLIGIBLE_WEIGHT = 1e-9  # of a kernel's row or column; below it the blur skips them (the gate for a blur is 1e-6)


@dataclass(frozen=True)
class BlurJpegRanges(Preset):
    """What one image's parameters are drawn from, uniformly. Defaults: no colour change."""

    blur_sigma: Range  # standard deviation, pixels; both axes of an anisotropic kernel
    scale: Range  # r: the side is divided by it, then restored
    noise_sigma_255: Range  # delta, in units of 1/255
    jpeg_quality: Range  # q, rounded to the nearest integer after the draw
    isotropic_prob: float = 0.5
    gray_prob: float = 0.0
    gray_target: bool = False  # is the training target made gray together with the LQ?
    channel_shift_prob: float = 0.0  # one offset per channel, up to 20/255 either way
    photometric_prob: float = 0.0  # brightness, contrast, saturation, hue

    def __post_init__(self) -> None:
        for name in ("blur_sigma", "scale", "noise_sigma_255", "jpeg_quality"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name}: expected 0 <= low <= high, found ({low}, {high})")

    def degrade(self, hq: ImageU8, rng: np.random.Generator, position: int = 0) -> ImageU8:
        return self.training_pair(hq, rng)[0]

    def training_pair(self, hq: ImageU8, rng: np.random.Generator) -> tuple[ImageU8, ImageU8]:
        """One (LQ, target) pair, both uint8 [H, W, 3]. The target is `hq`, made gray where the ranges say so."""
        params = draw(rng, self)
        noise_unit = rng.standard_normal((*low_size(hq.shape[:2], params.scale), 3), dtype=np.float32)
        lq = apply(to_float(hq), params, noise_unit)
        return lq, to_u8(to_gray(to_float(hq))) if params.is_gray and self.gray_target else hq


@dataclass(frozen=True)
class PhotometricJitter:
    """Factors of torchvision's adjust_brightness, _contrast, _saturation and _hue, and the order of the four."""

    brightness: float
    contrast: float
    saturation: float
    hue: float  # turns, -0.5 to 0.5
    order: tuple[str, ...]


@dataclass(frozen=True)
class BlurJpegParams:
    """Everything about one image's degradation but its noise. Equal sigmas make the kernel isotropic."""

    sigma_x: float
    sigma_y: float
    theta: float  # radians; 0 puts sigma_x on the column axis
    scale: float
    noise_sigma_255: float
    jpeg_quality: int
    channel_shift: tuple[float, float, float] | None = None  # R, G, B, in [0, 1] units
    is_gray: bool = False
    photometric: PhotometricJitter | None = None


# DifFace's estimators; the SwinIR that DT-BFR adapts is trained by the same. The gray 1 % are in no paper.
_DIFFACE = BlurJpegRanges((0.1, 15), (0.8, 32), (0, 20), (30, 100), gray_prob=0.01, gray_target=True)

PRESETS: dict[str, BlurJpegRanges] = {
    "difface": _DIFFACE,
    "dt_bfr_swinir": _DIFFACE,
    # GFPGAN's training, which IDM says it follows
    "gfpgan": BlurJpegRanges(
        (0.1, 10), (0.8, 8), (0, 20), (60, 100), gray_prob=0.01, channel_shift_prob=0.3, photometric_prob=0.3
    ),
    # IDM Eq. 11, from the text; no code was released
    "idm": BlurJpegRanges((0.2, 10), (1, 8), (0, 15), (50, 100)),
    # CodeFormer's second stage, also the checkpoint that DT-BFR adapts; the third stage draws "small" beside it
    "codeformer_large": BlurJpegRanges((1, 15), (4, 30), (0, 20), (30, 80)),
    "codeformer_small": BlurJpegRanges((0.1, 10), (1, 12), (0, 15), (60, 100)),
    # for the demo's 128 x 128 faces: at most as strong as leaves a face to restore
    "demo128": BlurJpegRanges((0.1, 3), (0.8, 4), (0, 15), (50, 100)),
    # the slight blur, noise and JPEG blocks that a part of any photo collection has, for the demo's cleaning
    "demo128_flaws": BlurJpegRanges((0.4, 1.2), (1, 2), (2, 8), (30, 70)),
}


def draw(rng: np.random.Generator, ranges: BlurJpegRanges) -> BlurJpegParams:
    """Draw one image's parameters. The draws come in the reference's order, from our generator instead of its three."""
    is_isotropic = rng.random() < ranges.isotropic_prob
    sigma_x = rng.uniform(*ranges.blur_sigma)
    sigma_y, theta = (sigma_x, 0.0) if is_isotropic else (rng.uniform(*ranges.blur_sigma), rng.uniform(-np.pi, np.pi))
    scale = rng.uniform(*ranges.scale)
    noise_sigma_255 = rng.uniform(*ranges.noise_sigma_255)
    jpeg_quality = round(rng.uniform(*ranges.jpeg_quality))
    return BlurJpegParams(
        sigma_x,
        sigma_y,
        theta,
        scale,
        noise_sigma_255,
        jpeg_quality,
        channel_shift=_draw_channel_shift(rng) if rng.random() < ranges.channel_shift_prob else None,
        is_gray=rng.random() < ranges.gray_prob,
        photometric=_draw_photometric(rng) if rng.random() < ranges.photometric_prob else None,
    )


def apply(hq: Image, params: BlurJpegParams, noise_unit: Image) -> ImageU8:
    """Degrade `hq` (float32 [H, W, 3] in [0, 1]) with given parameters and noise; uint8 [H, W, 3].

    noise_unit: standard normal, float32 [h, w, 3] with (h, w) = low_size((H, W), params.scale).
    Raises ValueError for a shape that does not fit.
    """
    x = blur_and_shrink(hq, params)
    x = add_noise(x, params.noise_sigma_255, noise_unit)
    x = jpeg(x, params.jpeg_quality)
    x = resize(x, hq.shape[:2])
    if params.channel_shift is not None:
        x = np.clip(x + np.asarray(params.channel_shift, dtype=np.float32), 0, 1)
    if params.is_gray:
        x = to_gray(x)
    if params.photometric is not None:
        x = jitter(x, params.photometric)
    return to_u8(x)


def gaussian_kernel(sigma_x: float, sigma_y: float, theta: float, size: int = KERNEL_SIZE) -> NDArray[np.float64]:
    """Rotated Gaussian exp(-u^T Sigma^-1 u / 2), float64 [size, size], sum 1; size is odd (DifFace Eq. 18).

    Sigma = R(theta) diag(sigma_x^2, sigma_y^2) R(theta)^T. Wide kernels are cut off by the support, as in the code.
    """
    offsets = np.arange(size, dtype=np.float64) - (size - 1) / 2
    x, y = offsets[None, :], offsets[:, None]
    along = (np.cos(theta) * x + np.sin(theta) * y) / sigma_x
    across = (np.cos(theta) * y - np.sin(theta) * x) / sigma_y
    kernel = np.exp(-(along**2 + across**2) / 2)
    return np.asarray(kernel / kernel.sum(), dtype=np.float64)


def blur_and_shrink(image: Image, params: BlurJpegParams) -> Image:
    """`blur`, then `resize` to `low_size`: [H, W, 3] to float32 [h, w, 3]; a small result without the blurred image.

    An isotropic blur and the resizing are products of a step along the rows and one along the columns: two small
    matrices. Of any other blur, only the rows that the resizing reads come back from the frequency domain.
    """
    small = low_size(image.shape[:2], params.scale)
    if params.scale < 2:
        return resize(blur(image, params.sigma_x, params.sigma_y, params.theta), small)
    (first_row, row_share), (first_column, column_share) = map(_resize_reads, image.shape[:2], small)
    if params.sigma_x == params.sigma_y:
        profile = gaussian_kernel(params.sigma_x, params.sigma_x, 0).sum(axis=0)
        margin = len(profile) // 2
        padded = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REFLECT_101)
        rows = _blur_and_resize_matrix(profile, first_row, row_share, padded.shape[0])
        columns = _blur_and_resize_matrix(profile, first_column, column_share, padded.shape[1])
        low = np.tensordot(columns, np.tensordot(rows, padded, axes=1), axes=(1, 1))  # [w, h, 3]
        return np.ascontiguousarray(low.transpose(1, 0, 2))
    spectra = _row_spectra(image, gaussian_kernel(params.sigma_x, params.sigma_y, params.theta))
    low_rows = torch.fft.irfft(_lerp(spectra, first_row, row_share), n=_fourier_size(image.shape[1]), dim=1)
    return np.asarray(_lerp(low_rows.transpose(0, 1), first_column, column_share).transpose(0, 1).numpy())


def blur(image: Image, sigma_x: float, sigma_y: float, theta: float) -> Image:
    """Correlate [H, W, 3] with the 41 x 41 kernel; the border mirrors without repeating its pixel. Not clipped."""
    kernel = gaussian_kernel(sigma_x, sigma_y, theta)
    rows, columns = _without_empty_border(kernel.sum(axis=1)), _without_empty_border(kernel.sum(axis=0))
    if kernel[rows, columns].size < DIRECT_KERNEL_SIZE:
        direct = cv2.filter2D(image, -1, kernel[rows, columns], borderType=cv2.BORDER_REFLECT_101)
        return np.asarray(direct, dtype=np.float32)
    height, width = image.shape[:2]
    blurred = torch.fft.irfft(_row_spectra(image, kernel)[:height], n=_fourier_size(width), dim=1)
    return np.asarray(blurred[:, :width].numpy())


def low_size(size: tuple[int, ...], scale: float) -> tuple[int, int]:
    """(height, width) after division by r: the floor of the float quotient. Raises ValueError where nothing is left."""
    height, width = int(size[0] // scale), int(size[1] // scale)
    if min(height, width) < 1:
        raise ValueError(
            f"a {size[0]} x {size[1]} image divided by r = {scale:.3g} leaves no pixel; use a preset of smaller scale"
        )
    return height, width


def resize(image: Image, size: tuple[int, ...]) -> Image:
    """Bilinear to (height, width), half-pixel centres, no antialiasing."""
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def add_noise(image: Image, sigma_255: float, noise_unit: Image) -> Image:
    """White Gaussian noise, independent per channel, then clipped to [0, 1]. Raises ValueError for another shape."""
    if noise_unit.shape != image.shape:
        raise ValueError(
            f"noise_unit: expected shape {image.shape}, the size after shrinking; found {noise_unit.shape}"
        )
    return np.clip(image + noise_unit * np.float32(sigma_255 / 255), 0, 1)


def jpeg(image: Image, quality: int) -> Image:
    """Through libjpeg and back: baseline, 4:2:0, quality 1 to 100; the input is rounded half-even to uint8."""
    bgr = np.ascontiguousarray(to_u8(image)[..., ::-1])
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return to_float(np.asarray(decoded[..., ::-1], dtype=np.uint8))


def to_gray(image: Image) -> Image:
    """0.299 R + 0.587 G + 0.114 B in all three channels."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.repeat(np.asarray(luma, dtype=np.float32)[..., None], 3, axis=-1)


def jitter(image: Image, factors: PhotometricJitter) -> Image:
    """torchvision's four colour adjustments for float images in [0, 1], in the given order."""
    adjust: dict[str, Callable[[Image], Image]] = {
        "brightness": lambda x: _blend(x, np.float32(0), factors.brightness),
        "contrast": lambda x: _blend(x, (x @ PHOTOMETRIC_LUMA).mean(dtype=np.float32), factors.contrast),
        "saturation": lambda x: _blend(x, (x @ PHOTOMETRIC_LUMA)[..., None], factors.saturation),
        "hue": lambda x: _turn_hue(x, factors.hue),
    }
    for name in factors.order:
        image = adjust[name](image)
    return image


def to_float(image: ImageU8) -> Image:
    """uint8 to float32 in [0, 1]."""
    return np.divide(image, np.float32(255), dtype=np.float32)


def to_u8(image: Image) -> ImageU8:
    """Float, not negative, to uint8: times 255, rounded half-even, at most 255."""
    return np.asarray(cv2.convertScaleAbs(image, alpha=255), dtype=np.uint8)


def _row_spectra(image: Image, kernel: NDArray[np.float64]) -> Tensor:
    """The blurred image, each row still in the frequency domain: complex64 [more than H, F, 3]."""
    margin = len(kernel) // 2
    height, width = (_fourier_size(side) for side in image.shape[:2])
    bottom, right = height - margin - image.shape[0], width - margin - image.shape[1]
    padded = cv2.copyMakeBorder(image, margin, bottom, margin, right, cv2.BORDER_REFLECT_101)
    kernel_rows = torch.fft.rfft(torch.from_numpy(kernel.astype(np.float32)), n=width)
    spectrum = torch.fft.fft(kernel_rows, n=height, dim=0).conj_physical()  # conj: correlate, do not convolve
    spectra: Tensor = torch.fft.rfft2(torch.from_numpy(padded), dim=(0, 1)).mul_(spectrum[..., None])
    by_row: Tensor = torch.fft.ifft(spectra, dim=0)
    return by_row


def _fourier_size(side: int) -> int:
    from scipy.fft import next_fast_len  # here, not above: takes half a second

    return int(next_fast_len(side + KERNEL_SIZE - 1))


def _resize_reads(size: int, small: int) -> tuple[NDArray[np.int64], Image]:
    """For each point of a bilinearly resized line: the first of the two points that it reads, the second's share."""
    centres = np.clip((np.arange(small) + 0.5) * size / small - 0.5, 0, size - 1)
    first = np.floor(centres).astype(np.int64)
    return first, (centres - first).astype(np.float32)


def _lerp(lines: Tensor, first: NDArray[np.int64], share: Image) -> Tensor:
    """Lines [n, ...] to the lines that `_resize_reads` describes. There is always one more line than was resized."""
    index = torch.from_numpy(first)
    second_share = torch.from_numpy(share).reshape(-1, *[1] * (lines.ndim - 1))
    return lines.index_select(0, index) * (1 - second_share) + lines.index_select(0, index + 1) * second_share


def _blur_and_resize_matrix(profile: NDArray[np.float64], first: NDArray[np.int64], share: Image, size: int) -> Image:
    """[n, size]: a mirrored line to its blurred and resized one."""
    second_share = share[:, None]
    weights = (1 - second_share) * np.append(profile, 0) + second_share * np.append(0, profile)
    matrix = np.zeros((len(first), size + 1), dtype=np.float32)  # a last column, for a second point with no share
    np.put_along_axis(matrix, first[:, None] + np.arange(len(profile) + 1), weights.astype(np.float32), axis=1)
    return matrix[:, :-1]


def _without_empty_border(weights: NDArray[np.float64]) -> slice:
    """The centred part of a symmetric 1-D profile that weighs something; a narrow kernel then costs little."""
    empty = int(np.argmax(weights > NEGLIGIBLE_WEIGHT))
    return slice(empty, len(weights) - empty)


def _draw_channel_shift(rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = rng.uniform(-20 / 255, 20 / 255, 3).tolist()
    return red, green, blue


def _draw_photometric(rng: np.random.Generator) -> PhotometricJitter:
    """GFPGAN's ranges."""
    return PhotometricJitter(
        brightness=rng.uniform(0.5, 1.5),
        contrast=rng.uniform(0.5, 1.5),
        saturation=rng.uniform(0, 1.5),
        hue=rng.uniform(-0.1, 0.1),
        order=tuple(rng.permutation(["brightness", "contrast", "saturation", "hue"]).tolist()),
    )


def _blend(image: Image, other: Image | np.float32, factor: float) -> Image:
    return np.clip(np.float32(factor) * image + np.float32(1 - factor) * other, 0, 1)


def _turn_hue(image: Image, turns: float) -> Image:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)  # hue in degrees
    hsv[..., 0] = (hsv[..., 0] + np.float32(360 * turns)) % np.float32(360)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), dtype=np.float32)
