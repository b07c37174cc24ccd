"""Images as arrays and as tensors."""

import numpy as np
import torch
from torch import Tensor


def to_tensor(image: np.ndarray) -> Tensor:
    """uint8 [H, W, 3] to float32 [3, H, W] in [0, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1).float().div_(255)


def to_uint8(image: Tensor) -> np.ndarray:
    """float [3, H, W] in [0, 1] to uint8 [H, W, 3]: clamped, rounded half to even."""
    levels = image.detach().float().clamp(0, 1).mul(255).round().to("cpu", torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).numpy())
