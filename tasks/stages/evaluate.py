"""Stage `evaluate`: every metric of one method's images, per image and over the set, in one pass over the images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from tasks.batching import batch_size
from tasks.device import held_device
from tasks.metrics.distribution import SetScorer
from tasks.metrics.offline import Unavailable
from tasks.metrics.registry import ImageScorer, build, column, find
from tasks.read_ahead import read_ahead
from tasks.stage import batches, shards, shared_stage
from tasks.stages import reference as reference_stage
from tasks.store import WEIGHTS, BadInput, ImageFolder, Manifest, read_json, write_json

if TYPE_CHECKING:
    from tasks.params import EvaluateParams

BATCH = 16
SHARD = 256


@shared_stage
def evaluate(
    out: Path,
    params: EvaluateParams,
    record: Manifest,
    images: ImageFolder,
    hq: ImageFolder | None = None,
    **others: ImageFolder | Path,
) -> None:
    """Write scores.parquet (metric, image_id, value), set_scores.json {metric: value}, absent.json {metric: reason} and
    references.json {metric: {label, count, digest} of the set that it compares with}.

    hq: ground truth with the same image ids; others: by name, what the stage `reference` says of the sets that whole
    sets are compared with; and the metrics' weight files that are there, so that the key covers them. A metric that
    needs what is missing is absent, and says why.
    """
    if hq is not None and not set(images.ids) <= set(hq.ids):
        raise BadInput(f"{images.root} has images without ground truth in {hq.root}; rerun their stages.")
    references = {name: folder for name, folder in others.items() if isinstance(folder, ImageFolder)}
    weights = {name: sha for name, sha in record.inputs.items() if isinstance(others.get(name), Path)}
    absent: dict[str, str] = {}
    with held_device() as device:
        scorers = build_all(params.metrics, hq, references, absent, device)
        own = {column(name)[0]: scorer for name, scorer in scorers.items()}

        def measure(folder: Path, ids: list[str]) -> None:
            measure_shard(folder, own, images, hq, ids, device)

        alone = record.model_copy(update={"inputs": weights})
        parts = [folder for _, folder in shards(alone, images, SHARD, measure, beside=hq)]
    for folder in parts:
        absent |= read_json(folder / "absent.json")
    scores = pd.concat([pd.read_parquet(folder / "scores.parquet") for folder in parts])
    scores[~scores["metric"].isin(absent)].to_parquet(out / "scores.parquet", index=False)
    set_scores, compared = compare_sets(scorers, references, parts, absent)
    write_json(out / "set_scores.json", set_scores)
    write_json(out / "references.json", compared)
    write_json(out / "absent.json", absent)


def build_all(
    metrics: tuple[str, ...],
    hq: ImageFolder | None,
    references: dict[str, ImageFolder],
    absent: dict[str, str],
    device: torch.device,
) -> dict[str, ImageScorer | SetScorer]:
    """Scorers by metric, one for all reference sets; notes in `absent` what cannot be computed."""
    built: dict[str, ImageScorer | SetScorer] = {}
    scorers: dict[str, ImageScorer | SetScorer] = {}
    for name in metrics:
        base, reference = column(name)
        kind = find(name).kind
        if (kind == "full_reference" and hq is None) or (kind == "distribution" and reference not in references):
            absent[name] = "compares with ground truth, and these photos have none"
            continue
        try:
            built[base] = built.get(base) or build(base, WEIGHTS, device)
            scorers[name] = built[base]
        except Unavailable as reason:
            absent[name] = str(reason)
    return scorers


def measure_shard(
    folder: Path,
    scorers: dict[str, ImageScorer | SetScorer],
    images: ImageFolder,
    hq: ImageFolder | None,
    ids: list[str],
    device: torch.device,
) -> None:
    """Write scores.parquet, features [N, D] as <family>.npy, and absent.json. Every image is read once.

    A metric that turns out not to be computable is noted as absent, and left out from then on.
    """
    absent: dict[str, str] = {}
    values: dict[str, list[float]] = {name: [] for name, s in scorers.items() if isinstance(s, ImageScorer)}
    families = {scorer.family: scorer for scorer in scorers.values() if isinstance(scorer, SetScorer)}

    def read(some: list[str]) -> tuple[Tensor, Tensor | None]:
        return images.batch(some), hq.batch(some) if hq else None

    def scored() -> Iterator[Tensor]:
        for restored, truth in read_ahead(read, list(batches(ids, min(BATCH, batch_size(device, images.side))))):
            restored, truth = restored.to(device), None if truth is None else truth.to(device)
            for name, found in values.items():
                scorer = scorers[name]
                if name in absent or not isinstance(scorer, ImageScorer):
                    continue
                try:
                    found += scorer(restored, truth).tolist()
                except Unavailable as reason:
                    absent[name] = str(reason)
            yield restored

    reference_stage.save_features(folder, families, scored())
    rows = [
        (name, image_id, value)
        for name, found in values.items()
        if name not in absent
        for image_id, value in zip(ids, found, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["metric", "image_id", "value"])
    frame.astype({"metric": str, "image_id": str, "value": float}).to_parquet(folder / "scores.parquet", index=False)
    write_json(folder / "absent.json", absent)


def compare_sets(
    scorers: dict[str, ImageScorer | SetScorer],
    references: dict[str, ImageFolder],
    parts: list[Path],
    absent: dict[str, str],
) -> tuple[dict[str, float], dict[str, Any]]:
    """Values of the set metrics and the sets that they compare with; notes in `absent` what cannot be computed."""
    families = {scorer.family for scorer in scorers.values() if isinstance(scorer, SetScorer)}
    features = {family: reference_stage.load_features(parts, family) for family in families}
    values: dict[str, float] = {}
    compared: dict[str, Any] = {}
    for name, scorer in scorers.items():
        if not isinstance(scorer, SetScorer):
            continue
        reference = references[column(name)[1]]
        try:
            values[name] = scorer.compare(features[scorer.family], reference_stage.load(reference, scorer))
            compared[name] = reference_stage.card(reference, scorer)
        except Unavailable as reason:
            absent[name] = str(reason)
    return values, compared
