"""The kinds of training: what each learns from, its network, loss and scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from tasks.basics import WEIGHTS, Strict
from tasks.degradation.masks import training_mask
from tasks.degradation.presets import PRESETS, DegradationName
from tasks.diffusion.priors import PRIORS, PriorName
from tasks.diffusion.unet import UNet
from tasks.methods import idm
from tasks.metrics.full_reference import psnr
from tasks.metrics.perceptual import lpips_seeded, perceptual_module
from tasks.noise import ImageStreams, numpy_stream
from tasks.pixels import to_tensor
from tasks.restorers import lama, srcnn, swinir
from tasks.store.artifact import ImageFolder
from tasks.training import idm as idm_training
from tasks.training import losses, network, prior, swinir_gan
from tasks.training.curves import Curves
from tasks.training.discriminator import UNetDiscriminator
from tasks.training.loop import Processes, batch_indices
from tasks.weights.seeding import initial_weights


class Training(Strict):
    """What every training has."""

    seed: int
    iterations: PositiveInt
    batch: PositiveInt
    micro_batch: PositiveInt | None = Field(default=None, description="images of a forward pass; default: the batch")
    lr: PositiveFloat
    lr_min: NonNegativeFloat = Field(description="the learning rate falls to it along a cosine; lr: constant")
    warmup: PositiveInt = Field(default=1, description="steps over which the learning rate rises first")
    ema: float = Field(ge=0, lt=1, description="decay of the averaged weights, which are the result; 0: the last ones")
    clip: PositiveFloat | None = Field(default=None, description="largest norm of the gradient")
    bf16: bool = False


class PriorTraining(Training):
    """The diffusion prior."""

    kind: Literal["prior"]
    arch: PriorName


class RestorerTraining(Training):
    """A restorer by L1 and, where wanted, a perceptual loss: DifFace's estimators."""

    kind: Literal["restorer"]
    arch: Literal["swinir", "swinir64", "srcnn"]
    degradation: DegradationName
    lambda_lpips: NonNegativeFloat = 0.0
    perceptual: Literal["lpips", "lpips_seeded"] = "lpips"


class GanTraining(Training):
    """A SwinIR by L1, a perceptual loss and a discriminator: DT-BFR's. Its networks are not averaged."""

    kind: Literal["restorer_gan"]
    arch: Literal["swinir", "swinir64"]
    degradation: DegradationName
    ema: Literal[0] = 0
    lambda_lpips: NonNegativeFloat
    lambda_gan: NonNegativeFloat
    perceptual: Literal["lpips", "lpips_seeded"] = "lpips"
    discriminator_width: PositiveInt = 64


class InpaintingTraining(Training):
    """LaMa by a weighted L1, on DifFace's mixture of masks: its estimator for inpainting."""

    kind: Literal["inpainting"]
    arch: Literal["lama", "lama64"]


class IdmTraining(Training):
    """IDM: its first model, or the second, which makes cleaned photos from the degraded ones."""

    kind: Literal["idm"]
    arch: idm.IdmName
    degradation: DegradationName


AnyTraining = Annotated[
    PriorTraining | RestorerTraining | GanTraining | InpaintingTraining | IdmTraining, Field(discriminator="kind")
]


SAVE_EVERY = 250


HELD_OUT = 64  # photos that a card's scores are measured on


def build(settings: AnyTraining) -> nn.Module:
    """The network with its first weights, which depend on the seed alone."""
    if settings.kind == "inpainting":
        return lama.build(lama.OFFICIAL if settings.arch == "lama" else lama.DEMO, settings.seed)
    if settings.arch == "srcnn":
        return srcnn.build(srcnn.OFFICIAL, settings.seed)
    if settings.kind in ("restorer", "restorer_gan"):
        return swinir.build(swinir.OFFICIAL if settings.arch == "swinir" else swinir.DEMO, settings.seed)
    with initial_weights(settings.seed):
        return UNet(PRIORS[settings.arch]) if settings.kind == "prior" else idm.IdmNetwork(idm.NETWORKS[settings.arch])


def recipe(settings: AnyTraining) -> network.Recipe:
    return network.Recipe(
        iterations=settings.iterations,
        lr=settings.lr,
        lr_min=settings.lr_min,
        ema=settings.ema,
        seed=settings.seed,
        warmup=settings.warmup,
        clip=settings.clip,
        micro_batch=settings.micro_batch,
        bf16=settings.bf16,
    )


def objective(settings: AnyTraining, device: torch.device) -> network.Objective:
    """The loss of one batch, as `read_batch` makes it."""
    if settings.kind == "prior":
        return prior.objective
    if settings.kind == "idm":
        return idm_training.objective
    if settings.kind == "inpainting":
        return lambda run, hq, mask: losses.inpainting_l1(run(lama.masked(hq, mask)), hq, mask)
    assert settings.kind == "restorer"
    if not settings.lambda_lpips:
        return lambda run, lq, hq: losses.l1(run(lq), hq)
    perceptual, weight = perceptual_module(settings.perceptual, WEIGHTS).to(device), settings.lambda_lpips

    def l1_and_perceptual(run: Callable[[Tensor], Tensor], lq: Tensor, hq: Tensor) -> Tensor:
        output = run(lq)
        return losses.l1(output, hq) + weight * perceptual(output, hq).mean()

    return l1_and_perceptual


