"""Make `mtcnn.safetensors` from the three files inside a wheel.

    python -m tasks.faces.extract facenet_pytorch-2.6.0-py3-none-any.whl

The wheel comes from PyPI (`pip download --no-deps facenet-pytorch==2.6.0`); none of its code is used.
"""

import hashlib
import io
import sys
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tasks.basics import BadInput
from tasks.faces.mtcnn import WEIGHTS

WHEEL_SHA256 = "ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca"
DATA = "facenet_pytorch/data"
HEADS = {
    "pnet": {"conv4_1": "face", "conv4_2": "box"},
    "rnet": {"dense5_1": "face", "dense5_2": "box"},
    "onet": {"dense6_1": "face", "dense6_2": "box", "dense6_3": "points"},
}


def main(wheel: Path, out: Path) -> None:
    """Write the networks' tensors, values unchanged, under the names of `mtcnn.Net`."""
    check_wheel(wheel)
    tensors: dict[str, Tensor] = {}
    with zipfile.ZipFile(wheel) as files:
        for net, heads in HEADS.items():
            states = torch.load(io.BytesIO(files.read(f"{DATA}/{net}.pt")), map_location="cpu", weights_only=True)
            tensors |= {f"{net}.{renamed(name, heads)}": value.contiguous() for name, value in states.items()}
    save_file(tensors, out)


def renamed(name: str, heads: dict[str, str]) -> str:
    """`conv1.weight` is `body.conv1.weight`, `conv4_1.weight` is `heads.face.weight`."""
    layer, _, kind = name.partition(".")
    return f"heads.{heads[layer]}.{kind}" if layer in heads else f"body.{name}"


def check_wheel(wheel: Path) -> None:
    """Raise BadInput unless the file is the pinned wheel: other releases may carry other data under other terms."""
    if not wheel.is_file():
        raise BadInput(f"{wheel} is missing. Get it with: pip download --no-deps facenet-pytorch==2.6.0")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise BadInput(f"{wheel} is not facenet-pytorch 2.6.0: its sha256 is {found}, expected {WHEEL_SHA256}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), WEIGHTS)
