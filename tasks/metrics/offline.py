"""Weight files of the metric libraries, found on disk and never downloaded: one folder, laid out as TORCH_HOME."""

import pickle
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from tasks.store import BadInput

_REPLACING = threading.Lock()


class Unavailable(BadInput):
    """A metric cannot be computed here. The message says why and what to do; a report shows it in place of numbers."""


class MissingPackage(Unavailable):
    """A metric's library is not installed."""


class MissingWeights(Unavailable):
    """A metric's weight file is not in the weights folder."""


@dataclass(frozen=True)
class WeightFile:
    """A file of trained weights.

    place: its path below the weights folder; sha256: of its contents, or the first digits, where they are known.
    """

    place: str
    url: str
    licence: str
    sha256: str = ""

    def find(self, weights_dir: Path, metric: str) -> Path:
        """Where the file is. Raises MissingWeights (with its source and licence, for `metric`) when it is not there."""
        path = Path(weights_dir) / self.place
        if not path.is_file():
            raise MissingWeights(
                f"{path} is missing (needed by {metric}).\n"
                f"Download it from {self.url} ({self.licence}) and put it there."
            )
        return path


VGG16 = WeightFile(
    "hub/checkpoints/vgg16-397923af.pth",
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "torchvision, BSD-3-Clause",
    sha256="397923af",
)
INCEPTION = WeightFile(
    "hub/checkpoints/pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    "pytorch-fid, Apache-2.0",
    sha256="6726825d",
)


def _pyiqa_file(name: str, licence: str) -> WeightFile:
    url = f"https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/{name}"
    return WeightFile(f"hub/pyiqa/{name}", url, licence)


MUSIQ_KONIQ = _pyiqa_file("musiq_koniq_ckpt-e95806b9.pth", "MUSIQ, Apache-2.0")
MANIQA_PIPAL = _pyiqa_file("MANIQA_PIPAL-ae6d356b.pth", "MANIQA, Apache-2.0")
MANIQA_KONIQ = _pyiqa_file("ckpt_koniq10k.pt", "MANIQA, Apache-2.0")
NIQE_PARAMETERS = _pyiqa_file("niqe_modelparameters.mat", "research parameters of the authors of NIQE")
NRQM_MODEL = _pyiqa_file("NRQM_model.mat", "research parameters of the authors of NRQM")
NIMA_AVA = _pyiqa_file("NIMA_InceptionV2_ava-b0c77c00.pth", "NIMA, Apache-2.0")
ARCFACE18 = WeightFile(
    "hub/checkpoints/arcface_resnet18.pth",
    "https://github.com/TencentARC/GFPGAN/releases/download/v0.1.0/arcface_resnet18.pth",
    "GFPGAN release, Apache-2.0",
)
FAN98 = WeightFile(
    "hub/checkpoints/alignment_WFLW_4HG.pth",
    "https://github.com/xinntao/facexlib/releases/download/v0.1.0/alignment_WFLW_4HG.pth",
    "facexlib, Apache-2.0",
)


@contextmanager
def blamed(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is read and put into its network into a BadInput that names the file."""
    try:
        yield
    except (OSError, EOFError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        raise BadInput(
            f"{path} does not hold the expected weights, or only a part of them ({type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}).\nDelete it and download it again."
        ) from error


def load_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint on the CPU, unwrapped from {"params": ...} and freed from the prefix "module."."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = state.get("params", state)
    return {key.removeprefix("module."): value for key, value in state.items()}


@contextmanager
def constructing() -> Iterator[None]:
    """While a library builds a network: the global generator stays as it was, deprecation warnings stay inside."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
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
