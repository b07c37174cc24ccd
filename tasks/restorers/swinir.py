"""SwinIR as DT-BFR and DifFace use it: pixel-unshuffle in front, x2 nearest upsampling steps behind.

The network is spandrel's (bit-identical to the reference implementation). This file knows its two settings (official
and demo), the official key layout on disk, and how to run it on images of any size.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from tasks.restorers.padding import run_padded
from tasks.running.torchvision_import import import_torchvision
from tasks.weights.checkpoint import spandrel_network, write_state_dict
from tasks.weights.seeding import initial_weights

if TYPE_CHECKING:
    from spandrel.architectures.SwinIR import SwinIR

warnings.filterwarnings("ignore", message="torch.meshgrid")  # spandrel builds it so; nothing for our users to do

OFFICIAL_TO_SPANDREL = {"conv_first.1.weight": "conv_first.weight", "conv_first.1.bias": "conv_first.bias"}
SPANDREL_TO_OFFICIAL = {ours: official for official, ours in OFFICIAL_TO_SPANDREL.items()}


@dataclass(frozen=True)
class SwinIRConfig:
    """Shape of a SwinIR restorer. The feature width after the body is 64 in every one (fixed in the architecture)."""

    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    window_size: int
    mlp_ratio: float
    unshuffle: int  # the output has the input's size, so the same factor is gained back in steps of 2: one of 2, 4, 8
    feature_size: int  # side of the feature grid whose shift mask is stored; other sizes rebuild theirs
    drop_path_rate: float  # stochastic depth, growing linearly over the blocks, active in training mode only


OFFICIAL = SwinIRConfig(180, (6,) * 8, (6,) * 8, 8, 2.0, unshuffle=8, feature_size=64, drop_path_rate=0.1)  # 15.79 M
DEMO = SwinIRConfig(96, (4, 4), (6, 6), 8, 2.0, unshuffle=4, feature_size=32, drop_path_rate=0.1)  # for 128 x 128


def build(config: SwinIRConfig, seed: int = 0) -> "SwinIR":
    """A randomly initialised SwinIR, in training mode. The global generator is left as it was."""
    if config.unshuffle not in (2, 4, 8):
        raise ValueError(f"SwinIRConfig.unshuffle must be 2, 4 or 8, found {config.unshuffle}")
    import_torchvision()
    from spandrel.architectures.SwinIR import SwinIR  # here, not above: takes time

    with initial_weights(seed):
        return SwinIR(
            img_size=config.feature_size,
            embed_dim=config.embed_dim,
            depths=list(config.depths),
            num_heads=list(config.num_heads),
            window_size=config.window_size,
            mlp_ratio=config.mlp_ratio,
            drop_path_rate=config.drop_path_rate,
            upscale=config.unshuffle,
            upsampler="nearest+conv",
            start_unshuffle=config.unshuffle,
        )


def official_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The state dict under the official names (`conv_first.1.*` because the unshuffle is layer 0 there)."""
    return {SPANDREL_TO_OFFICIAL.get(key, key): value for key, value in model.state_dict().items()}


def load_official_state_dict(model: "SwinIR", state: Mapping[str, Tensor]) -> None:
    """Fill `model` from a state dict in the official layout. The caller's mapping stays untouched."""
    model.load_state_dict({OFFICIAL_TO_SPANDREL.get(key, key): value for key, value in state.items()})


def save(model: nn.Module, path: Path) -> None:
    """Write the weights in the official key layout, as `.safetensors` or `.pth`."""
    write_state_dict(path, official_state_dict(model))


def load(path: Path) -> "SwinIR":
    """The SwinIR of a checkpoint in the official key layout; its configuration is read off the tensors' shapes.

    Comes in training mode, with stochastic depth 0.1 (the official rate: a state dict does not tell).
    Raises BadInput when the file is missing or holds another network.
    """
    return cast("SwinIR", spandrel_network(path, "SwinIR").train())


def restore(model: "SwinIR", lq: Tensor) -> Tensor:
    """Restore images: padded to a multiple of unshuffle * window, cropped back, clamped.

    lq: [N, 3, H, W] in [0, 1]. Same shape and range back. Leaves the model in evaluation mode.
    (The reference pads to a multiple of 8 only and crashes on other sides; multiples of 64 agree exactly.)
    """
    return run_padded(model, lq, model.start_unshuffle * model.window_size)


def runner(weights: Path, fidelity: float, device: torch.device) -> Callable[[Tensor], Tensor]:
    """`restore` by the network of a weights file, on the device; it has no fidelity to choose."""
    return partial(restore, load(weights).to(device))
