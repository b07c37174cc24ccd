"""Stage `reference`: what the metrics of whole sets (FID, KID …) need to know of the set that they compare with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt

from tasks.basics import WEIGHTS, BadInput, Strict
from tasks.metrics.metric import SetMetric, SetScorer
from tasks.metrics.registry import MetricName, find
from tasks.metrics.sets import FeatureStatistics, ReferenceSet, feature_statistics, statistics_of_others
from tasks.running.batching import batch_size
from tasks.running.device import held_device
from tasks.running.read_ahead import read_ahead
from tasks.running.shards import batches, shards
from tasks.running.stage import shared_stage
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import read_json, write_json
from tasks.weights.file import Unavailable


class ReferenceParams(Strict):
    """Stage `reference`: a set that whole sets are compared with. count: of its images, for a file of statistics."""

    label: str
    metrics: tuple[MetricName, ...]
    count: PositiveInt | None = None


BATCH = 16
SHARD = 256


@shared_stage
def reference(
    out: Path,
    params: ReferenceParams,
    record: Manifest,
    images: ImageFolder | None = None,
    statistics: Path | None = None,
    **weights: Path,
) -> None:
    """Describe a set, given as images, or for FID alone as a file of statistics that exists already.

    By the name of the features: writes <name>.npz (statistics, which pytorch-fid reads too), where a metric needs them
    <name>.npy (features), card.json {label, count, digests: {name: SHA-256}}, and absent.json {metric: why it cannot be
    computed}.
    """
    metrics = [_of_sets(name) for name in params.metrics]
    absent: dict[str, str] = {}
    found: dict[str, ReferenceSet] = {}
    if statistics is not None:
        if params.count is None:
            raise BadInput(f"{statistics}: how many images is it of? Say it as `count` of this reference.")
        known = ReferenceSet(statistics_of_others(statistics, params.label, params.count))
        found = {known.statistics.metric: known}
        reason = f"{params.label} is known by its FID statistics alone"
        absent = {m.name: reason for m in metrics if m.needs_features or m.features.name not in found}
    elif images is not None:
        found = describe(images, params.label, metrics, record, absent)
    for name, described in found.items():
        described.statistics.save(out / f"{name}.npz")
        if described.features is not None:
            np.save(out / f"{name}.npy", described.features.numpy())
    count = len(images.ids) if images else params.count
    digests = {name: described.statistics.digest for name, described in found.items()}
    write_json(out / "card.json", {"label": params.label, "count": count, "digests": digests})
    write_json(out / "absent.json", absent)


def describe(
    images: ImageFolder, label: str, metrics: list[SetMetric], record: Manifest, absent: dict[str, str]
) -> dict[str, ReferenceSet]:
    """By the name of the features; notes in `absent` what cannot be computed."""
    scorers: dict[str, SetScorer] = {}
    with held_device() as device:
        for metric in metrics:
            try:
                if metric.features.name not in scorers:
                    scorers[metric.features.name] = metric.build(WEIGHTS, device)
            except Unavailable as reason:
                absent[metric.name] = str(reason)

        def measure(folder: Path, ids: list[str]) -> None:
            size = min(BATCH, batch_size(device, images.side))
            found: dict[str, list[torch.Tensor]] = {name: [] for name in scorers}
            for batch in read_ahead(images.batch, list(batches(ids, size))):
                for name, scorer in scorers.items():
                    found[name].append(scorer.features(batch).float().cpu())
            save_features(folder, found)

        parts = [folder for _, folder in shards(record, images, SHARD, measure)]
    found: dict[str, ReferenceSet] = {}
    for name in scorers:
        users = [metric for metric in metrics if metric.features.name == name]
        features = load_features(parts, name)
        try:
            statistics = feature_statistics([features], name, label)
            found[name] = ReferenceSet(statistics, features if any(m.needs_features for m in users) else None)
        except Unavailable as reason:
            absent.update({metric.name: str(reason) for metric in users})
    return found


def _of_sets(name: str) -> SetMetric:
    metric = find(name)
    assert isinstance(metric, SetMetric), f"{name} compares no sets"
    return metric


def save_features(folder: Path, features: Mapping[str, list[torch.Tensor]]) -> None:
    """Write features [N, D], given in batches, as <their name>.npy."""
    for name, found in features.items():
        np.save(folder / f"{name}.npy", torch.cat(found).numpy())


def load_features(parts: list[Path], name: str) -> torch.Tensor:
    """[N, D] of all shards, as `save_features` wrote them."""
    return torch.from_numpy(np.concatenate([np.load(folder / f"{name}.npy") for folder in parts]))


def load(folder: ImageFolder, metric: SetMetric) -> ReferenceSet:
    """What `reference` wrote for a metric. Raises Unavailable with its reason where that is nothing."""
    if reason := read_json(folder.path("absent.json")).get(metric.name):
        raise Unavailable(reason)
    name = metric.features.name
    features = torch.from_numpy(np.load(folder.path(f"{name}.npy"))) if metric.needs_features else None
    return ReferenceSet(FeatureStatistics.load(folder.path(f"{name}.npz")), features)


def card(folder: ImageFolder, metric: SetMetric) -> dict[str, Any]:
    """{label, count, digest}: which set a metric compares with."""
    about = read_json(folder.path("card.json"))
    return {"label": about["label"], "count": about["count"], "digest": about["digests"][metric.features.name]}
