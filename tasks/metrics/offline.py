"""Weight files of the metric libraries, found on disk and never downloaded: one folder, laid out as TORCH_HOME."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from tasks.basics import BadInput
from tasks.weights.checkpoint import to_be_filled

_REPLACING = threading.Lock()


@contextmanager
def blamed(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is read and put into its network into a BadInput that names the file."""
    try:
        yield
    except (OSError, KeyError, RuntimeError) as error:
        raise BadInput(
            f"{path} does not hold the expected weights, or only a part of them ({type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}).\nDelete it and download it again."
        ) from error


@contextmanager
def constructing() -> Iterator[None]:
    """While a library builds a network that is filled next: the global generator stays as it was, deprecation warnings
    stay inside, and no first weights are drawn."""
    with torch.random.fork_rng(devices=[]), to_be_filled(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    """While the block runs, `module.name` is `value`: for libraries whose download cannot be switched off."""
    with _REPLACING:
        original = getattr(module, name)
        setattr(module, name, value)
        try:
            yield
        finally:
            setattr(module, name, original)
