"""The stages that make the demo's embedded weights anew. Each is one seeded run on procedural portraits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from tasks import idm
from tasks.degradation import PRESETS
from tasks.degradation.blur_jpeg import BlurJpegRanges, training_pair
from tasks.device import held_device
from tasks.diffusion.schedule import Schedule
from tasks.diffusion.training_loss import training_losses
from tasks.diffusion.unet import UNet
from tasks.metrics.full_reference import psnr
from tasks.metrics.perceptual import lpips_seeded
from tasks.noise import ImageStreams, numpy_stream
from tasks.priors import PRIORS
from tasks.progress import Bar
from tasks.restorers import swinir
from tasks.restorers.checkpoint import write_state_dict
from tasks.restorers.seeding import initial_weights
from tasks.stage import default_store
from tasks.stages.photos import flawed, portraits
from tasks.store import ROOT, digest, to_tensor, write_json
from tasks.training import idm as idm_training
from tasks.training import losses, prior, supervised
from tasks.training.loop import batch_indices

if TYPE_CHECKING:
    from tasks.params import IdmTraining, Params, PriorTraining, RestorerTraining

    AnyTraining = PriorTraining | RestorerTraining | IdmTraining
    PairTraining = RestorerTraining | IdmTraining

DEMO = ROOT / "data" / "weights" / "demo"
SAVE_EVERY = 250
HELD_OUT = 64  # faces that a card's scores are measured on


def train_prior(params: Params) -> None:
    """data/weights/demo/prior.safetensors: a small ADM U-Net of faces."""
    settings = params.demo_prior
    faces = faces_of(settings, "train", settings.faces)
    recipe = prior.PriorRecipe(
        iterations=settings.iterations,
        batch=settings.batch,
        lr=settings.lr,
        warmup=settings.warmup,
        ema=settings.ema,
        bf16=settings.bf16,
        seed=settings.seed,
    )
    state = training_state("prior", settings)
    with held_device() as device, Bar("train_prior (steps)", recipe.iterations) as bar:
        log = TrainingLog(bar, state)
        with initial_weights(settings.seed):
            model = UNet(PRIORS[settings.arch])
        averaged = prior.train(
            model,
            torch.from_numpy(faces).permute(0, 3, 1, 2).contiguous(),
            recipe,
            device,
            resume=state,
            save_every=SAVE_EVERY,
            on_step=log.note,
        )
        scores = prior_scores(averaged, settings, device)
    write_state_dict(DEMO / "prior.safetensors", averaged.half().state_dict())
    write_card("prior", settings, scores, log, device)


def prior_scores(model: UNet, settings: PriorTraining, device: torch.device) -> dict[str, float]:
    """Mean squared error of the predicted noise on faces that the prior has not seen."""
    faces = torch.from_numpy(faces_of(settings, "held_out", HELD_OUT)).permute(0, 3, 1, 2)
    recipe = prior.PriorRecipe(1, HELD_OUT, settings.lr, settings.warmup, settings.ema, False, settings.seed)
    x_start, t, noise = prior.draw(faces, 0, recipe, device)
    with torch.no_grad():
        terms = training_losses(model.eval(), Schedule.linear(), x_start, t, noise)
    return {"held_out_noise_mse": float(terms["mse"].mean())}


def train_restorer(params: Params) -> None:
    """data/weights/demo/swinir.safetensors: a small SwinIR that has seen Eq. 9 and nothing else."""
    settings = params.demo_restorer
    faces = faces_of(settings, "train", settings.faces)
    recipe = supervised.SupervisedRecipe(
        iterations=settings.iterations,
        lr=settings.lr,
        lr_min=settings.lr_min,
        ema=settings.ema,
        bf16=settings.bf16,
        seed=settings.seed,
    )

    def batch_at(step: int) -> tuple[Tensor, Tensor]:
        indices = batch_indices(settings.seed, len(faces), settings.batch, step)
        return degraded(faces[indices], settings, [f"{step}/{index}" for index in indices])

    state = training_state("swinir", settings)
    with held_device() as device, Bar("train_restorer (steps)", recipe.iterations) as bar:
        log = TrainingLog(bar, state)
        accelerator = Accelerator(cpu=device.type == "cpu")
        perceptual = lpips_seeded().to(device)

        def loss(output: Tensor, hq: Tensor) -> Tensor:
            return losses.l1(output, hq) + settings.lambda_lpips * perceptual(output, hq).mean()

        averaged = supervised.train(
            swinir.build(swinir.DEMO, seed=settings.seed),
            loss,
            batch_at,
            recipe,
            accelerator,
            resume=state,
            save_every=SAVE_EVERY,
            on_step=log.note,
        )
        scores = restorer_scores(partial(swinir.restore, averaged.eval()), settings, perceptual, device)
    swinir.save(averaged, DEMO / "swinir.safetensors")
    write_card("swinir", settings, scores, log, device)


def train_idm(params: Params) -> None:
    """data/weights/demo/idm.safetensors: IDM's first model, trained on Eq. 9 and on faces with flaws of their own."""
    settings = params.demo_idm
    faces = faces_of(settings, "train", settings.faces)
    targets = [flawed(face, settings.flawed, settings.seed, f"train_{n:05d}") for n, face in enumerate(faces)]
    images = np.stack(targets)
    recipe = idm_training.IdmRecipe(
        iterations=settings.iterations,
        lr=settings.lr,
        warmup=settings.warmup,
        ema=settings.ema,
        norm=1,
        bf16=settings.bf16,
        seed=settings.seed,
    )

    def batch_at(step: int) -> tuple[Tensor, Tensor]:
        indices = batch_indices(settings.seed, len(images), settings.batch, step)
        return degraded(images[indices], settings, [f"{step}/{index}" for index in indices])

    state = training_state("idm", settings)
    with held_device() as device, Bar("train_idm (steps)", recipe.iterations) as bar:
        log = TrainingLog(bar, state)
        with initial_weights(settings.seed):
            model = idm.Idm(idm.NETWORKS[settings.arch])
        averaged = idm_training.train(
            model, batch_at, recipe, device, resume=state, save_every=SAVE_EVERY, on_step=log.note
        )

        def restore(lq: Tensor) -> Tensor:
            noise = ImageStreams(settings.seed, "held_out", [str(n) for n in range(len(lq))], device)
            return idm.restore(averaged, idm.sampling_levels(10), lq, lambda: noise.normal(*lq.shape[1:]))

        scores = restorer_scores(restore, settings, lpips_seeded().to(device), device)
    write_state_dict(DEMO / "idm.safetensors", averaged.half().state_dict())
    write_card("idm", settings, scores, log, device)


