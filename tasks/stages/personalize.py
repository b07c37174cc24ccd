"""Stage `personalize`: the prior, fine-tuned on an album of one subject (gen2res)."""

from __future__ import annotations

from pathlib import Path

from tasks.diffusion.priors import PriorName, load_prior
from tasks.methods.gen2res import Personalization, tune
from tasks.running.stage import stage
from tasks.store.artifact import ImageFolder, Manifest
from tasks.training import prior as prior_training
from tasks.training.card import write_card
from tasks.training.session import session_of
from tasks.weights.checkpoint import write_state_dict
from tasks.weights.official import licence


class PersonalizeParams(Personalization):
    """Stage `personalize`: the prior, fine-tuned on an album."""

    seed: int
    arch: PriorName


SCORED = 64  # photos that the card's scores are measured on


@stage
def personalize(out: Path, params: PersonalizeParams, record: Manifest, album: ImageFolder, weights: Path) -> None:
    """Write model.safetensors (the official key layout), card.json and losses.csv. weights: the prior."""
    with session_of(record, "personalize", ("loss",), params.iterations, out) as session:
        prior, photos = load_prior(params.arch, weights, session.device), album.batch(album.ids)
        probe = prior_training.draw(photos[:SCORED], params.seed, "score")
        before = prior_training.noise_mse(prior, probe, session.device, images=1)
        tune(prior, photos, params, params.seed, session)
        after = prior_training.noise_mse(prior, probe, session.device, images=1)
    write_state_dict(out / "model.safetensors", prior.state_dict())
    write_card(
        out,
        record,
        params,
        arch=params.arch,
        licence=f"{licence(weights)}; the photos of the album have terms of their own",
        images=len(album.ids),
        scores={"before": {"noise_mse": before}, "after": {"noise_mse": after}},
    )
