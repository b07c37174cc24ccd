"""Stages `measure` and `evaluate`: every metric of the methods' images, per image and over the set.

`evaluate` scores one method. `measure`, before it, does the work for all methods of a table in one pass, so that each
original is read, and goes through the networks, once; what it leaves in the store are the shards of `evaluate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tasks.basics import WEIGHTS, BadInput, Strict
from tasks.metrics.metric import ImageMetric, ImageScorer, Metric, SetMetric, SetScorer
from tasks.metrics.registry import TableMetric, column, find
from tasks.running.batching import batch_size
from tasks.running.device import held_device
from tasks.running.progress import track
from tasks.running.read_ahead import read_ahead
from tasks.running.shards import batches, shard_of, shards
from tasks.running.stage import default_store, shared_stage
from tasks.stages import reference as reference_stage
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import read_json, write_json
from tasks.weights.file import Unavailable


class EvaluateParams(Strict):
    """Stage `evaluate`: one method's images, with or without ground truth."""

    metrics: tuple[TableMetric, ...]


Compared = tuple[ImageFolder | None, ImageFolder | None]
"""The ground truth and the LQ photos, where they are there."""

BATCH = 16
SHARD = 64
NO_TRUTH = "compares with ground truth, and these photos have none"
NO_INPUT = "compares with the LQ photos, as `bfr adapt` does"


@shared_stage
def evaluate(
    out: Path,
    params: EvaluateParams,
    record: Manifest,
    images: ImageFolder,
    hq: ImageFolder | None = None,
    lq: ImageFolder | None = None,
    **others: ImageFolder | Path,
) -> None:
    """Write scores.parquet (metric, image_id, value), set_scores.json {metric: {value, spread}}, absent.json
    {metric: reason} and references.json {metric: {label, count, digest} of the set that it compares with}.

    hq, lq: ground truth, and what was restored, with the same image ids; others: by name, what the stage `reference`
    says of the sets that whole sets are compared with; and the metrics' weight files that are there, so that the key
    covers them. A metric that needs what is missing is absent, and says why.
    """
    check_pairs(images, hq, lq)
    references = {name: folder for name, folder in others.items() if isinstance(folder, ImageFolder)}
    with held_device() as device:
        scorers = cache(partial(Scorers, params.metrics, hq is not None, lq is not None, device))

        def make(folder: Path, ids: list[str]) -> None:
            measure_shard([folder], [images], (hq, lq), ids, scorers(), device)

        parts = [folder for _, folder in shards(of_shards(record, others), images, SHARD, make, beside=(hq, lq))]
    absent: dict[str, str] = {}
    for folder in parts:
        absent |= read_json(folder / "absent.json")
    scores = pd.concat([pd.read_parquet(folder / "scores.parquet") for folder in parts])
    scores[~scores["metric"].isin(absent)].to_parquet(out / "scores.parquet", index=False)
    missing = {name: absent[column(name)[0]] for name in params.metrics if column(name)[0] in absent}
    with held_device() as device:
        set_scores, compared = compare_sets(params.metrics, references, parts, missing, device)
    write_json(out / "set_scores.json", set_scores)
    write_json(out / "references.json", compared)
    write_json(out / "absent.json", missing)


@shared_stage
def measure(out: Path, params: EvaluateParams, record: Manifest, hq: ImageFolder, **others: ImageFolder | Path) -> None:
    """Measure the images of several methods on one degradation together; write measured.json {method: images}.

    others: the methods' images by name, and the metrics' weight files. Shards that are there, or that another process
    is making, are left as they are.
    """
    methods = {name: folder for name, folder in others.items() if isinstance(folder, ImageFolder)}
    shard_record = of_shards(record, others)
    for images in methods.values():
        check_pairs(images, hq)
    with held_device() as device:
        scorers = cache(partial(Scorers, params.metrics, True, False, device))
        for ids, folders in track(list(common_shards([*methods.values()])), "measure (parts)"):
            records = [shard_of(shard_record, ids, images, (hq,)) for images in folders]
            images_of = {record.key: images for record, images in zip(records, folders, strict=True)}
            with default_store().build_together(records) as places:
                if places:
                    some = [images_of[key] for key in places]
                    measure_shard([*places.values()], some, (hq, None), ids, scorers(), device)
    write_json(out / "measured.json", {name: len(images.ids) for name, images in methods.items()})


def common_shards(methods: Sequence[ImageFolder]) -> Iterator[tuple[list[str], list[ImageFolder]]]:
    """(ids of a shard, the methods that have it): a method that lacks photos has other shards than the rest."""
    ordered = sorted(methods, key=lambda images: images.ids)
    for ids, same in groupby(ordered, key=lambda images: images.ids):
        folders = list(same)
        for some in batches(ids, SHARD):
            yield some, folders


def of_shards(record: Manifest, others: Mapping[str, ImageFolder | Path]) -> Manifest:
    """What the shards of `evaluate` depend on, but for the images: metrics, code and weight files."""
    weights = {name: sha for name, sha in record.inputs.items() if isinstance(others.get(name), Path)}
    return record.model_copy(update={"stage": evaluate.name, "inputs": weights})


