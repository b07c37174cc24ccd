"""What a diffusion prior sees in photos: features that have learned faces where no file of Inception is at hand."""

from pathlib import Path

import torch
from torch import Tensor, nn

from tasks.basics import BadInput
from tasks.diffusion.priors import load_prior
from tasks.diffusion.unet import UNet
from tasks.metrics.full_reference import size_text
from tasks.weights.file import WeightFile

ARCH = "demo128"
DEMO_PRIOR = WeightFile("demo/prior.safetensors", url="", licence="Apache-2.0")


def prior_features(path: Path) -> nn.Module:
    """Of the demo's prior up to its middle block, asked as of clean photos (t = 0): [N, 3, H, W] in [0, 1] to [N, 128].

    Averaged over all positions. H and W are multiples of 16. What a prior has never seen (noise, blur, broken strokes)
    moves its features. It favours photos that it has made itself.
    """
    return _Encoder(load_prior(ARCH, path, torch.device("cpu")))


class _Encoder(nn.Module):
    def __init__(self, prior: UNet) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, images: Tensor) -> Tensor:
        multiple = self.prior.config.multiple
        if any(side % multiple for side in images.shape[-2:]):
            found = f"sides that are multiples of {multiple}, found {size_text(images)}"
            raise BadInput(f"FID (prior) needs images with {found}.")
        h, _, _ = self.prior.encode(2 * images - 1, torch.zeros(len(images), device=images.device))
        return h.mean(dim=(2, 3))
