"""All restoration methods behind one interface: LQ images in, restored images out.

A new method is one entry of `RESTORERS`: a function from its spec and a device to an object with `restore`.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from tasks.restorers import lama, official, srcnn, swinir
from tasks.store import BadInput


class Restorer(Protocol):
    """A restoration method, loaded and on its device."""

    def restore(self, lq: Tensor, image_ids: Sequence[str]) -> Tensor:
        """lq: [N, 3, H, W] float32 in [0, 1], on the restorer's device; the same back.

        image_ids: N stable names; a method that draws noise takes each image's stream from its name, so that the
        result of an image does not depend on its batch.
        """
        ...


@dataclass(frozen=True)
class RestorerSpec:
    """Which method, with which weights.

    arch: a key of `RESTORERS`; weights: its file, None for one without weights; fidelity: CodeFormer's w.
    """

    arch: str
    weights: Path | None = None
    fidelity: float = 0.5


@dataclass(frozen=True)
class FeedForward:
    """A restorer that is one deterministic function of the images."""

    run: Callable[[Tensor], Tensor]

    def restore(self, lq: Tensor, image_ids: Sequence[str]) -> Tensor:
        return self.run(lq)


def load_restorer(spec: RestorerSpec, device: torch.device) -> Restorer:
    """The restorer that `spec` describes, on `device`.

    Raises BadInput for an unknown method, and for weights that are missing or belong to another network.
    """
    if spec.arch not in RESTORERS:
        near = difflib.get_close_matches(spec.arch, RESTORERS, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise BadInput(f"restorer '{spec.arch}' is unknown.{hint} Valid: {', '.join(RESTORERS)}.")
    return RESTORERS[spec.arch](spec, device)


def _weights(spec: RestorerSpec) -> Path:
    if spec.weights is None:
        raise BadInput(f"restorer '{spec.arch}' needs weights, found none. Name their file in the restorer's settings.")
    return spec.weights


def _identity(spec: RestorerSpec, device: torch.device) -> Restorer:
    """The LQ image as it is: the table's baseline row."""
    return FeedForward(torch.Tensor.clone)


def _swinir(spec: RestorerSpec, device: torch.device) -> Restorer:
    return FeedForward(partial(swinir.restore, swinir.load(_weights(spec)).to(device)))


def _srcnn(spec: RestorerSpec, device: torch.device) -> Restorer:
    return FeedForward(partial(srcnn.restore, srcnn.load(_weights(spec)).to(device)))


def _lama(spec: RestorerSpec, device: torch.device) -> Restorer:
    return FeedForward(partial(lama.restore, lama.load(_weights(spec)).to(device)))


def _gfpgan(spec: RestorerSpec, device: torch.device) -> Restorer:
    return FeedForward(partial(official.gfpgan, official.load(_weights(spec), "GFPGANv1Clean").to(device)))


def _restoreformer(spec: RestorerSpec, device: torch.device) -> Restorer:
    return FeedForward(partial(official.restoreformer, official.load(_weights(spec), "RestoreFormer").to(device)))


def _codeformer(spec: RestorerSpec, device: torch.device) -> Restorer:
    model = official.load_codeformer(_weights(spec)).to(device)
    return FeedForward(partial(official.codeformer, model, fidelity=spec.fidelity))


RESTORERS: dict[str, Callable[[RestorerSpec, torch.device], Restorer]] = {
    "identity": _identity,
    "swinir": _swinir,
    "srcnn": _srcnn,
    "lama": _lama,
    "gfpgan": _gfpgan,
    "restoreformer": _restoreformer,
    "codeformer": _codeformer,
}
