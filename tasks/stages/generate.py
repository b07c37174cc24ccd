"""Stage `generate`: photos that a diffusion prior draws from noise alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pydantic import (
    PositiveInt,
)

from tasks.basics import Strict
from tasks.diffusion.free import sample
from tasks.diffusion.priors import PriorName, load_prior
from tasks.diffusion.schedule import Schedule
from tasks.methods.respacing import Respacing
from tasks.noise import ImageStreams
from tasks.pixels import to_uint8
from tasks.running.device import held_device
from tasks.running.progress import track
from tasks.running.shards import batches
from tasks.running.stage import stage
from tasks.store.artifact import Manifest
from tasks.store.files import write_png


class GenerateParams(Strict):
    """Stage `generate`: faces that a prior draws."""

    seed: int
    arch: PriorName
    respacing: Respacing
    count: PositiveInt
    size: PositiveInt


BATCH = 16


@stage
def generate(out: Path, params: GenerateParams, record: Manifest, weights: Path) -> None:
    """Write params.count PNGs. Each image has a stream of noise of its own. weights: the prior."""
    schedule = Schedule.linear().respace(params.respacing)
    ids = [f"sample_{n:05d}" for n in range(params.count)]
    with held_device() as device:
        prior = load_prior(params.arch, weights, device)
        for some in track(list(batches(ids, BATCH)), "generate (batches)"):
            noise = ImageStreams(params.seed, "generate", some, device)
            drawn = sample(prior, schedule, partial(noise.normal, 3, params.size, params.size))
            for image_id, image in zip(some, drawn, strict=True):
                write_png(out / f"{image_id}.png", to_uint8(image))
