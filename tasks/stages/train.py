"""Stage `train`: a network of any kind trained from scratch, or on from a parent."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from accelerate import Accelerator

from tasks.basics import BadInput, Strict
from tasks.models.kinds import (
    HELD_OUT,
    SAVE_EVERY,
    AnyTraining,
    batch,
    build,
    objective,
    read_batch,
    recipe,
    run_gan,
    scores,
)
from tasks.restorers import swinir
from tasks.running.device import held_device
from tasks.running.stage import default_store, stage
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import write_json
from tasks.training import network, swinir_gan
from tasks.training.curves import Curves
from tasks.weights.checkpoint import fill, read_state_dict, write_state_dict
from tasks.weights.official import licence


class TrainParams(Strict):
    """Stage `train`."""

    training: AnyTraining


@stage
def train(
    out: Path,
    params: TrainParams,
    record: Manifest,
    photos: ImageFolder,
    held_out: ImageFolder | None = None,
    targets: ImageFolder | None = None,
    weights: Path | None = None,
) -> None:
    """Write model.safetensors (the official key layout), card.json and losses.csv. A killed run goes on.

    held_out: photos for the card's scores; default: the last 64 of `photos`, which are then not trained on; targets:
    what IDM learns to make, by the same image ids, default: the photos; weights: of the network to start from.
    """
    settings = params.training
    if targets and targets.ids != photos.ids:
        raise BadInput(f"{photos.root} and {targets.root} must hold the same image ids; rerun clean.")
    ids = photos.ids if held_out or targets else photos.ids[:-HELD_OUT]
    if not ids:
        raise BadInput(f"{photos.root} has {len(photos.ids)} photos; {HELD_OUT} of them are held out. Give more.")
    model = build(settings)
    if weights:
        fill(model, read_state_dict(weights), weights, f"a {settings.arch!r} network")
    kept_back = read_batch(settings, held_out or photos, (held_out or photos).ids[-HELD_OUT:], "held_out")
    batch_at = partial(batch, settings, photos, targets, ids)
    state = default_store().training_state(record.key)
    names = swinir_gan.GanLosses._fields if settings.kind == "restorer_gan" else ("loss",)
    with (
        held_device() as device,
        Curves(f"train {settings.arch}", names, settings.iterations, state.with_suffix(".live")) as curves,
    ):
        accelerator = Accelerator(cpu=device.type == "cpu")
        before = scores(settings, model.to(device), kept_back, device)
        if settings.kind == "restorer_gan":
            run_gan(settings, model, batch_at, accelerator, state, curves)
            trained = model
        else:
            trained = network.train(
                model,
                objective(settings, accelerator.device),
                batch_at,
                recipe(settings),
                accelerator,
                resume=state,
                save_every=SAVE_EVERY,
                on_step=curves.note,
            )
        after = scores(settings, trained, kept_back, device)
    if settings.arch.startswith("swinir"):
        swinir.save(trained, out / "model.safetensors")
    else:
        write_state_dict(out / "model.safetensors", trained.state_dict())
    curves.write(out)
    card = {
        "architecture": settings.arch,
        "recipe": settings.model_dump(mode="json"),
        "parent": record.inputs.get("weights"),
        "licence": licence(weights) if weights else "that of the photos",
        "data": {name: record.inputs[name] for name in ("photos", "targets") if name in record.inputs},
        "images": len(ids),
        "scores": {"before": before, "after": after},
    }
    write_json(out / "card.json", card)
