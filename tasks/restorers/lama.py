"""LaMa, DifFace's estimator for inpainting: a network of fast Fourier convolutions that fills holes.

A hole is where all channels of a photo are exactly 0, as in DifFace: masks travel inside the photos. The network is
spandrel's generator; the official key layout has no prefix before it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from tasks.restorers.padding import run_padded
from tasks.running.torchvision_import import import_torchvision
from tasks.weights.checkpoint import fill, read_state_dict, under_prefix
from tasks.weights.seeding import initial_weights


@dataclass(frozen=True)
class LamaConfig:
    """width: channels before the first of three downsamplings; blocks: residual ones at an eighth of the size."""

    width: int
    blocks: int


OFFICIAL = LamaConfig(width=64, blocks=18)  # 50.98 M parameters
DEMO = LamaConfig(width=24, blocks=8)  # for 128 x 128 images


def build(config: LamaConfig, seed: int = 0) -> nn.Module:
    """A randomly initialised generator, in training mode, from `masked` photos to whole ones."""
    with initial_weights(seed):
        return Lama(config)


class Lama(nn.Module):
    """The generator on one tensor of four channels. Its keys are the official ones."""

    def __init__(self, config: LamaConfig) -> None:
        super().__init__()
        import_torchvision()
        # here, not above: takes time
        from spandrel.architectures.LaMa.__arch.LaMa import FFCResNetGenerator, FourierUnit

        self.model = FFCResNetGenerator(4, 3, ngf=config.width, n_blocks=config.blocks).model
        for unit in self.modules():
            if isinstance(unit, FourierUnit):
                unit.forward = partial(in_float32, unit.forward)

    def forward(self, masked: Tensor) -> Tensor:
        out: Tensor = self.model(masked)
        return out


def in_float32(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """run(x) in float32 under autocast too: GPUs have no Fourier transform of bfloat16."""
    with torch.autocast(x.device.type, enabled=False):
        return run(x.float())


def load(path: Path) -> nn.Module:
    """The generator of a weights file, in evaluation mode, frozen; its configuration is read off the tensors' shapes.

    Raises BadInput when the file is missing or holds another network.
    """
    always = "model.1.ffc.convl2l.weight"
    state = {key: value.float() for key, value in under_prefix(read_state_dict(path), [always]).items()}
    first = state.get(always, torch.empty(OFFICIAL.width))
    blocks = sum(key.endswith("conv1.ffc.convl2l.weight") for key in state)
    model = build(LamaConfig(first.shape[0], blocks or OFFICIAL.blocks))
    counters = {key: value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")}
    fill(model, counters | state, path, "LaMa (DifFace's inpainting estimator)")
    return model.eval().requires_grad_(False)


def hole_of(lq: Tensor) -> Tensor:
    """Mask of photos [N, 3, H, W]: [N, 1, H, W] float, 1 where all channels are 0."""
    return (lq == 0).all(dim=1, keepdim=True).float()


@torch.no_grad()
def estimate(model: nn.Module, lq: Tensor, mask: Tensor) -> Tensor:
    """Estimate of the whole image. lq: [N, 3, H, W] in [0, 1]; mask: [N, 1, H, W], 1 = missing; any H and W."""
    return run_padded(model, masked(lq, mask), 8)


def masked(lq: Tensor, mask: Tensor) -> Tensor:
    """The network's input [N, 4, H, W]: image without the hole, mask."""
    return torch.cat([lq * (1 - mask), mask], dim=1)


def restore(model: nn.Module, lq: Tensor) -> Tensor:
    """Fill the holes of photos [N, 3, H, W] in [0, 1]; the same back, known pixels as they are."""
    mask = hole_of(lq)
    return estimate(model, lq, mask) * mask + lq * (1 - mask)


def runner(weights: Path, fidelity: float, device: torch.device) -> Callable[[Tensor], Tensor]:
    """`restore` by the network of a weights file, on the device; it has no fidelity to choose."""
    return partial(restore, load(weights).to(device))
