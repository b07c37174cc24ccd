"""Photos for the measurements: smooth noise, which needs no package beside torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from tasks.basics import ROOT
from tasks.pixels import to_tensor, to_uint8


def smooth(count: int, side: int) -> Tensor:
    """[count, 3, side, side] float32 in [0, 1], on the CPU."""
    small = torch.rand((count, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    return F.interpolate(small, (side, side), mode="bicubic").clamp(0, 1)


class Album:
    """As much of an ImageFolder as a training reads."""

    def __init__(self, count: int, side: int) -> None:
        self.images = {str(n): to_uint8(image) for n, image in enumerate(smooth(count, side))}
        self.ids = list(self.images)

    def read(self, image_id: str) -> np.ndarray:
        return self.images[image_id]

    def batch(self, ids: Sequence[str]) -> Tensor:
        return torch.stack([to_tensor(self.images[image_id]) for image_id in ids])


def demo_weights(name: str) -> Path:
    """The embedded demo's file, linked out of the repository's own store where `dvc pull` has not put it."""
    place = ROOT / "data" / "weights" / "demo" / f"{name}.safetensors"
    lock = yaml.safe_load((ROOT / "data" / "weights" / "dvc.lock").read_text(encoding="utf-8"))
    outs = [out for stage in lock["stages"].values() for out in stage["outs"]]
    (md5,) = (out["md5"] for out in outs if ROOT / out["path"] == place)
    if not place.is_file():
        place.unlink(missing_ok=True)
        place.symlink_to(ROOT / "data" / "demo_store" / "files" / "md5" / md5[:2] / md5[2:])
    return place