def run_gan(
    settings: GanTraining,
    model: nn.Module,
    batch_at: Callable[[int], tuple[Tensor, ...]],
    accelerator: Processes,
    state: Path,
    curves: Curves,
) -> None:
    """DT-BFR's pre-training; the discriminator's real photos are the batch's own."""

    def with_real(step: int) -> swinir_gan.Batch:
        lq, hq = batch_at(step)
        return lq, hq, hq

    swinir_gan.train(
        model,
        UNetDiscriminator(settings.discriminator_width, settings.seed),
        perceptual_module(settings.perceptual, WEIGHTS).to(accelerator.device),
        with_real,
        swinir_gan.GanRecipe(
            iterations=settings.iterations,
            batch=settings.batch,
            micro_batch=settings.micro_batch or settings.batch,
            lr=settings.lr,
            lr_min=settings.lr_min,
            lambda_lpips=settings.lambda_lpips,
            lambda_gan=settings.lambda_gan,
            has_leak=True,
            bf16=settings.bf16,
            seed=settings.seed,
        ),
        accelerator,
        resume=state,
        save_every=SAVE_EVERY,
        on_step=curves.note,
    )


def batch(
    settings: AnyTraining, photos: ImageFolder, targets: ImageFolder | None, ids: list[str], step: int
) -> tuple[Tensor, ...]:
    """The batch of a step (from 0)."""
    chosen = [ids[n] for n in batch_indices(settings.seed, len(ids), settings.batch, step)]
    return read_batch(settings, photos, chosen, str(step), targets)


def read_batch(
    settings: AnyTraining, photos: ImageFolder, ids: list[str], name: str, targets: ImageFolder | None = None
) -> tuple[Tensor, ...]:
    """Photos, mirrored at random, and what is drawn for them, as the kind's objective takes it.

    name: of the random streams: each photo's degradation has one of its own, the batch's noise another.
    """
    if settings.kind == "prior":
        return prior.draw(photos.batch(ids), settings.seed, name)
    pairs = []
    for image_id in ids:
        rng = numpy_stream(settings.seed, "train_restorer", f"{name}/{image_id}")
        images = [folder.read(image_id) for folder in (photos, targets) if folder]
        if rng.random() < 0.5:
            images = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        photo = images[0]
        if settings.kind == "inpainting":
            mask = training_mask(photo.shape[0], rng)
            pairs.append((to_tensor(photo), torch.from_numpy(mask[None].astype("float32"))))
            continue
        preset = PRESETS[settings.degradation]
        lq, hq = preset.training_pair(photo, rng)
        pairs.append((to_tensor(lq), to_tensor(images[1] if targets else hq)))
    parts = tuple(map(torch.stack, zip(*pairs, strict=True)))
    return idm_training.draw(parts[0], parts[1], settings.seed, name) if settings.kind == "idm" else parts


@torch.no_grad()
def scores(
    settings: AnyTraining, model: nn.Module, held_out: tuple[Tensor, ...], device: torch.device
) -> dict[str, float]:
    """What the network reaches on the held-out photos: the prior's noise error, the others' PSNR, LPIPS (seeded)."""
    is_training = model.training
    model.eval()
    images = settings.micro_batch or settings.batch
    if settings.kind == "prior":
        x_start, t, noise = held_out
        found = {"noise_mse": prior.noise_mse(model, (x_start, t, noise), device, images)}
    else:
        found = restoration_scores(settings, model, held_out, device, images)
    model.train(is_training)
    return found


def restoration_scores(
    settings: AnyTraining, model: nn.Module, held_out: tuple[Tensor, ...], device: torch.device, images: int
) -> dict[str, float]:
    """PSNR and LPIPS (seeded) of input and output, `images` at a time."""
    found: dict[str, list[Tensor]] = {}
    perceptual = lpips_seeded().to(device)
    for rows in torch.arange(len(held_out[0])).split(images):
        lq, output, hq = one_pass(settings, model, [part[rows].to(device) for part in held_out], rows)
        for name, shown in (("input", lq), ("output", output)):
            found.setdefault(f"psnr_{name}", []).append(psnr(shown, hq))
            found.setdefault(f"lpips_seeded_{name}", []).append(perceptual(shown, hq))
    return {name: float(torch.cat(parts).mean()) for name, parts in found.items()}


def one_pass(
    settings: AnyTraining, model: nn.Module, some: list[Tensor], rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Input, output and ground truth of some held-out photos; rows: their numbers, which key IDM's noise."""
    if settings.kind == "inpainting":
        hq, mask = some
        lq = hq * (1 - mask)
        return lq, lama.estimate(model, lq, mask) * mask + lq, hq
    lq, hq, *_ = some
    if isinstance(model, idm.IdmNetwork):
        noise = ImageStreams(settings.seed, "held_out", [str(n) for n in rows.tolist()], lq.device)
        return lq, idm.restore(model, idm.sampling_levels(10), lq, lambda: noise.normal(*lq.shape[1:])), hq
    return lq, model(lq).clamp(0, 1), hq
