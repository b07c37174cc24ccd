"""Stage `personalize`: the prior, fine-tuned on an album of one subject (gen2res)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from accelerate import Accelerator

from tasks.curves import Curves
from tasks.device import held_device
from tasks.official import licence
from tasks.priors import load_prior
from tasks.restorers.checkpoint import write_state_dict
from tasks.stage import default_store, stage
from tasks.store import ImageFolder, Manifest, write_json
from tasks.training import album as album_training
from tasks.training import prior as training_prior

if TYPE_CHECKING:
    from tasks.params import PersonalizeParams


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
