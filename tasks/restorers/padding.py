"""Running a network whose sides must be multiples of something on images of any size."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@torch.no_grad()
def run_padded(network: nn.Module, lq: Tensor, multiple: int) -> Tensor:
    """Reflect-pad right and bottom to a multiple, run, crop back, clamp.

    lq: [N, 3, H, W] in [0, 1], sides larger than their padding. Same shape and range back. Leaves the network in
    evaluation mode, where stochastic depth is off.
    """
    height, width = lq.shape[2:]
    padded = F.pad(lq, (0, -width % multiple, 0, -height % multiple), mode="reflect")
    output: Tensor = network.eval()(padded)
    return output[..., :height, :width].clamp(0, 1)
