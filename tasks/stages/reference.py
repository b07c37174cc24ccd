"""Stage `reference`: what the metrics of whole sets (FID, precision, recall) need to know of the set compared with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import (
    PositiveInt,
)

from tasks.basics import WEIGHTS, BadInput, Strict
from tasks.metrics.distribution import FeatureStatistics, ReferenceSet, SetScorer, statistics_of_others
from tasks.metrics.registry import MetricName, build
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

    Writes <family>.npz (statistics, which pytorch-fid reads too), for precision and recall <family>.npy (features),
    card.json {label, count, digests: {family: SHA-256}}, and absent.json {metric: why it cannot be computed}.
    """
    absent: dict[str, str] = {}
    found: dict[str, ReferenceSet] = {}
    if statistics is not None:
        if params.count is None:
            raise BadInput(f"{statistics}: how many images is it of? Say it as `count` of this reference.")
        found["fid"] = ReferenceSet(statistics_of_others(statistics, params.label, params.count))
        reason = f"{params.label} is known by its FID statistics alone"
        absent = {name: reason for name in params.metrics if name != "fid"}
    elif images is not None:
        found = describe(images, params, record, absent)
    for family, described in found.items():
        described.statistics.save(out / f"{family}.npz")
        if described.features is not None:
            np.save(out / f"{family}.npy", described.features.numpy())
    count = len(images.ids) if images else params.count
    digests = {family: described.statistics.digest for family, described in found.items()}
    write_json(out / "card.json", {"label": params.label, "count": count, "digests": digests})
    write_json(out / "absent.json", absent)


def describe(
    images: ImageFolder, params: ReferenceParams, record: Manifest, absent: dict[str, str]
) -> dict[str, ReferenceSet]:
    """By family; notes in `absent` what cannot be computed."""
    scorers: dict[str, SetScorer] = {}
    with held_device() as device:
        for name in params.metrics:
            try:
                scorer = build(name, WEIGHTS, device)
                assert isinstance(scorer, SetScorer)
                scorers[name] = scorer
            except Unavailable as reason:
                absent[name] = str(reason)
        families = {scorer.family: scorer for scorer in scorers.values()}

        def measure(folder: Path, ids: list[str]) -> None:
            size = min(BATCH, batch_size(device, images.side))
            found: dict[str, list[torch.Tensor]] = {family: [] for family in families}
            for batch in read_ahead(images.batch, list(batches(ids, size))):
                for family, scorer in families.items():
                    found[family].append(scorer.features(batch).float().cpu())
            save_features(folder, found)

        parts = [folder for _, folder in shards(record, images, SHARD, measure)]
    found: dict[str, ReferenceSet] = {}
    for name, scorer in scorers.items():
        if scorer.family not in found or scorer.needs_features:
            try:
                found[scorer.family] = scorer.reference(load_features(parts, scorer.family), params.label)
            except Unavailable as reason:
                absent[name] = str(reason)
    return found


def save_features(folder: Path, features: Mapping[str, list[torch.Tensor]]) -> None:
    """Write features [N, D], given in batches, as <family>.npy."""
    for family, found in features.items():
        np.save(folder / f"{family}.npy", torch.cat(found).numpy())


def load_features(parts: list[Path], family: str) -> torch.Tensor:
    """[N, D] of all shards, as `save_features` wrote them."""
    return torch.from_numpy(np.concatenate([np.load(folder / f"{family}.npy") for folder in parts]))


def load(folder: ImageFolder, scorer: SetScorer) -> ReferenceSet:
    """What `reference` wrote for a metric. Raises Unavailable with its reason where that is nothing."""
    if reason := read_json(folder.path("absent.json")).get(scorer.metric):
        raise Unavailable(reason)
    features = torch.from_numpy(np.load(folder.path(f"{scorer.family}.npy"))) if scorer.needs_features else None
    return ReferenceSet(FeatureStatistics.load(folder.path(f"{scorer.family}.npz")), features)


def card(folder: ImageFolder, scorer: SetScorer) -> dict[str, Any]:
    """{label, count, digest}: which set a metric compares with."""
    about = read_json(folder.path("card.json"))
    return {"label": about["label"], "count": about["count"], "digest": about["digests"][scorer.family]}
