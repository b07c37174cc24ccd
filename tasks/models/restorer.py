"""The kind `restorer`: L1 and, where wanted, a perceptual loss, as DifFace trains its estimators."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from tasks.basics import WEIGHTS, PickedFrom
from tasks.degradation.presets import PRESETS, DegradationName
from tasks.metrics.perceptual import perceptual_module
from tasks.models.kind import Batch, OneLoss, degraded, one_pass, restoration_scores
from tasks.models.networks import RESTORERS
from tasks.store.artifact import ImageFolder
from tasks.training import losses
from tasks.training.network import Objective


class RestorerTraining(OneLoss):
    """A restorer by L1 and, where wanted, a perceptual loss: DifFace's estimators."""

    kind: Literal["restorer"]
    arch: Annotated[Literal["swinir", "swinir128", "srcnn"], PickedFrom(RESTORERS)]
    degradation: DegradationName
    lambda_lpips: NonNegativeFloat = 0.0
    perceptual: Literal["lpips", "lpips_seeded"] = "lpips"

    def build(self) -> nn.Module:
        return RESTORERS[self.arch].build(self.seed)

    def read(self, photos: ImageFolder, targets: ImageFolder | None, ids: Sequence[str], name: str) -> Batch:
        return degraded(PRESETS[self.degradation], photos, targets, ids, self.seed, name)

    def objective(self, device: torch.device) -> Objective:
        if not self.lambda_lpips:
            return lambda run, lq, hq: losses.l1(run(lq), hq)
        perceptual, weight = perceptual_module(self.perceptual, WEIGHTS).to(device), self.lambda_lpips

        def l1_and_perceptual(run: Callable[[Tensor], Tensor], lq: Tensor, hq: Tensor) -> Tensor:
            output = run(lq)
            return losses.l1(output, hq) + weight * perceptual(output, hq).mean()

        return l1_and_perceptual

    def measured(self, model: nn.Module, held_out: Batch, device: torch.device) -> dict[str, float]:
        return restoration_scores(partial(one_pass, model), held_out, device, self.micro_batch or self.batch)

    def save(self, model: nn.Module, path: Path) -> None:
        RESTORERS[self.arch].save(model, path)
