"""Stage `evaluate`: every metric of one method's images, per image and over the set."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from tasks.device import held_device
from tasks.metrics.distribution import SetScorer
from tasks.metrics.offline import Unavailable
from tasks.metrics.registry import ImageScorer, build, find
from tasks.progress import track
from tasks.stage import batches, stage
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
    real: ImageFolder | None = None,
    **weights: Path,
) -> None:
    """Write scores.csv (metric, image_id, value), set_scores.json {metric: value} and absent.json {metric: reason}.

    hq: ground truth with the same image ids; real: unpaired HQ photos, which stand in for it where whole sets are
    compared (FID); weights: the metrics' weight files that are there, so that the key covers
    them. A metric that needs what is missing is absent, and says why.
    """
    if hq is not None and not set(images.ids) <= set(hq.ids):
        raise BadInput(f"{images.root} has images without ground truth in {hq.root}; rerun their stages.")
    rows: list[tuple[str, str, float]] = []
    set_scores: dict[str, float] = {}
    absent: dict[str, str] = {}
    with held_device() as device:
        for name in track(params.metrics, "metrics"):
            if hq is None and (find(name).kind == "full_reference" or (find(name).kind == "distribution" and not real)):
                absent[name] = "compares with ground truth, and these photos have none"
                continue
            try:
                scorer = build(name, WEIGHTS, device)
                if isinstance(scorer, ImageScorer):
                    rows += [(name, image_id, value) for image_id, value in image_scores(scorer, images, hq)]
                elif reference := hq or real:
                    set_scores[name] = set_score(scorer, images, reference)
            except Unavailable as reason:
                absent[name] = str(reason)
    with (out / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("metric", "image_id", "value"), *rows])
    write_json(out / "set_scores.json", set_scores)
    write_json(out / "absent.json", absent)


def image_scores(scorer: ImageScorer, images: ImageFolder, hq: ImageFolder | None) -> list[tuple[str, float]]:
    """(image id, value) for every image."""
    scores: list[tuple[str, float]] = []
    for ids in batches(images.ids, BATCH):
        values = scorer(images.batch(ids), hq.batch(ids) if hq else None)
        scores += zip(ids, values.tolist(), strict=True)
    return scores


def set_score(scorer: SetScorer, images: ImageFolder, reference: ImageFolder) -> float:
    """The metric of the two sets of images."""
    return scorer.compare(in_batches(images), in_batches(reference))


def in_batches(folder: ImageFolder) -> Iterator[Tensor]:
    for ids in batches(folder.ids, BATCH):
        yield folder.batch(ids)
