"""Training a network as a file data/weights/NAME.yaml says."""

from pathlib import Path

from flows.preflight import photo_folders
from flows.workspace import TRAINED, Run, run_here
from tasks.basics import WEIGHTS, BadInput
from tasks.params.load import load_model
from tasks.running.stage import default_store
from tasks.stages.photos import PhotosParams
from tasks.stages.photos import photos as photos_stage
from tasks.stages.report import environment
from tasks.stages.train import HELD_OUT, TrainParams
from tasks.stages.train import train as train_stage
from tasks.store.files import copy_file, read_json, write_json
from tasks.store.keys import file_digest
from tasks.weights.checkpoint import read_state_dict, write_state_dict


def train_model(name: str, run_stage: Run = run_here) -> Path:
    """Train a network and publish it as data/weights/<name>.safetensors, with its card and its losses.

    Raises BadInput, before any work, if other files than those of an earlier training are there.
    """
    model = load_model(name)
    destination = WEIGHTS / f"{name}.safetensors"
    check_trained_here(destination)
    photos = {}
    for role, (dataset, split) in model.photos.roles(HELD_OUT).items():
        intake = PhotosParams(seed=model.training.seed, dataset=dataset.only(split), split=split)
        photos[role] = run_stage(photos_stage, intake, f"{name}/{role}", **photo_folders(dataset)[split])
    trained = run_stage(train_stage, TrainParams(training=model.training), name, **photos)
    card = read_json(trained.path("card.json"))
    seconds = default_store().seconds(trained.manifest.key)
    destination.parent.mkdir(parents=True, exist_ok=True)
    tensors = read_state_dict(trained.path(TRAINED))
    if model.is_half:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    write_state_dict(destination, tensors)
    copy_file(trained.path("losses.csv"), destination.with_suffix(".losses.csv"))
    about = {
        "licence": model.photos.licence,
        "photos": model.photos.model_dump(mode="json"),
        "seconds": round(seconds or 0),
        "made_with": environment(),
        "sha256": file_digest(destination),
    }
    write_json(destination.with_suffix(".json"), card | about)
    return destination


def check_trained_here(weights: Path) -> None:
    """Raises BadInput unless a training may write this file: it is not there, or its card says that one has made it."""
    files = [weights, weights.with_suffix(".json"), weights.with_suffix(".losses.csv")]
    try:
        card = read_json(files[1]) if files[1].exists() else {}
    except ValueError:
        card = {}
    is_ours = isinstance(card, dict) and "architecture" in card
    if is_ours and weights.exists() and "sha256" in card:
        is_ours = card["sha256"] == file_digest(weights)
    if there := [path.name for path in files if path.exists() and not is_ours]:
        raise BadInput(
            f"{weights.parent} holds {', '.join(there)}, and no training of bfr made that. Move it away, or name the "
            "model otherwise."
        )
