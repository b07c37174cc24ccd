"""The stage behind `bfr train` from photos to a card, with its lock, its state and its result."""

import json
import os
import tempfile
from pathlib import Path
from unittest.mock import patch

import torch
from pydantic import TypeAdapter

from benchmarks.on_gpu.photos import smooth
from benchmarks.on_gpu.report import Report
from tasks.data.ingest import PhotoFolder
from tasks.models.table import AnyTraining
from tasks.pixels import to_uint8
from tasks.running.device import held_device
from tasks.stages.ingest import IngestParams, ingest
from tasks.stages.train import TrainParams, train
from tasks.store.files import write_png
from tasks.training import curves

TRAINING = {
    "kind": "prior",
    "arch": "demo128",
    "seed": 1,
    "batch": 8,
    "lr": 3e-4,
    "lr_min": 0.0,
    "ema": 0.9,
    "clip": 1.0,
}


def run(report: Report, device: torch.device, is_quick: bool) -> None:
    training = TypeAdapter(AnyTraining).validate_python(TRAINING | {"iterations": 2 if is_quick else 200, "bf16": True})
    with tempfile.TemporaryDirectory() as name, patch.dict(os.environ, {"BFR_STORE": f"{name}/store"}):
        photos = Path(name) / "photos"
        photos.mkdir()
        for n, image in enumerate(smooth(80, 64)):
            write_png(photos / f"{n:02d}.png", to_uint8(image))
        with patch.object(curves, "_live_curves", lambda folder: None):  # DVCLive is not on a bare box
            folder = ingest(IngestParams(size=64, fit="crop"), folder=PhotoFolder(photos))
            made = train(TrainParams(training=training), photos=folder)
        scores = json.loads((made.root / "card.json").read_text(encoding="utf-8"))["scores"]
    with held_device() as held:
        report.check(held.type == device.type, f"stages compute on {held}")
    before, after = (scores[when]["noise_mse"] for when in ("before", "after"))
    report.check(is_quick or after < before, f"the stage `train`: noise_mse {before:.3f} before, {after:.3f} after")
