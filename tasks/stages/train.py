"""Stage `train`: a network of any kind trained from scratch, or on from a parent."""

from __future__ import annotations

from pathlib import Path

from tasks.basics import BadInput, Strict
from tasks.models.table import AnyTraining
from tasks.running.stage import stage
from tasks.store.artifact import ImageFolder, Manifest
from tasks.training.card import write_card
from tasks.training.session import session_of
from tasks.weights.checkpoint import fill, read_state_dict
from tasks.weights.official import licence


class TrainParams(Strict):
    """Stage `train`."""

    training: AnyTraining


HELD_OUT = 64  # photos that a card's scores are measured on


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
    kind = params.training
    if targets and targets.ids != photos.ids:
        raise BadInput(f"{photos.root} and {targets.root} must hold the same image ids; rerun clean.")
    ids = photos.ids if held_out or targets else photos.ids[:-HELD_OUT]
    if not ids:
        raise BadInput(f"{photos.root} has {len(photos.ids)} photos; {HELD_OUT} of them are held out. Give more.")
    model = kind.build()
    if weights:
        fill(model, read_state_dict(weights), weights, f"a {kind.arch!r} network")
    kept_back = kind.read(held_out or photos, None, (held_out or photos).ids[-HELD_OUT:], "held_out")
    with session_of(record, f"train {kind.arch}", kind.losses, kind.iterations, out) as session:
        before = kind.scores(model.to(session.device), kept_back, session.device)
        trained = kind.train(model, kind.batches(photos, targets, ids), session)
        after = kind.scores(trained, kept_back, session.device)
    kind.save(trained, out / "model.safetensors")
    write_card(
        out,
        record,
        kind,
        arch=kind.arch,
        licence=licence(weights) if weights else "that of the photos",
        images=len(ids),
        scores={"before": before, "after": after},
    )
