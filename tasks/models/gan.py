"""The kind `restorer_gan`: a SwinIR against a discriminator, as DT-BFR trains it before it is adapted."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from torch import nn

from tasks.basics import PickedFrom
from tasks.degradation.presets import PRESETS, DegradationName
from tasks.models.kind import Batch, Kind, degraded, one_pass, restoration_scores
from tasks.models.networks import RESTORERS
from tasks.store.artifact import ImageFolder
from tasks.training import swinir_gan
from tasks.training.loop import Session
from tasks.training.swinir_gan import Adversarial, GanLosses


class GanTraining(Adversarial, Kind):
    """A SwinIR by L1, a perceptual loss and a discriminator: DT-BFR's. Its networks are not averaged.

    The discriminator's real photos are the batch's own.
    """

    kind: Literal["restorer_gan"]
    arch: Annotated[Literal["swinir", "swinir128"], PickedFrom(RESTORERS)]
    degradation: DegradationName
    losses: ClassVar[tuple[str, ...]] = GanLosses._fields

    def build(self) -> nn.Module:
        return RESTORERS[self.arch].build(self.seed)

    def read(self, photos: ImageFolder, targets: ImageFolder | None, ids: Sequence[str], name: str) -> Batch:
        return degraded(PRESETS[self.degradation], photos, targets, ids, self.seed, name)

    def train(self, model: nn.Module, batch_at: Callable[[int], Batch], session: Session) -> nn.Module:
        def with_real(step: int) -> swinir_gan.Batch:
            lq, hq = batch_at(step)
            return lq, hq, hq

        return self.train_restorer(model, with_real, self.seed, session)

    def measured(self, model: nn.Module, held_out: Batch, device: torch.device) -> dict[str, float]:
        return restoration_scores(partial(one_pass, model), held_out, device, self.micro_batch)

    def save(self, model: nn.Module, path: Path) -> None:
        RESTORERS[self.arch].save(model, path)
