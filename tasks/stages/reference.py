"""Stage `reference`: what the metrics of whole sets (FID, precision, recall) need to know of the set compared with."""

from __future__ import annotations

import json
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
from tasks.store import WEIGHTS, ImageFolder, Manifest, write_json

if TYPE_CHECKING:
    from tasks.params import EvaluateParams

BATCH = 16


@stage
def reference(out: Path, params: EvaluateParams, record: Manifest, images: ImageFolder, **weights: Path) -> None:
    """Write <family>.npz (statistics) and, for precision and recall, <family>.npy (features), for each set metric.

    A metric that cannot be computed stands in absent.json {metric: reason} instead.
    """
    features: dict[str, torch.Tensor] = {}
    absent: dict[str, str] = {}
    with held_device() as device:
        for name in params.metrics:
            try:
                scorer = build(name, WEIGHTS, device)
                assert isinstance(scorer, SetScorer)
                if scorer.family not in features:
                    features[scorer.family] = features_of(scorer, images)
                found = scorer.reference(features[scorer.family], f"{len(images.ids)} images")
            except Unavailable as reason:
                absent[name] = str(reason)
                continue
            found.statistics.save(out / f"{scorer.family}.npz")
            if found.features is not None:
                np.save(out / f"{scorer.family}.npy", found.features.numpy())
    write_json(out / "absent.json", absent)


def features_of(scorer: SetScorer, images: ImageFolder) -> torch.Tensor:
    """[N, D] float32 on the CPU."""
    ids = list(batches(images.ids, BATCH))
    reader = read_ahead(images.batch, ids)
    return torch.cat([scorer.features(next(reader)).float().cpu() for _ in track(ids, "reference (batches)")])


def load(folder: ImageFolder, scorer: SetScorer) -> ReferenceSet:
    """What `reference` wrote for a metric. Raises Unavailable with its reason where that is nothing."""
    if reason := json.loads(folder.path("absent.json").read_text(encoding="utf-8")).get(scorer.metric):
        raise Unavailable(reason)
    features = torch.from_numpy(np.load(folder.path(f"{scorer.family}.npy"))) if scorer.needs_features else None
    return ReferenceSet(FeatureStatistics.load(folder.path(f"{scorer.family}.npz")), features)
