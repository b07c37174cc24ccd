"""PSNR and SSIM on RGB: no border crop, float64 on the 0..255 scale, one value per image.

The *_matched variants first give every channel of the restored image the mean and standard deviation that it has in
the ground truth. That is what the scripts behind the tables of DifFace, VQFR and DT-BFR print as PSNR and SSIM; it
hides colour casts (up to 33 dB), so it has names of its own.

All functions: restored, reference: [N, 3, H, W] float in [0, 1], on any device. Result: [N] float64.
"""

import torch
from torch import Tensor

from tasks.basics import BadInput

PEAK = 255.0
WINDOW = 11
SIGMA = 1.5
C1 = (0.01 * PEAK) ** 2
C2 = (0.03 * PEAK) ** 2


def psnr(restored: Tensor, reference: Tensor) -> Tensor:
    """10 log10(255^2 / MSE), the error over all pixels and channels of an image; infinite for equal images."""
    error = (levels(restored) - levels(reference)).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(PEAK**2 / error)


def ssim(restored: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) per channel, mean over pixels and channels.

    11 x 11 Gaussian window of sigma 1.5, valid region only, population moments. Raises BadInput below 11 pixels.
    """
    if min(restored.shape[-2:]) < WINDOW:
        raise BadInput(f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels, found {size_text(restored)}.")
    x, y = levels(restored), levels(reference)
    mean_x, mean_y = window_mean(x), window_mean(y)
    both, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance = window_mean(x * y) - both
    variances = window_mean(x * x + y * y) - squares
    luminance = (2 * both + C1) / (squares + C1)
    contrast_structure = (2 * covariance + C2) / (variances + C2)
    return (luminance * contrast_structure).mean(dim=(1, 2, 3))


def psnr_matched(restored: Tensor, reference: Tensor) -> Tensor:
    """PSNR after `match_mean_std`."""
    return psnr(match_mean_std(restored, reference), reference)


def ssim_matched(restored: Tensor, reference: Tensor) -> Tensor:
    """SSIM after `match_mean_std`."""
    return ssim(match_mean_std(restored, reference), reference)


def match_mean_std(restored: Tensor, reference: Tensor) -> Tensor:
    """r' = (r - mean r) std g / std r + mean g per image and channel; neither clipped nor rounded. float64.

    Population standard deviation over all pixels. A flat channel of r becomes the flat mean of g.
    """
    r, g = in_float64(restored), in_float64(reference)
    mean_r, mean_g = (x.mean(dim=(2, 3), keepdim=True) for x in (r, g))
    std_r, std_g = (x.std(dim=(2, 3), correction=0, keepdim=True) for x in (r, g))
    return (r - mean_r) * std_g / std_r.clamp_min(1e-8) + mean_g


def window_mean(x: Tensor) -> Tensor:
    """Gaussian-weighted mean around every pixel whose 11 x 11 window lies inside the image: H and W shrink by 10."""
    rows, columns = (_window(side, x) for side in x.shape[-2:])
    return rows @ x @ columns.mT


def _window(side: int, like: Tensor) -> Tensor:
    """[side - 10, side]: the weights of each window position along one axis. A product is twice as fast as conv2d."""
    pixel = torch.arange(side, dtype=like.dtype, device=like.device)
    offset = pixel - pixel[: side - WINDOW + 1, None] - WINDOW // 2
    weight = torch.exp(-(offset**2) / (2 * SIGMA**2)) * (offset.abs() <= WINDOW // 2)
    return weight / weight.sum(dim=1, keepdim=True)


def levels(image: Tensor) -> Tensor:
    """[0, 1] to the 0..255 scale, float64."""
    return in_float64(image) * PEAK


def in_float64(image: Tensor) -> Tensor:
    """The same values as float64; on the CPU if they are on Apple's GPU, which has no float64."""
    return (image.cpu() if image.device.type == "mps" else image).double()


def size_text(images: Tensor) -> str:
    """Size of a batch's images, for messages."""
    return f"{images.shape[-2]} x {images.shape[-1]}"
