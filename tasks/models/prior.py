"""The kind `prior`: the diffusion prior, from photos alone."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from tasks.diffusion.priors import PRIORS, PriorName
from tasks.diffusion.unet import UNet
from tasks.models.kind import Batch, OneLoss
from tasks.store.artifact import ImageFolder
from tasks.training import prior
from tasks.training.network import Objective
from tasks.weights.seeding import initial_weights


class PriorTraining(OneLoss):
    """The diffusion prior."""

    kind: Literal["prior"]
    arch: PriorName

    def build(self) -> nn.Module:
        with initial_weights(self.seed):
            return UNet(PRIORS[self.arch])

    def read(self, photos: ImageFolder, targets: ImageFolder | None, ids: Sequence[str], name: str) -> Batch:
        return prior.draw(photos.batch(ids), self.seed, name)

    def objective(self, device: torch.device) -> Objective:
        return prior.objective

    def measured(self, model: nn.Module, held_out: Batch, device: torch.device) -> dict[str, float]:
        x_start, t, noise = held_out
        return {"noise_mse": prior.noise_mse(model, (x_start, t, noise), device, self.micro_batch or self.batch)}
