"""Restorer weights on disk: state dicts in `.safetensors` or `.pth` files, read without running any code in them."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tasks.store import BadInput


def write_state_dict(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors to `.safetensors`, or to `.pth` for the original repositories; a reader never sees half a file."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(tensors, temporary)
    elif path.suffix == ".pth":
        torch.save(tensors, temporary)
    else:
        raise ValueError(f"{path}: weights are written to *.safetensors or *.pth files, found '{path.suffix}'")
    os.replace(temporary, path)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, on the CPU. Raises BadInput when it is missing, damaged or of another kind."""
    if not path.is_file():
        raise BadInput(f"{path} is missing: expected restorer weights there. Put the file there or correct the path.")
    try:
        if path.suffix == ".safetensors":
            state: dict[str, Tensor] = safetensors.torch.load_file(path)
        elif path.suffix == ".pth":
            state = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise BadInput(f"{path}: expected a *.safetensors or *.pth file, found '{path.suffix}'.")
    except (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise BadInput(
            f"{path}: expected a file of tensors, found a damaged or unsafe one ({error}). Get it again."
        ) from error
    return state
