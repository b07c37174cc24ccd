"""Training a network of the section `models` of params.yaml."""

import shutil
from pathlib import Path

from flows.workspace import TRAINED, Run, run_here
from tasks.basics import ROOT, WEIGHTS
from tasks.data.datasets import Portraits, Split
from tasks.data.ingest import PhotoFolder
from tasks.models.kinds import HELD_OUT
from tasks.params.load import load_model
from tasks.running.stage import default_store
from tasks.stages.ingest import IngestParams
from tasks.stages.ingest import ingest as ingest_stage
from tasks.stages.photos import PhotosParams
from tasks.stages.photos import photos as photos_stage
from tasks.stages.report import environment
from tasks.stages.train import TrainParams
from tasks.stages.train import train as train_stage
from tasks.store.files import read_json, write_json
from tasks.weights.checkpoint import read_state_dict, write_state_dict


def train_model(name: str, run_stage: Run = run_here) -> Path:
    """Train a model of params.yaml and publish it as data/weights/<name>.safetensors, with its card and its losses."""
    model = load_model(name)
    if model.photos.kind == "folder":
        intake = IngestParams(size=model.photos.size, fit="aligned")
        photos = {"photos": run_stage(ingest_stage, intake, folder=PhotoFolder(ROOT / model.photos.path.expanduser()))}
    else:
        drawn = model.photos
        faces = Portraits(
            kind="portraits", size=drawn.size, finetune=1, real=1, test=HELD_OUT, train=drawn.count, flawed=drawn.flawed
        )
        splits: dict[str, Split] = {"photos": "train", "held_out": "test"}
        photos = {
            role: run_stage(photos_stage, PhotosParams(seed=model.training.seed, dataset=faces, split=split))
            for role, split in splits.items()
        }
    trained = run_stage(train_stage, TrainParams(training=model.training), **photos)
    card = read_json(trained.path("card.json"))
    seconds = default_store().seconds(trained.manifest.key)
    destination = WEIGHTS / f"{name}.safetensors"
    destination.parent.mkdir(parents=True, exist_ok=True)
    tensors = read_state_dict(trained.path(TRAINED))
    if model.is_half:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    write_state_dict(destination, tensors)
    shutil.copyfile(trained.path("losses.csv"), destination.with_suffix(".losses.csv"))
    if model.photos.kind == "portraits":
        card["licence"] = "Apache-2.0"
    about = {"photos": model.photos.model_dump(mode="json"), "seconds": round(seconds or 0), "made_with": environment()}
    write_json(destination.with_suffix(".json"), card | about)
    return destination
