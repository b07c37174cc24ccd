"""Stage `evaluate`: every metric of one method's images, per image and over the set, in one pass over the images."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tasks.device import held_device
from tasks.metrics.distribution import SetScorer
from tasks.metrics.offline import Unavailable
from tasks.metrics.registry import ImageScorer, build, find
from tasks.progress import track
from tasks.read_ahead import read_ahead
from tasks.stage import batches, stage
from tasks.stages import reference as reference_stage
from tasks.store import WEIGHTS, BadInput, ImageFolder, Manifest, write_json

if TYPE_CHECKING:
    from tasks.params import EvaluateParams

BATCH = 16


@stage
def evaluate(
    out: Path,
    params: EvaluateParams,
    record: Manifest,
    images: ImageFolder,
    hq: ImageFolder | None = None,
    reference: ImageFolder | None = None,
    **weights: Path,
) -> None:
    """Write scores.csv (metric, image_id, value), set_scores.json {metric: value} and absent.json {metric: reason}.

    hq: ground truth with the same image ids; reference: what the stage of that name says of the set that whole sets are
    compared with; weights: the metrics' weight files that are there, so that the key covers them. A metric that needs
    what is missing is absent, and says why.
    """
    if hq is not None and not set(images.ids) <= set(hq.ids):
        raise BadInput(f"{images.root} has images without ground truth in {hq.root}; rerun their stages.")
    absent: dict[str, str] = {}
    with held_device() as device:
        scorers: dict[str, ImageScorer | SetScorer] = {}
        for name in params.metrics:
            needed = {"full_reference": hq, "distribution": reference}.get(find(name).kind, images)
            if needed is None:
                absent[name] = "compares with ground truth, and these photos have none"
                continue
            try:
                scorers[name] = build(name, WEIGHTS, device)
            except Unavailable as reason:
                absent[name] = str(reason)
        values, features = one_pass(scorers, images, hq, absent, device)
        set_scores: dict[str, float] = {}
        for name, scorer in scorers.items():
            if isinstance(scorer, SetScorer) and reference is not None and name not in absent:
                try:
                    theirs = reference_stage.load(reference, scorer)
                    set_scores[name] = scorer.compare(features[scorer.family], theirs)
                except Unavailable as reason:
                    absent[name] = str(reason)
    rows = [
        (name, image_id, value)
        for name, found in values.items()
        if name not in absent
        for image_id, value in zip(images.ids, found, strict=True)
    ]
    with (out / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("metric", "image_id", "value"), *rows])
    write_json(out / "set_scores.json", set_scores)
    write_json(out / "absent.json", absent)


def one_pass(
    scorers: dict[str, ImageScorer | SetScorer],
    images: ImageFolder,
    hq: ImageFolder | None,
    absent: dict[str, str],
    device: torch.device,
) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Scores of every image by metric, and features [N, D] by family. Every image is read once.

    A metric that turns out not to be computable is noted as absent, and left out from then on.
    """
    values: dict[str, list[float]] = {name: [] for name, s in scorers.items() if isinstance(s, ImageScorer)}
    families = {scorer.family: scorer for scorer in scorers.values() if isinstance(scorer, SetScorer)}
    features: dict[str, list[Tensor]] = {family: [] for family in families}

    def read(ids: list[str]) -> tuple[Tensor, Tensor | None]:
        return images.batch(ids), hq.batch(ids) if hq else None

    ids = list(batches(images.ids, BATCH))
    reader = read_ahead(read, ids)
    for _ in track(ids, "evaluate (batches)"):
        restored, truth = next(reader)
        restored, truth = restored.to(device), None if truth is None else truth.to(device)
        for name, found in values.items():
            scorer = scorers[name]
            if name in absent or not isinstance(scorer, ImageScorer):
                continue
            try:
                found += scorer(restored, truth).tolist()
            except Unavailable as reason:
                absent[name] = str(reason)
        for family, extractor in families.items():
            features[family].append(extractor.features(restored).float().cpu())
    return values, {family: torch.cat(parts) for family, parts in features.items()}
