"""Networks by name, and where their official weights come from.

To add a prior or a restorer architecture: one entry here (and, for a restorer, one in tasks/restorers).
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from tasks.diffusion.unet import UNet, UNetConfig
from tasks.restorers.checkpoint import read_state_dict
from tasks.store import ROOT, BadInput

WEIGHTS = ROOT / "data" / "weights"  # official files go here; metric weights too, laid out as TORCH_HOME

PRIORS = {
    "demo64": UNetConfig(
        model_channels=32,
        channel_mult=(1, 2, 3, 4),
        num_res_blocks=(1, 1, 1, 2),
        attention_sizes=(16, 8),
        image_size=64,
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
}


@dataclass(frozen=True)
class Official:
    """A released weights file."""

    url: str
    licence: str


OFFICIAL = {
    "iddpm_ffhq512_ema500000.pth": Official(
        "https://github.com/zsyOAOA/DifFace/releases/download/V1.0/iddpm_ffhq512_ema500000.pth",
        "S-Lab License 1.0, non-commercial",
    ),
    "General_Face_ffhq512.pth": Official(
        "https://github.com/zsyOAOA/DifFace/releases/download/V1.0/General_Face_ffhq512.pth",
        "S-Lab License 1.0, non-commercial",
    ),
}


def required(path: Path, needed_by: str) -> Path:
    """The path of a weights file. Raises BadInput that says where to get it, if it is not there."""
    if path.is_file():
        return path
    known = OFFICIAL.get(path.name)
    if known:
        advice = f"Download it from {known.url} ({known.licence}) and put it there."
    elif path.is_relative_to(WEIGHTS / "demo"):
        advice = "It comes with the repository: dvc pull -r demo data/weights/dvc.yaml"
    else:
        advice = "Put the file there, or correct its path in params.yaml."
    raise BadInput(f"{path} is missing (needed as {needed_by}).\n{advice}")


def load_prior(arch: str, path: Path, device: torch.device) -> UNet:
    """The diffusion prior in evaluation mode. Raises BadInput for weights that are missing or of another shape."""
    model = UNet(PRIORS[arch])
    try:
        model.load_state_dict(read_state_dict(path))
    except RuntimeError as error:
        raise BadInput(f"{path}: expected the weights of a {arch!r} prior. {error}") from error
    return model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
