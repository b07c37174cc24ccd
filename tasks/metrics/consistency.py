"""Does a restored photo still show what the LQ photo shows? It needs no ground truth.

Both are compared where the LQ photo can be trusted: in their low frequencies, at SIDE x SIDE pixels, enlarged again.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from tasks.diffusion.lowpass import resize
from tasks.metrics import full_reference
from tasks.metrics.perceptual import lpips_seeded, lpips_vgg

SIDE = 32  # pixels: 512 / 16, as DT-BFR's pseudo-targets keep


def low(images: Tensor) -> Tensor:
    """The low frequencies of [N, 3, H, W] in [0, 1], of the same shape and range."""
    small = resize(images, SIDE, SIDE)
    return resize(small, *images.shape[-2:]).clamp(0, 1)


def psnr(restored: Tensor, lq: Tensor) -> Tensor:
    """[N] dB; infinite for equal images."""
    return full_reference.psnr(low(restored), low(lq))


def lpips(weights_dir: Path, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS with VGG-16 of the low frequencies. Raises MissingWeights."""
    network = lpips_vgg(weights_dir).to(device)
    return lambda restored, lq: network(low(restored), low(lq))


def lpips_without_weights(weights_dir: Path, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """Its seeded stand-in, which needs no file."""
    network = lpips_seeded().to(device)
    return lambda restored, lq: network(low(restored), low(lq))
