"""Stage `finetune`: adapt the restorer to LQ photos and their pseudo-targets, without ground truth (DT-BFR, Eq. 8)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from accelerate import Accelerator

from tasks.device import held_device
from tasks.metrics.perceptual import perceptual_module
from tasks.progress import Bar
from tasks.restorers import swinir
from tasks.stage import default_store, stage
from tasks.store import WEIGHTS, BadInput, ImageFolder, Manifest, write_json
from tasks.training import swinir_gan
from tasks.training.discriminator import UNetDiscriminator
from tasks.training.loop import batch_indices

if TYPE_CHECKING:
    from tasks.params import FineTuneParams

SAVE_EVERY = 500


@stage
def finetune(
    out: Path,
    params: FineTuneParams,
    record: Manifest,
    lq: ImageFolder,
    targets: ImageFolder,
    real: ImageFolder,
    weights: Path,
) -> None:
    """Write model.safetensors (official key layout), card.json and losses.csv.

    lq, targets: the same image ids; real: unpaired HQ photos for the discriminator; weights: the pre-trained restorer.
    """
    if lq.ids != targets.ids:
        raise BadInput(f"{lq.root} and {targets.root} must hold the same image ids; rerun pseudo_targets.")
    if params.arch != "swinir":
        raise BadInput(f"experiments.….restorer.arch is {params.arch!r}; fine-tuning knows swinir.")
    settings = params.settings
    recipe = swinir_gan.GanRecipe(
        iterations=settings.iterations,
        batch=settings.batch,
        micro_batch=settings.micro_batch,
        lr=settings.lr,
        lr_min=settings.lr_min,
        lambda_lpips=settings.lambda_lpips,
        lambda_gan=settings.lambda_gan,
        has_leak=settings.has_leak,
        bf16=settings.bf16,
        seed=params.seed,
    )
    rows: list[tuple[float, ...]] = []
    with held_device() as device, Bar("finetune (steps)", recipe.iterations) as bar:
        accelerator = Accelerator(cpu=device.type == "cpu")
        model = swinir.load(weights)
        discriminator = UNetDiscriminator(settings.discriminator_width, params.seed)
        perceptual = perceptual_module(settings.perceptual, WEIGHTS)

        def batch_at(step: int) -> swinir_gan.Batch:
            pairs = batch_indices(params.seed, len(lq.ids), recipe.batch, step)
            unpaired = batch_indices(params.seed + 1, len(real.ids), recipe.batch, step)
            ids = [lq.ids[n] for n in pairs]
            return lq.batch(ids), targets.batch(ids), real.batch([real.ids[n] for n in unpaired])

        def on_step(step: int, losses: swinir_gan.GanLosses) -> None:
            rows.append((step, *losses))
            bar.advance()

        swinir_gan.train(
            model,
            discriminator,
            perceptual.to(accelerator.device),
            batch_at,
            recipe,
            accelerator,
            resume=default_store().root / "training" / f"{record.key}.pt",
            save_every=SAVE_EVERY,
            on_step=on_step,
        )
    swinir.save(model, out / "model.safetensors")
    with (out / "losses.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("step", *swinir_gan.GanLosses._fields), *rows])
    card = {
        "architecture": params.arch,
        "recipe": "swinir_gan",
        "parent": record.inputs["weights"],
        "data": {name: record.inputs[name] for name in ("lq", "targets", "real")},
        "images": len(lq.ids),
        **settings.model_dump(),
    }
    write_json(out / "card.json", card)
