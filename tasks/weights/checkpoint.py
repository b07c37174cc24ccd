"""Restorer weights on disk: state dicts in `.safetensors` or `.pth` files, read without running any code in them."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from tasks.basics import BadInput

WRAPPINGS = ("params_ema", "params", "state_dict", "model")
SHOWN = 6  # differences in an error message


def write_state_dict(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors to `.safetensors`, or to `.pth` for the original repositories; a reader never sees half a file."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    if path.suffix == ".safetensors":
        temporary.write_bytes(safetensors.torch.save(tensors))  # save_file would make it private to its user
    elif path.suffix == ".pth":
        torch.save(tensors, temporary)
    else:
        raise ValueError(f"{path}: weights are written to *.safetensors or *.pth files, found '{path.suffix}'")
    os.replace(temporary, path)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, on the CPU, out of the wrappings that official files come in ("params_ema": …).

    Raises BadInput when it is missing, damaged or of another kind.
    """
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
    return unwrapped(state)


def unwrapped(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict inside a checkpoint: averaged weights before others; without DistributedDataParallel's prefix."""
    inner = next((state[key] for key in WRAPPINGS if isinstance(state.get(key), Mapping)), state)
    return {key.removeprefix("module."): value for key, value in inner.items() if isinstance(value, Tensor)}


def spandrel_network(path: Path, architecture: str) -> nn.Module:
    """spandrel's bare network of a checkpoint, whose configuration is read off the tensors' shapes; its mode varies.

    architecture: the name of its class. Raises BadInput when the file is missing or holds another network.
    """
    from spandrel import ModelLoader, UnsupportedModelError  # here, not above: takes seconds

    state = read_state_dict(path)
    try:
        model: nn.Module = ModelLoader().load_from_state_dict(state).model
    except (UnsupportedModelError, RuntimeError) as error:
        raise BadInput(f"{path}: expected the weights of {architecture}, found other tensors: {error}") from error
    if type(model).__name__ != architecture:
        raise BadInput(f"{path}: expected the weights of {architecture}, found those of {type(model).__name__}.")
    return model


def fill(model: nn.Module, state: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Put the tensors of `path` into a network. Raises BadInput with the first differences if they do not fit it.

    what: the network, as the message calls it.
    """
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    differences = [
        *(f"{key} {wanted[key]} is missing" for key in wanted if key not in found),
        *(f"{key} {found[key]} is not in it" for key in found if key not in wanted),
        *(f"{key} is {found[key]}, not {wanted[key]}" for key in wanted if key in found and found[key] != wanted[key]),
    ]
    if differences:
        first = "\n  ".join(differences[:SHOWN])
        raise BadInput(f"{path}: expected the weights of {what}; {len(differences)} tensors differ, first:\n  {first}")
    model.load_state_dict(dict(state))
