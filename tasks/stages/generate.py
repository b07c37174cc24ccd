"""Stage `generate`: photos that a diffusion prior draws from noise alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tasks.device import held_device
from tasks.diffusion.samplers import p_sample
from tasks.diffusion.schedule import Schedule
from tasks.noise import ImageStreams
from tasks.priors import load_prior
from tasks.progress import track
from tasks.stage import batches, stage
from tasks.store import Manifest, to_uint8, write_png

if TYPE_CHECKING:
    from tasks.params import GenerateParams

BATCH = 16


@stage
def generate(out: Path, params: GenerateParams, record: Manifest, weights: Path) -> None:
    """Write params.count PNGs. Each image has a stream of noise of its own. weights: the prior."""
    schedule = Schedule.linear().respace(params.respacing)
    ids = [f"sample_{n:05d}" for n in range(params.count)]
    with held_device() as device, torch.no_grad():
        prior = load_prior(params.arch, weights, device)
        for some in track(list(batches(ids, BATCH)), "generate (batches)"):
            noise = ImageStreams(params.seed, "generate", some, device)
            x = noise.normal(3, params.size, params.size)
            for i in reversed(range(len(schedule))):
                x = p_sample(prior, schedule, x, i, noise.normal(*x.shape[1:]))
            for image_id, image in zip(some, (x / 2 + 0.5).clamp(0, 1), strict=True):
                write_png(out / f"{image_id}.png", to_uint8(image))
