"""The small convolutional estimator of DifFace ("SRCNN" there, but not the network of 2014)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from tasks.basics import BadInput
from tasks.restorers.padding import run_padded
from tasks.weights.checkpoint import read_state_dict, refuse_other_numbers, under_prefix, write_state_dict
from tasks.weights.seeding import initial_weights


@dataclass(frozen=True)
class SRCNNConfig:
    """width: channels of the body, a multiple of 16; body_convs: its 5 x 5 convolutions."""

    width: int
    body_convs: int


OFFICIAL = SRCNNConfig(width=64, body_convs=9)  # 1.03 M parameters


class SRCNN(nn.Module):
    """[N, 3, H, W] in [0, 1], sides multiples of 4, to the same, not clamped. Works at a quarter of the size.

    Two pixel-unshuffles, a body of 5 x 5 convolutions, two pixel-shuffles; no normalisation, no skips. Its keys are the
    official ones (`head.{1,2,5}`, `body.{0,2,...}`, `tail.{0,3,6}`).
    """

    def __init__(self, config: SRCNNConfig) -> None:
        super().__init__()
        width, quarter = config.width, config.width // 4
        self.head = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, width, 3, padding=1),
            nn.Conv2d(width, quarter, 5, padding=2),
            nn.LeakyReLU(0.2),
            nn.PixelUnshuffle(2),
            nn.Conv2d(width, width, 3, padding=1),
        )
        body = [(nn.Conv2d(width, width, 5, padding=2), nn.LeakyReLU(0.2)) for _ in range(config.body_convs)]
        self.body = nn.Sequential(*(layer for pair in body for layer in pair))
        self.tail = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.PixelShuffle(2),
            nn.Conv2d(quarter, quarter, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.PixelShuffle(2),
            nn.Conv2d(quarter // 4, 3, 5, padding=2),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.tail(self.body(self.head(x)))
        return out


def build(config: SRCNNConfig, seed: int = 0) -> SRCNN:
    """A randomly initialised network, in training mode. The global generator is left as it was."""
    with initial_weights(seed):
        return SRCNN(config)


def save(model: SRCNN, path: Path) -> None:
    """Write the weights as `.safetensors` or `.pth`, under the official keys."""
    write_state_dict(path, model.state_dict())


def load(path: Path) -> SRCNN:
    """The network of a weights file, in training mode; its configuration is read off the tensors' shapes.

    Raises BadInput when the file is missing or holds another network.
    """
    state = under_prefix(read_state_dict(path), ["head.1.weight"])
    try:
        width = state["head.1.weight"].shape[0]
        model = build(SRCNNConfig(width, body_convs=sum(key.startswith("body.") for key in state) // 2))
        model.load_state_dict(state)
    except (LookupError, RuntimeError) as error:
        raise BadInput(f"{path}: expected the weights of DifFace's SRCNN, found other tensors: {error}") from error
    refuse_other_numbers(model, state, path)
    return model


def restore(model: SRCNN, lq: Tensor) -> Tensor:
    """Restore images [N, 3, H, W] in [0, 1] of any size; same shape and range back."""
    return run_padded(model, lq, multiple=4)


def runner(weights: Path, fidelity: float, device: torch.device) -> Callable[[Tensor], Tensor]:
    """`restore` by the network of a weights file, on the device; it has no fidelity to choose."""
    return partial(restore, load(weights).to(device))
