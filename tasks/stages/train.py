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

from tasks.degradation import PRESETS
from tasks.degradation.blur_jpeg import BlurJpegRanges, training_pair
from tasks.device import held_device
from tasks.diffusion.unet import UNet
from tasks.metrics.perceptual import lpips_seeded
from tasks.noise import numpy_stream
from tasks.progress import Bar
from tasks.restorers import swinir
from tasks.restorers.checkpoint import write_state_dict
from tasks.restorers.seeding import initial_weights
from tasks.stage import default_store
from tasks.stages.photos import portraits
from tasks.store import ROOT, digest, to_tensor, write_json
from tasks.training import losses, prior, supervised
from tasks.training.loop import batch_indices
from tasks.weights import PRIORS

if TYPE_CHECKING:
    from tasks.params import Params, PriorTraining, RestorerTraining

DEMO = ROOT / "data" / "weights" / "demo"
SAVE_EVERY = 250


def train_prior(params: Params) -> None:
    """data/weights/demo/prior.safetensors: a small ADM U-Net of faces."""
    settings = params.demo_prior
    faces = training_faces(settings)
    recipe = prior.PriorRecipe(
        iterations=settings.iterations,
        batch=settings.batch,
        lr=settings.lr,
        warmup=settings.warmup,
        ema=settings.ema,
        bf16=settings.bf16,
        seed=settings.seed,
    )
    started, recent = time.monotonic(), Recent()
    with held_device() as device, Bar("train_prior (steps)", recipe.iterations) as bar:
        with initial_weights(settings.seed):
            model = UNet(PRIORS[settings.arch])
        averaged = prior.train(
            model,
            torch.from_numpy(faces).permute(0, 3, 1, 2).contiguous(),
            recipe,
            device,
            resume=training_state("prior", settings),
            save_every=SAVE_EVERY,
            on_step=partial(recent.note, bar),
        )
    write_state_dict(DEMO / "prior.safetensors", averaged.state_dict())
    write_card("prior", settings, recent, time.monotonic() - started, device)


def train_restorer(params: Params) -> None:
    """data/weights/demo/swinir.safetensors: a small SwinIR that has seen Eq. 9 and nothing else."""
    settings = params.demo_restorer
    faces = training_faces(settings)
    ranges = PRESETS[settings.degradation]
    assert isinstance(ranges, BlurJpegRanges)
    recipe = supervised.SupervisedRecipe(
        iterations=settings.iterations,
        lr=settings.lr,
        lr_min=settings.lr_min,
        ema=settings.ema,
        bf16=settings.bf16,
        seed=settings.seed,
    )

    def pair(step: int, index: int) -> tuple[Tensor, Tensor]:
        rng = numpy_stream(settings.seed, "train_restorer", f"{step}/{index}")
        face = faces[index]
        lq, hq = training_pair(np.ascontiguousarray(face[:, ::-1]) if rng.random() < 0.5 else face, ranges, rng)
        return to_tensor(lq), to_tensor(hq)

    def batch_at(step: int) -> tuple[Tensor, Tensor]:
        pairs = [pair(step, index) for index in batch_indices(settings.seed, len(faces), settings.batch, step)]
        return torch.stack([lq for lq, _ in pairs]), torch.stack([hq for _, hq in pairs])

    started, recent = time.monotonic(), Recent()
    with held_device() as device, Bar("train_restorer (steps)", recipe.iterations) as bar:
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
            resume=training_state("swinir", settings),
            save_every=SAVE_EVERY,
            on_step=partial(recent.note, bar),
        )
    swinir.save(averaged, DEMO / "swinir.safetensors")
    write_card("swinir", settings, recent, time.monotonic() - started, device)


class Recent:
    """Mean loss over the last steps."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def note(self, bar: Bar, step: int, loss: float) -> None:
        self.losses = [*self.losses[-199:], loss]
        bar.advance()


def training_faces(settings: PriorTraining | RestorerTraining) -> np.ndarray:
    """uint8 [N, H, W, 3]: faces of the split "train", which no experiment uses."""
    return np.stack([image for _, image in portraits(settings.seed, "train", settings.faces, settings.size)])


def training_state(name: str, settings: PriorTraining | RestorerTraining) -> Path:
    """Where a run keeps its state, so that a killed one goes on."""
    return default_store().root / "training" / f"{name}-{digest(settings.model_dump())[:16]}.pt"


def write_card(
    name: str, settings: PriorTraining | RestorerTraining, recent: Recent, seconds: float, device: torch.device
) -> None:
    """The card beside the weights: how they were made."""
    card = {
        "architecture": settings.arch,
        "data": f"{settings.faces} procedural portraits of {settings.size} pixels, seed {settings.seed}, split train",
        "licence": "Apache-2.0",
        "parent": None,
        "recipe": settings.model_dump(mode="json"),
        "loss_mean_of_last_200_steps": float(np.mean(recent.losses)),
        "seconds": round(seconds),
        "device": f"{device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }
    write_json(DEMO / f"{name}.json", card)


TRAINING: Mapping[str, Callable[[Params], None]] = {"train_prior": train_prior, "train_restorer": train_restorer}
