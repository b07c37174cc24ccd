"""Stage `personalize`: the prior, fine-tuned on an album of one subject (gen2res)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.device import held_device
from tasks.official import licence
from tasks.priors import load_prior
from tasks.progress import Bar
from tasks.restorers.checkpoint import write_state_dict
from tasks.stage import default_store, stage
from tasks.stages.finetune import write_losses
from tasks.store import ImageFolder, Manifest, write_json
from tasks.training import album as album_training

if TYPE_CHECKING:
    from tasks.params import PersonalizeParams

SAVE_EVERY = 500


@stage
def personalize(out: Path, params: PersonalizeParams, record: Manifest, album: ImageFolder, weights: Path) -> None:
    """Write model.safetensors (the official key layout), card.json and losses.csv. weights: the prior."""
    recipe = album_training.AlbumRecipe(params.iterations, params.batch, params.lr, params.seed)
    rows: list[tuple[float, ...]] = []

    def on_step(step: int, loss: float) -> None:
        rows.append((step, loss))
        bar.advance()

    with held_device() as device, Bar("personalize (steps)", recipe.iterations) as bar:
        prior = load_prior(params.arch, weights, device)
        album_training.train(
            prior,
            album.batch(album.ids),
            recipe,
            device,
            resume=default_store().root / "training" / f"{record.key}.pt",
            save_every=SAVE_EVERY,
            on_step=on_step,
        )
    write_state_dict(out / "model.safetensors", prior.state_dict())
    write_losses(out, ("step", "loss"), rows)
    card = {
        "architecture": params.arch,
        "recipe": "gen2res, personal album",
        "parent": record.inputs["weights"],
        "licence": licence(weights),
        "data": {"album": record.inputs["album"]},
        "images": len(album.ids),
        **params.model_dump(mode="json", exclude={"arch"}),
    }
    write_json(out / "card.json", card)
