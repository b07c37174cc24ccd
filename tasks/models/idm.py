"""The kind `idm`: a clean image from a degraded and a noised one, L1 (Zhao et al., Eq. 7).

The first model learns from the photos as they are; it then cleans them (extrinsic iteration), and the second model,
which starts from the first, learns to make the cleaned photos from the same degraded ones. Published: batch 32, 100,000
iterations, a constant learning rate.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tasks.degradation.presets import PRESETS, DegradationName
from tasks.methods import idm
from tasks.models.kind import Batch, OneLoss, degraded, restoration_scores
from tasks.noise import ImageStreams, numpy_stream
from tasks.store.artifact import ImageFolder
from tasks.training.network import Objective
from tasks.weights.seeding import initial_weights


class IdmTraining(OneLoss):
    """IDM: its first model, or the second, which makes cleaned photos from the degraded ones."""

    kind: Literal["idm"]
    arch: idm.IdmName
    degradation: DegradationName
    predicts: idm.Target = Field(
        default="clean", description="clean: Eq. 7; noise: Eq. 6, published with 1000000 steps"
    )

    def build(self) -> nn.Module:
        with initial_weights(self.seed):
            return idm.IdmNetwork(idm.NETWORKS[self.arch])

    def read(self, photos: ImageFolder, targets: ImageFolder | None, ids: Sequence[str], name: str) -> Batch:
        lq, target = degraded(PRESETS[self.degradation], photos, targets, ids, self.seed, name)
        return lq, target, *draw_noise(target, self.seed, name)

    def objective(self, device: torch.device) -> Objective:
        return clean_image_l1 if self.predicts == "clean" else noise_l1

    def measured(self, model: nn.Module, held_out: Batch, device: torch.device) -> dict[str, float]:
        run = partial(restored, idm.clean_of(model, self.predicts), self.seed)
        return restoration_scores(run, held_out, device, self.micro_batch or self.batch)


def clean_image_l1(network: Callable[..., Tensor], lq: Tensor, target: Tensor, gamma: Tensor, eps: Tensor) -> Tensor:
    """Mean absolute error of the predicted clean image. lq, target: [B, 3, H, W] in [0, 1]; gamma [B]; eps."""
    x, y_0 = 2 * lq - 1, 2 * target - 1
    return idm.distance(network(x, idm.noised(y_0, gamma, eps), gamma), y_0, 1)


def noise_l1(network: Callable[..., Tensor], lq: Tensor, target: Tensor, gamma: Tensor, eps: Tensor) -> Tensor:
    """Eq. 6: mean absolute error of the predicted noise; arguments as of `clean_image_l1`."""
    x, y_0 = 2 * lq - 1, 2 * target - 1
    return idm.distance(network(x, idm.noised(y_0, gamma, eps), gamma), eps, 1)


def draw_noise(target: Tensor, seed: int, name: str) -> tuple[Tensor, Tensor]:
    """Noise levels gamma [B] and noise like the target, from the stream `name`."""
    rng = numpy_stream(seed, "train_idm", name)
    level = torch.from_numpy(rng.integers(1, len(idm.training_levels()), len(target)))
    gamma = idm.gamma_between(level, torch.from_numpy(rng.random(len(target))))
    return gamma, torch.from_numpy(rng.standard_normal(tuple(target.shape), dtype="float32"))


def restored(
    predict: idm.Predict, seed: int, rows: Tensor, lq: Tensor, hq: Tensor, *noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Held-out photos, restored in IDM's 10 steps; rows: their numbers, which key the noise."""
    streams = ImageStreams(seed, "held_out", [str(n) for n in rows.tolist()], lq.device)
    return lq, idm.restore(predict, idm.sampling_levels(10), lq, lambda: streams.normal(*lq.shape[1:])), hq
