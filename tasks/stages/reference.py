"""Stage `reference`: what the metrics of whole sets (FID, precision, recall) need to know of the set compared with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from tasks.device import held_device
from tasks.metrics.distribution import FeatureStatistics, ReferenceSet, SetScorer
from tasks.metrics.offline import Unavailable
from tasks.metrics.registry import build
from tasks.progress import track
from tasks.read_ahead import read_ahead
from tasks.stage import batches, stage
from tasks.store import WEIGHTS, ImageFolder, Manifest

if TYPE_CHECKING:
    from tasks.params import EvaluateParams

BATCH = 16


@stage
def reference(out: Path, params: EvaluateParams, record: Manifest, images: ImageFolder, **weights: Path) -> None:
    """Write <family>.npz (statistics) and, for precision and recall, <family>.npy (features), for each set metric.

    A metric that cannot be computed has none; `evaluate` says why.
    """
    with held_device() as device:
        for name in params.metrics:
            try:
                scorer = build(name, WEIGHTS, device)
                assert isinstance(scorer, SetScorer)
                features = features_of(scorer, images)
                found = scorer.reference(features, f"{len(images.ids)} images")
            except Unavailable:
                continue
            found.statistics.save(out / f"{scorer.family}.npz")
            if found.features is not None:
                np.save(out / f"{scorer.family}.npy", found.features.numpy())


def features_of(scorer: SetScorer, images: ImageFolder) -> torch.Tensor:
    """[N, D] float32 on the CPU."""
    ids = list(batches(images.ids, BATCH))
    reader = read_ahead(images.batch, ids)
    return torch.cat([scorer.features(next(reader)).float().cpu() for _ in track(ids, "reference (batches)")])


def load(folder: ImageFolder, scorer: SetScorer) -> ReferenceSet:
    """What `reference` wrote for a metric."""
    features = torch.from_numpy(np.load(folder.path(f"{scorer.family}.npy"))) if scorer.needs_features else None
    return ReferenceSet(FeatureStatistics.load(folder.path(f"{scorer.family}.npz")), features)
