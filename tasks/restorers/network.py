"""All restoration networks behind one interface: LQ images in, restored images out.

To add one: a module beside this with a `runner`, and its entry in `NETWORKS`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from tasks.basics import PickedFrom, Strict, one_of
from tasks.restorers import faces, lama, srcnn, swinir

Run = Callable[[Tensor], Tensor]
"""lq [N, 3, H, W] in [0, 1] to the same shape and range."""


Restore = Callable[[Tensor, Sequence[str]], Tensor]
"""lq [N, 3, H, W] in [0, 1] and N image ids, to the same shape and range."""

NETWORKS: dict[str, Callable[[Path, float, torch.device], Run]] = {
    "swinir": swinir.runner,
    "srcnn": srcnn.runner,
    "lama": lama.runner,
    "gfpgan": faces.gfpgan_runner,
    "restoreformer": faces.restoreformer_runner,
    "restoreformer_pp": faces.restoreformer_pp_runner,
    "codeformer": faces.codeformer_runner,
}

NetworkName = Annotated[str, one_of("restorer", NETWORKS), PickedFrom(NETWORKS)]


class Architecture(Strict):
    """A restoration network without its weights."""

    arch: NetworkName = Field(description="a network of tasks/restorers; fine-tuning knows swinir and codeformer")
    fidelity: float = Field(default=0.5, ge=0, le=1, description="CodeFormer's w: 0 quality … 1 fidelity")

    def with_weights(self, weights: Path) -> "NetworkSpec":
        """The network with a weights file."""
        return NetworkSpec(arch=self.arch, fidelity=self.fidelity, weights=weights)


class NetworkSpec(Architecture):
    """A restoration network and its weights."""

    weights: Path = Field(description=".safetensors, .pth, .pt, .ckpt or .bin; path below the repository, or absolute")

    def load(self, device: torch.device) -> Restore:
        """The network on the device.

        Raises BadInput for weights that are missing or belong to another network.
        """
        run = NETWORKS[self.arch](self.weights, self.fidelity, device)
        return lambda lq, image_ids: run(lq)

    def without_weights(self) -> Architecture:
        """The network alone, as the settings of a stage have it: the file is an input of its own."""
        return Architecture(arch=self.arch, fidelity=self.fidelity)