def check_pairs(images: ImageFolder, *compared: ImageFolder | None) -> None:
    """Raises BadInput unless every image has what it is compared with."""
    for other in compared:
        if other is not None and not set(images.ids) <= set(other.ids):
            raise BadInput(f"{images.root} has images that {other.root} lacks; rerun their stages.")


class Scorers:
    """images: scorers of single photos, by metric; features: of whole sets, by the name of their features, which
    several metrics share; absent: why other metrics are not there."""

    def __init__(self, metrics: tuple[str, ...], has_truth: bool, has_input: bool, device: torch.device) -> None:
        self.images: dict[str, ImageScorer] = {}
        self.features: dict[str, SetScorer] = {}
        self.absent: dict[str, str] = {}
        for name in dict.fromkeys(column(metric)[0] for metric in metrics):
            metric = find(name)
            if metric.needs_truth and not has_truth:
                self.absent[name] = NO_TRUTH
                continue
            if metric.needs_input and not has_input:
                self.absent[name] = NO_INPUT
                continue
            try:
                self._add(metric, device)
            except Unavailable as reason:
                self.absent[name] = str(reason)

    def _add(self, metric: Metric, device: torch.device) -> None:
        if isinstance(metric, ImageMetric):
            self.images[metric.name] = metric.build(WEIGHTS, device)
        elif metric.features.name not in self.features:
            self.features[metric.features.name] = metric.build(WEIGHTS, device)


def measure_shard(
    folders: Sequence[Path],
    methods: Sequence[ImageFolder],
    compared: Compared,
    ids: list[str],
    scorers: Scorers,
    device: torch.device,
) -> None:
    """Fill the folder of each method, see `Measured`. Every image is read once."""
    measured = [Measured(scorers) for _ in methods]

    def read(some: list[str]) -> tuple[list[Tensor | None], list[Tensor]]:
        others = [other.batch(some) if other else None for other in compared]
        return others, [images.batch(some) for images in methods]

    size = min(BATCH, batch_size(device, methods[0].side))
    for others, batch in read_ahead(read, list(batches(ids, size))):
        truth, lq = (None if other is None else other.to(device) for other in others)
        for one, restored in zip(measured, batch, strict=True):
            one.add(restored.to(device), truth, lq)
    for one, folder in zip(measured, folders, strict=True):
        one.write(folder, ids)


class Measured:
    """Scores and features of one method's images, batch by batch.

    A metric that turns out not to be computable is noted as absent, and left out from then on.
    """

    def __init__(self, scorers: Scorers) -> None:
        self.scorers = scorers
        self.values: dict[str, list[float]] = {name: [] for name in scorers.images}
        self.features: dict[str, list[Tensor]] = {name: [] for name in scorers.features}
        self.absent = dict(scorers.absent)

    def add(self, restored: Tensor, truth: Tensor | None, lq: Tensor | None) -> None:
        """[N, 3, H, W] in [0, 1], its ground truth, and what it was restored from."""
        for name, scorer in self.scorers.images.items():
            if name not in self.absent:
                try:
                    self.values[name] += scorer(restored, lq if scorer.metric.needs_input else truth).tolist()
                except Unavailable as reason:
                    self.absent[name] = str(reason)
        for name, extractor in self.scorers.features.items():
            self.features[name].append(extractor.features(restored).float().cpu())

    def write(self, folder: Path, ids: list[str]) -> None:
        """scores.parquet, features [N, D] as <their name>.npy, and absent.json."""
        rows = [
            (name, image_id, value)
            for name, found in self.values.items()
            if name not in self.absent
            for image_id, value in zip(ids, found, strict=True)
        ]
        frame = pd.DataFrame(rows, columns=["metric", "image_id", "value"])
        frame.astype({"metric": str, "image_id": str, "value": float}).to_parquet(
            folder / "scores.parquet", index=False
        )
        reference_stage.save_features(folder, self.features)
        write_json(folder / "absent.json", self.absent)


def compare_sets(
    metrics: tuple[str, ...],
    references: dict[str, ImageFolder],
    parts: list[Path],
    absent: dict[str, str],
    device: torch.device,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores of the set metrics and the sets that they compare with; notes in `absent` what cannot be computed.

    All of them compute in float64: on the device, or on the CPU beside Apple's GPU, which has none.
    """
    place = torch.device("cpu") if device.type == "mps" else device
    scores: dict[str, Any] = {}
    compared: dict[str, Any] = {}
    for name in metrics:
        metric, to = find(name), column(name)[1]
        if not isinstance(metric, SetMetric) or name in absent:
            continue
        if to not in references:
            absent[name] = NO_TRUTH
            continue
        try:
            features = reference_stage.load_features(parts, metric.features.name).to(place)
            scores[name] = metric.compare(features, reference_stage.load(references[to], metric))._asdict()
            compared[name] = reference_stage.card(references[to], metric)
        except Unavailable as reason:
            absent[name] = str(reason)
    return scores, compared
