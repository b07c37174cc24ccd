"""Stage `identify`: how much restored photos look like the person of an album (gen2res, Table 2)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from tasks.basics import WEIGHTS, Strict
from tasks.metrics.identity import album_cosine
from tasks.running.device import held_device
from tasks.running.stage import stage
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import write_json
from tasks.weights.file import Unavailable

METRIC = "id_album"  # of tasks/metrics/registry.py


class IdentifyParams(Strict):
    """Stage `identify`: there is nothing to choose."""


@stage
def identify(out: Path, params: IdentifyParams, record: Manifest, images: ImageFolder, album: ImageFolder) -> None:
    """Write what `evaluate` writes, with one metric: each photo's mean cosine with the album's photos.

    Without the network's weights the metric is absent, and says why.
    """
    absent: dict[str, str] = {}
    values: list[float] = []
    with held_device() as device, torch.inference_mode():
        try:
            values = album_cosine(WEIGHTS, device, album.batch(album.ids))(images.batch(images.ids)).tolist()
        except Unavailable as reason:
            absent[METRIC] = str(reason)
    rows = [(METRIC, image_id, value) for image_id, value in zip(images.ids, values, strict=False)]
    frame = pd.DataFrame(rows, columns=["metric", "image_id", "value"])
    frame.astype({"metric": str, "image_id": str, "value": float}).to_parquet(out / "scores.parquet", index=False)
    for name, content in (("set_scores", {}), ("references", {}), ("absent", absent)):
        write_json(out / f"{name}.json", content)
