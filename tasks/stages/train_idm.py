"""Stage `train_idm`: IDM's models. The second starts from the first and learns to make the cleaned photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tasks.degradation import PRESETS, degrade
from tasks.device import held_device
from tasks.idm import NETWORKS, Idm
from tasks.methods import load_idm
from tasks.noise import numpy_stream
from tasks.official import licence
from tasks.progress import Bar
from tasks.restorers.checkpoint import write_state_dict
from tasks.restorers.seeding import initial_weights
from tasks.stage import default_store, stage
from tasks.stages.finetune import write_losses
from tasks.store import BadInput, ImageFolder, Manifest, to_tensor, write_json
from tasks.training import idm
from tasks.training.loop import batch_indices

if TYPE_CHECKING:
    from tasks.params import TrainIdmParams

SAVE_EVERY = 500


@stage
def train_idm(
    out: Path,
    params: TrainIdmParams,
    record: Manifest,
    photos: ImageFolder,
    targets: ImageFolder,
    weights: Path | None = None,
) -> None:
    """Write model.safetensors, card.json and losses.csv.

    photos: the training photos, which are degraded to make the input; targets: the same ones, as they are or cleaned;
    weights: the model to start from; None starts from random weights.
    """
    if photos.ids != targets.ids:
        raise BadInput(f"{photos.root} and {targets.root} must hold the same image ids; rerun clean.")
    settings = params.settings
    recipe = idm.IdmRecipe(
        settings.iterations, settings.lr, warmup=1, ema=settings.ema, norm=1, bf16=settings.bf16, seed=params.seed
    )
    preset = PRESETS[settings.degradation]

    def pair(image_id: str, step: int) -> tuple[Tensor, Tensor]:
        rng = numpy_stream(params.seed, "train_idm", f"{step}/{image_id}")
        photo, target = photos.read(image_id), targets.read(image_id)
        if rng.random() < 0.5:
            photo, target = (np.ascontiguousarray(image[:, ::-1]) for image in (photo, target))
        return to_tensor(degrade(photo, preset, rng)), to_tensor(target)

    def batch_at(step: int) -> tuple[Tensor, Tensor]:
        chosen = batch_indices(params.seed, len(photos.ids), settings.batch, step)
        lq, target = zip(*(pair(photos.ids[n], step) for n in chosen), strict=True)
        return torch.stack(lq), torch.stack(target)

    rows: list[tuple[float, ...]] = []

    def on_step(step: int, loss: float) -> None:
        rows.append((step, loss))
        bar.advance()

    with held_device() as device, Bar("train_idm (steps)", recipe.iterations) as bar:
        if weights is None:
            with initial_weights(params.seed):
                start = Idm(NETWORKS[settings.method.arch])
        else:
            start = load_idm(settings.method.arch, weights, device)
        model = idm.train(
            start,
            batch_at,
            recipe,
            device,
            resume=default_store().root / "training" / f"{record.key}.pt",
            save_every=SAVE_EVERY,
            on_step=on_step,
        )
    write_state_dict(out / "model.safetensors", model.state_dict())
    write_losses(out, ("step", "loss"), rows)
    card = {
        "architecture": settings.method.arch,
        "recipe": "idm",
        "parent": record.inputs.get("weights"),
        "licence": licence(weights) if weights else "that of the photos",
        "data": {name: record.inputs[name] for name in ("photos", "targets")},
        "images": len(photos.ids),
        **settings.model_dump(mode="json", exclude={"weights", "method"}),
    }
    write_json(out / "card.json", card)
