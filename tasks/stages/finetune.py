"""Stage `finetune`: adapt the restorer to LQ photos and their pseudo-targets, without ground truth (DT-BFR, Eq. 8)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from tasks.basics import WEIGHTS, BadInput, Strict
from tasks.metrics.full_reference import psnr
from tasks.metrics.perceptual import lpips_seeded, perceptual_module
from tasks.noise import numpy_stream
from tasks.restorers import faces as official
from tasks.restorers import swinir
from tasks.restorers.network import NetworkSpec
from tasks.running.device import held_device
from tasks.running.shards import batches
from tasks.running.stage import default_store, stage
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import write_json
from tasks.training import codeformer, swinir_gan
from tasks.training.codeformer import CodeFineTune
from tasks.training.curves import Curves
from tasks.training.discriminator import UNetDiscriminator
from tasks.training.loop import Losses, batch_indices
from tasks.training.recipes import Recipe
from tasks.training.swinir_gan import FineTune
from tasks.weights.checkpoint import write_state_dict
from tasks.weights.official import licence


class FineTuneParams(Strict):
    """Stage `finetune`."""

    seed: int
    arch: str
    settings: Recipe


SAVE_EVERY = 500
SCORED = 64  # photos that a card's scores are measured on
BATCH = 8


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

    lq: LQ photos, at least those of the targets; real: unpaired HQ photos for the discriminator; weights: the
    pre-trained restorer.
    """
    if not set(targets.ids) <= set(lq.ids):
        raise BadInput(f"{targets.root} has targets without LQ photos in {lq.root}; rerun pseudo_targets.")
    settings = params.settings
    state = default_store().training_state(record.key)
    names = (codeformer.CodeLosses if settings.recipe == "codeformer" else swinir_gan.GanLosses)._fields
    live = state.with_suffix(".live")
    with held_device() as device, Curves("finetune", names, settings.iterations, live) as curves:
        accelerator = Accelerator(cpu=device.type == "cpu")
        before = nearness(NetworkSpec(arch=params.arch, weights=weights), lq, targets, device)
        if settings.recipe == "codeformer":
            tune_codeformer(out, params.seed, settings, lq, targets, weights, accelerator, state, curves.note)
        else:
            tune_swinir(out, params.seed, settings, lq, targets, real, weights, accelerator, state, curves.note)
        after = nearness(NetworkSpec(arch=params.arch, weights=out / "model.safetensors"), lq, targets, device)
    curves.write(out)
    card = {
        "architecture": params.arch,
        "parent": record.inputs["weights"],
        "licence": licence(weights),
        "data": {name: record.inputs[name] for name in ("lq", "targets", "real")},
        "images": len(targets.ids),
        **settings.model_dump(mode="json"),
        "scores": {"before": before, "after": after},
    }
    write_json(out / "card.json", card)


@torch.no_grad()
def nearness(spec: NetworkSpec, lq: ImageFolder, targets: ImageFolder, device: torch.device) -> dict[str, float]:
    """How near the restorer comes to the pseudo-targets of the first photos; there is no ground truth to ask."""
    restore, perceptual = spec.load(device), lpips_seeded().to(device)
    found: dict[str, list[Tensor]] = {"psnr_to_targets": [], "lpips_seeded_to_targets": []}
    for ids in batches(targets.ids[:SCORED], BATCH):
        restored, target = restore(lq.batch(ids).to(device), ids), targets.batch(ids).to(device)
        found["psnr_to_targets"].append(psnr(restored, target))
        found["lpips_seeded_to_targets"].append(perceptual(restored, target))
    return {name: float(torch.cat(parts).mean()) for name, parts in found.items()}


def tune_swinir(
    out: Path,
    seed: int,
    settings: FineTune,
    lq: ImageFolder,
    targets: ImageFolder,
    real: ImageFolder,
    weights: Path,
    accelerator: Accelerator,
    state: Path,
    on_step: Callable[[int, Losses], None],
) -> None:
    """Write SwinIR's model.safetensors."""
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
        seed=seed,
    )

    def batch_at(step: int) -> swinir_gan.Batch:
        ids = [targets.ids[n] for n in batch_indices(seed, len(targets.ids), recipe.batch, step)]
        unpaired = batch_indices(seed + 1, len(real.ids), recipe.batch, step)
        return lq.batch(ids), targets.batch(ids), real.batch([real.ids[n] for n in unpaired])

    model = swinir.load(weights)
    swinir_gan.train(
        model,
        UNetDiscriminator(settings.discriminator_width, seed),
        perceptual_module(settings.perceptual, WEIGHTS).to(accelerator.device),
        batch_at,
        recipe,
        accelerator,
        resume=state,
        save_every=SAVE_EVERY,
        on_step=on_step,
    )
    swinir.save(model, out / "model.safetensors")


def tune_codeformer(
    out: Path,
    seed: int,
    settings: CodeFineTune,
    lq: ImageFolder,
    targets: ImageFolder,
    weights: Path,
    accelerator: Accelerator,
    state: Path,
    on_step: Callable[[int, Losses], None],
) -> None:
    """Write CodeFormer's model.safetensors. Pairs are mirrored at random."""
    recipe = codeformer.CodeRecipe(
        settings.iterations, settings.lr, settings.milestones, settings.ema, settings.lambda_code, seed
    )

    def batch_at(step: int) -> tuple[Tensor, Tensor]:
        ids = [targets.ids[n] for n in batch_indices(seed, len(targets.ids), settings.batch, step)]
        is_mirrored = torch.from_numpy(numpy_stream(seed, "mirror", str(step)).random(len(ids)) < 0.5)
        pairs = (lq.batch(ids), targets.batch(ids))
        mirrored = [torch.where(is_mirrored[:, None, None, None], images.flip(-1), images) for images in pairs]
        return mirrored[0], mirrored[1]

    model = codeformer.train(
        official.load_codeformer(weights),
        batch_at,
        recipe,
        accelerator,
        resume=state,
        save_every=SAVE_EVERY,
        on_step=on_step,
    )
    write_state_dict(out / "model.safetensors", model.state_dict())
