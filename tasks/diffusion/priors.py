"""Diffusion priors by name. To add an architecture: one entry here."""

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from tasks.basics import PickedFrom, Strict, one_of
from tasks.diffusion.unet import UNet, UNetConfig
from tasks.weights.checkpoint import fill, read_state_dict, to_be_filled

PRIORS = {
    "demo128": UNetConfig(
        model_channels=32,
        channel_mult=(1, 2, 3, 4, 4),
        num_res_blocks=(1, 1, 1, 1, 2),
        attention_sizes=(16, 8),
        image_size=128,
        num_head_channels=32,
    ),
    "ffhq512": UNetConfig(
        model_channels=32,
        channel_mult=(1, 2, 4, 8, 8, 16, 16),
        num_res_blocks=(1, 2, 2, 2, 2, 3, 4),
        attention_sizes=(32, 16, 8),
        image_size=512,
        num_head_channels=64,
    ),
    "ffhq256_inpainting": UNetConfig(
        model_channels=128,
        channel_mult=(1, 1, 2, 2, 4, 4),
        num_res_blocks=(2,) * 6,
        attention_sizes=(16, 8),
        image_size=256,
        num_head_channels=64,
    ),
    "ffhq256_gen2res": UNetConfig(
        model_channels=128,
        channel_mult=(1, 1, 2, 2, 4, 4),
        num_res_blocks=(2,) * 6,
        attention_sizes=(16,),
        image_size=256,
        resblock_updown=True,
        dropout=0.1,
    ),
}

PriorName = Annotated[str, one_of("prior", PRIORS), PickedFrom(PRIORS)]


class Prior(Strict):
    """A diffusion prior and its weights."""

    arch: PriorName = Field(description="a named architecture of tasks/diffusion/priors.py")
    weights: Path = Field(description=".safetensors, .pth, .pt, .ckpt or .bin; path below the repository, or absolute")


def load_prior(arch: str, path: Path, device: torch.device) -> UNet:
    """The diffusion prior in evaluation mode. Raises BadInput for weights that are missing or of another shape."""
    with to_be_filled():
        model = UNet(PRIORS[arch])
    fill(model, read_state_dict(path), path, f"a {arch!r} prior")
    return model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
