"""Stage `finetune`: adapt the restorer to LQ photos and their pseudo-targets, without ground truth (DT-BFR, Eq. 8)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tasks.basics import BadInput, Strict
from tasks.diffusion.priors import PriorName, load_prior
from tasks.metrics.full_reference import psnr
from tasks.metrics.perceptual import lpips_seeded
from tasks.restorers.network import NetworkName, NetworkSpec
from tasks.running.shards import batches
from tasks.running.stage import stage
from tasks.store.artifact import ImageFolder, Manifest
from tasks.training.card import write_card
from tasks.training.finetuning import Photos
from tasks.training.recipes import Recipe
from tasks.training.session import session_of
from tasks.weights.official import licence


class FineTuneParams(Strict):
    """Stage `finetune`."""

    seed: int
    arch: NetworkName
    settings: Recipe
    prior: PriorName | None = None  # the architecture, for a recipe that reads the prior


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
    prior: Path | None = None,
) -> None:
    """Write model.safetensors (official key layout), card.json and losses.csv.

    lq: LQ photos, at least those of the targets; real: unpaired HQ photos for the discriminator; weights: the
    pre-trained restorer; prior: weights of the diffusion prior, for a recipe that reads it.
    """
    if params.settings.reads_prior and not (params.prior and prior):
        raise BadInput("finetune.discriminator: it reads the prior, whose architecture and weights are missing.")
    if not set(targets.ids) <= set(lq.ids):
        raise BadInput(f"{targets.root} has targets without LQ photos in {lq.root}; rerun pseudo_targets.")
    recipe, trained = params.settings, out / "model.safetensors"
    with session_of(record, "finetune", recipe.losses, recipe.iterations, out) as session:
        before = nearness(NetworkSpec(arch=params.arch, weights=weights), lq, targets, session.device)
        unet = load_prior(params.prior, prior, session.device) if params.prior and prior else None
        recipe.save(recipe.tune(Photos(lq, targets, real), weights, params.seed, session, unet), trained)
        after = nearness(NetworkSpec(arch=params.arch, weights=trained), lq, targets, session.device)
    write_card(
        out,
        record,
        params,
        arch=params.arch,
        licence=licence(weights),
        images=len(targets.ids),
        scores={"before": before, "after": after},
    )


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
