"""Stage `personalize`: the prior, fine-tuned on an album of one subject (gen2res)."""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator
from pydantic import (
    PositiveFloat,
    PositiveInt,
)

from tasks.basics import Strict
from tasks.diffusion.priors import load_prior
from tasks.running.device import held_device
from tasks.running.stage import default_store, stage
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import write_json
from tasks.training import album as album_training
from tasks.training import prior as training_prior
from tasks.training.curves import Curves
from tasks.weights.checkpoint import write_state_dict
from tasks.weights.official import licence


class PersonalizeParams(Strict):
    """Stage `personalize`: the prior, fine-tuned on an album."""

    seed: int
    arch: str
    iterations: PositiveInt
    batch: PositiveInt
    lr: PositiveFloat


SCORED = 64  # photos that the card's scores are measured on


@stage
def personalize(out: Path, params: PersonalizeParams, record: Manifest, album: ImageFolder, weights: Path) -> None:
    """Write model.safetensors (the official key layout), card.json and losses.csv. weights: the prior."""
    state = default_store().training_state(record.key)
    live = state.with_suffix(".live")
    with held_device() as device, Curves("personalize", ("loss",), params.iterations, live) as curves:
        prior = load_prior(params.arch, weights, device)
        photos = album.batch(album.ids)
        probe = training_prior.draw(photos[:SCORED], params.seed, "score")
        before = training_prior.noise_mse(prior, probe, device, images=1)
        album_training.train(
            prior,
            photos,
            Accelerator(cpu=device.type == "cpu"),
            iterations=params.iterations,
            batch=params.batch,
            lr=params.lr,
            seed=params.seed,
            resume=state,
            on_step=curves.note,
        )
        after = training_prior.noise_mse(prior, probe, device, images=1)
    write_state_dict(out / "model.safetensors", prior.state_dict())
    curves.write(out)
    card = {
        "architecture": params.arch,
        "recipe": "gen2res, personal album",
        "parent": record.inputs["weights"],
        "licence": f"{licence(weights)}; the photos of the album have terms of their own",
        "data": {"album": record.inputs["album"]},
        "images": len(album.ids),
        **params.model_dump(mode="json", exclude={"arch"}),
        "scores": {"before": {"noise_mse": before}, "after": {"noise_mse": after}},
    }
    write_json(out / "card.json", card)
