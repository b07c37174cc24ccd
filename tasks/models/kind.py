"""What a kind of training declares: its settings, network, batches, loss and scores.

A kind is one file here, and one entry of `AnyTraining` in tasks/models/table.py.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from tasks.degradation.preset import Preset
from tasks.metrics.full_reference import psnr
from tasks.metrics.perceptual import lpips_seeded
from tasks.noise import numpy_stream
from tasks.pixels import to_tensor
from tasks.store.artifact import ImageFolder
from tasks.training import network
from tasks.training.loop import Session, Steps, batch_indices
from tasks.weights.checkpoint import write_state_dict

Batch = tuple[Tensor, ...]
"""Tensors of the same first size, on the CPU."""


class Kind(Steps):
    """Settings of a training, which say how it is done. losses: names of those that a step gives."""

    kind: str
    arch: str
    seed: int
    losses: ClassVar[tuple[str, ...]] = ("loss",)

    def build(self) -> nn.Module:
        """The network with its first weights, which depend on the seed alone."""
        raise NotImplementedError

    def read(self, photos: ImageFolder, targets: ImageFolder | None, ids: Sequence[str], name: str) -> Batch:
        """Photos, mirrored at random, and what is drawn for them, as the loss takes it.

        targets: what is to be made of the photos, by the same ids; default: the photos; name: of the random streams:
        each photo's degradation has one of its own, the batch's noise another.
        """
        raise NotImplementedError

    def batches(self, photos: ImageFolder, targets: ImageFolder | None, ids: Sequence[str]) -> Callable[[int], Batch]:
        """The batch of step s (from 0) of a training on these ids."""

        def batch_at(step: int) -> Batch:
            chosen = [ids[n] for n in batch_indices(self.seed, len(ids), self.batch, step)]
            return self.read(photos, targets, chosen, str(step))

        return batch_at

    def train(self, model: nn.Module, batch_at: Callable[[int], Batch], session: Session) -> nn.Module:
        """Train `model` in place; returns what is to be used, which may be an average of its states."""
        raise NotImplementedError

    def scores(self, model: nn.Module, held_out: Batch, device: torch.device) -> dict[str, float]:
        """What the network reaches on a batch of held-out photos. Leaves its mode as it was."""
        is_training = model.training
        with torch.no_grad():
            found = self.measured(model.eval(), held_out, device)
        model.train(is_training)
        return found

    def measured(self, model: nn.Module, held_out: Batch, device: torch.device) -> dict[str, float]:
        """The scores by name; the model is in evaluation mode."""
        raise NotImplementedError

    def save(self, model: nn.Module, path: Path) -> None:
        """Write its weights in the official key layout."""
        write_state_dict(path, model.state_dict())


class OneLoss(Kind, network.Recipe):
    """A kind whose network is trained alone, by one loss."""

    def objective(self, device: torch.device) -> network.Objective:
        """The loss of one batch, as `read` makes it."""
        raise NotImplementedError

    def train(self, model: nn.Module, batch_at: Callable[[int], Batch], session: Session) -> nn.Module:
        return network.train(model, self.objective(session.device), batch_at, self, self.seed, session)


# ------------------------------------------------------------------------------- what several kinds do


def mirrored(
    folders: Sequence[ImageFolder], image_id: str, seed: int, name: str
) -> tuple[list[np.ndarray], np.random.Generator]:
    """A photo of every folder, uint8 [H, W, 3], all mirrored or none, and the stream that goes on drawing for it."""
    rng = numpy_stream(seed, "train_restorer", f"{name}/{image_id}")
    images = [folder.read(image_id) for folder in folders]
    if rng.random() < 0.5:
        images = [np.ascontiguousarray(image[:, ::-1]) for image in images]
    return images, rng


def degraded(
    preset: Preset, photos: ImageFolder, targets: ImageFolder | None, ids: Sequence[str], seed: int, name: str
) -> tuple[Tensor, Tensor]:
    """LQ photos and what is to be made of them, each [B, 3, H, W] in [0, 1]. See `Kind.read`."""
    pairs = []
    for image_id in ids:
        (photo, *target), rng = mirrored([photos, targets] if targets else [photos], image_id, seed, name)
        lq, hq = preset.training_pair(photo, rng)
        pairs.append((to_tensor(lq), to_tensor(target[0] if target else hq)))
    return stacked(pairs)


def stacked(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Pairs as one batch."""
    first, second = zip(*pairs, strict=True)
    return torch.stack(first), torch.stack(second)


def restoration_scores(
    run: Callable[..., tuple[Tensor, Tensor, Tensor]], held_out: Batch, device: torch.device, images: int
) -> dict[str, float]:
    """PSNR and LPIPS (seeded) of input and output, `images` at a time.

    run: the numbers of some photos and their parts of the batch, on the device, to input, output and ground truth.
    """
    found: dict[str, list[Tensor]] = {}
    perceptual = lpips_seeded().to(device)
    for rows in torch.arange(len(held_out[0])).split(images):
        lq, output, hq = run(rows, *(part[rows].to(device) for part in held_out))
        for name, shown in (("input", lq), ("output", output)):
            found.setdefault(f"psnr_{name}", []).append(psnr(shown, hq))
            found.setdefault(f"lpips_seeded_{name}", []).append(perceptual(shown, hq))
    return {name: float(torch.cat(parts).mean()) for name, parts in found.items()}


def one_pass(model: nn.Module, rows: Tensor, lq: Tensor, hq: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The `run` of a feed-forward restorer."""
    return lq, model(lq).clamp(0, 1), hq
