"""What a diffusion prior sees in photos: features that have learned faces where no file of Inception is at hand."""

from pathlib import Path

import torch
from torch import Tensor, nn

from tasks.basics import BadInput
from tasks.diffusion.priors import load_prior
from tasks.diffusion.unet import UNet, timestep_embedding
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
        self.multiple = 2 ** (len(prior.config.channel_mult) - 1)

    def forward(self, images: Tensor) -> Tensor:
        if any(side % self.multiple for side in images.shape[-2:]):
            multiples = f"sides that are multiples of {self.multiple}"
            raise BadInput(f"FID (prior) needs images with {multiples}, found {size_text(images)}.")
        clean = torch.zeros(len(images), device=images.device)
        embedded = self.prior.time_embed(timestep_embedding(clean, self.prior.config.model_channels))
        h = 2 * images - 1
        for block in (*self.prior.input_blocks, self.prior.middle_block):
            h = block(h, embedded)
        return h.mean(dim=(2, 3))
