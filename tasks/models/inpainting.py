"""The kind `inpainting`: LaMa by a weighted L1 on DifFace's mixture of masks, its estimator for inpainting."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from tasks.degradation.masks import training_mask
from tasks.models.kind import Batch, OneLoss, mirrored, restoration_scores, stacked
from tasks.pixels import to_tensor
from tasks.restorers import lama
from tasks.store.artifact import ImageFolder
from tasks.training import losses
from tasks.training.network import Objective

NETWORKS = {"lama": lama.OFFICIAL, "lama128": lama.DEMO}


class InpaintingTraining(OneLoss):
    """LaMa by a weighted L1, on DifFace's mixture of masks: its estimator for inpainting."""

    kind: Literal["inpainting"]
    arch: Literal["lama", "lama128"]

    def build(self) -> nn.Module:
        return lama.build(NETWORKS[self.arch], self.seed)

    def read(self, photos: ImageFolder, targets: ImageFolder | None, ids: Sequence[str], name: str) -> Batch:
        pairs = []
        for image_id in ids:
            (photo,), rng = mirrored([photos], image_id, self.seed, name)
            mask = training_mask(photo.shape[0], rng)
            pairs.append((to_tensor(photo), torch.from_numpy(mask[None].astype("float32"))))
        return stacked(pairs)

    def objective(self, device: torch.device) -> Objective:
        return lambda run, hq, mask: losses.inpainting_l1(run(lama.masked(hq, mask)), hq, mask)

    def measured(self, model: nn.Module, held_out: Batch, device: torch.device) -> dict[str, float]:
        return restoration_scores(partial(filled, model), held_out, device, self.micro_batch or self.batch)


def filled(model: nn.Module, rows: Tensor, hq: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Photos with holes, filled, and whole."""
    lq = hq * (1 - mask)
    return lq, lama.estimate(model, lq, mask) * mask + lq, hq
