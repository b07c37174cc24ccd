"""phi_N, the linear low-pass filter of ILVR (Choi et al. 2021) and DT-BFR: cubic shrinking, then cubic enlarging."""

from functools import lru_cache

import torch
from torch import Tensor


def low_pass(x: Tensor, factor: int) -> Tensor:
    """phi_N of DT-BFR, Alg. 1: shrink by `factor`, then enlarge again (Keys cubic a = -0.5, edges mirrored).

    x: [N, C, H, W], float, any range; H and W are multiples of `factor`. Same shape back; may overshoot the range.
    Linear, not a projection: phi(phi(x)) differs from phi(x) by up to 0.04. Raises ValueError for other sizes.
    """
    height, width = x.shape[-2:]
    if factor < 1 or height % factor or width % factor:
        raise ValueError(f"height and width must be multiples of factor {factor}, found {height} x {width}")
    return resize(resize(x, height // factor, width // factor), height, width)


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """Separable cubic resampling, antialiased when shrinking: [N, C, H, W] -> [N, C, height, width]."""
    vertical = resize_matrix(x.shape[-2], height, x.dtype, x.device)
    horizontal = resize_matrix(x.shape[-1], width, x.dtype, x.device)
    with torch.autocast(x.device.type, enabled=False):  # a bfloat16 product would be wrong by 1e-2
        return vertical @ (x @ horizontal.T)


@lru_cache(maxsize=64)
def resize_matrix(size: int, new_size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The operator on one axis, [new_size, size]; rows sum to 1.

    Pixel centres are aligned (i + 1/2) / scale - 1/2; the kernel is stretched when shrinking; taps beyond an edge read
    the mirror image, edge pixel repeated.
    """
    scale = new_size / size
    stretch = max(1.0, 1 / scale)
    centres = (torch.arange(new_size, dtype=torch.float64)[:, None] + 0.5) / scale - 0.5
    taps = torch.floor(centres - 2 * stretch) + torch.arange(int(4 * stretch) + 2)
    weights = keys_cubic((taps - centres) / stretch)
    weights /= weights.sum(dim=1, keepdim=True)
    columns = taps.long() % (2 * size)
    columns = torch.minimum(columns, 2 * size - 1 - columns)
    matrix = torch.zeros(new_size, size, dtype=torch.float64).scatter_add_(1, columns, weights)
    return matrix.to(device, dtype)


def keys_cubic(u: Tensor) -> Tensor:
    """Keys' cubic kernel with a = -0.5; zero beyond |u| = 2."""
    u = u.abs()
    near = 1.5 * u**3 - 2.5 * u**2 + 1
    far = -0.5 * u**3 + 2.5 * u**2 - 4 * u + 2
    return torch.where(u <= 1, near, torch.where(u < 2, far, torch.zeros_like(u)))