def degraded(faces: np.ndarray, settings: PairTraining, names: list[str]) -> tuple[Tensor, Tensor]:
    """LQ and HQ batches, float32 [N, 3, H, W]; every face mirrored and degraded by the stream of its name."""
    ranges = PRESETS[settings.degradation]
    assert isinstance(ranges, BlurJpegRanges)
    pairs = []
    for face, name in zip(faces, names, strict=True):
        rng = numpy_stream(settings.seed, "train_restorer", name)
        face = np.ascontiguousarray(face[:, ::-1]) if rng.random() < 0.5 else face
        pairs.append([to_tensor(image) for image in training_pair(face, ranges, rng)])
    lq, hq = map(torch.stack, zip(*pairs, strict=True))
    return lq, hq


def restorer_scores(
    restore: Callable[[Tensor], Tensor], settings: PairTraining, perceptual: losses.Perceptual, device: torch.device
) -> dict[str, float]:
    """PSNR and LPIPS (seeded) before and after restoration, on faces that the restorer has not seen."""
    names = [f"held_out/{index}" for index in range(HELD_OUT)]
    lq, hq = degraded(faces_of(settings, "held_out", HELD_OUT), settings, names)
    lq, hq = lq.to(device), hq.to(device)
    scores: dict[str, float] = {}
    for name, images in (("input", lq), ("output", restore(lq))):
        scores[f"held_out_psnr_{name}"] = float(psnr(images, hq).mean())
        scores[f"held_out_lpips_seeded_{name}"] = float(perceptual(images, hq).mean())
    return scores


class TrainingLog:
    """The losses of the last steps, and the seconds that all parts of a killed and resumed run took.

    state: the run's state file; the seconds are kept beside it, as often as it is saved.
    """

    def __init__(self, bar: Bar, state: Path) -> None:
        self.bar, self.path = bar, state.with_suffix(".seconds")
        self.losses: list[float] = []
        self.started = time.monotonic() - (float(self.path.read_text()) if state.exists() else 0.0)

    def note(self, step: int, loss: float) -> None:
        self.losses = [*self.losses[-199:], loss]
        if step % SAVE_EVERY == 0:
            self.path.write_text(f"{self.seconds}\n")
        self.bar.advance()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


def faces_of(settings: AnyTraining, split: str, count: int) -> np.ndarray:
    """uint8 [count, H, W, 3]: faces of a split that no experiment uses."""
    return np.stack([image for _, image in portraits(settings.seed, split, count, settings.size)])


def training_state(name: str, settings: AnyTraining) -> Path:
    """Where a run keeps its state, so that a killed one goes on."""
    return default_store().root / "training" / f"{name}-{digest(settings.model_dump())[:16]}.pt"


def write_card(
    name: str,
    settings: AnyTraining,
    scores: dict[str, float],
    log: TrainingLog,
    device: torch.device,
) -> None:
    """The card beside the weights: how they were made."""
    card = {
        "architecture": settings.arch,
        "data": f"{settings.faces} procedural portraits of {settings.size} pixels, seed {settings.seed}, split train",
        "licence": "Apache-2.0",
        "parent": None,
        "recipe": settings.model_dump(mode="json"),
        "scores": {"loss_mean_of_last_200_steps": float(np.mean(log.losses)), **scores},
        "seconds": round(log.seconds),
        "device": f"{device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }
    write_json(DEMO / f"{name}.json", card)


TRAINING: Mapping[str, Callable[[Params], None]] = {
    "train_prior": train_prior,
    "train_restorer": train_restorer,
    "train_idm": train_idm,
}
