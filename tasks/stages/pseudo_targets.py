"""Stage `pseudo_targets`: restored photos to clean, content-preserving targets (DT-BFR, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from tasks.basics import BadInput, Strict
from tasks.diffusion.fast import for_sampling
from tasks.diffusion.priors import PriorName, load_prior
from tasks.diffusion.schedule import Schedule
from tasks.methods.dt_bfr import PseudoTargets, targets_of
from tasks.noise import ImageStreams
from tasks.running.batching import batch_size, in_batches
from tasks.running.device import held_device
from tasks.running.half import half_precision
from tasks.running.shards import build_in_shards, finished
from tasks.running.stage import shared_stage
from tasks.store.artifact import ImageFolder, Manifest


class PseudoTargetParams(Strict):
    """Stage `pseudo_targets`."""

    seed: int
    arch: PriorName
    settings: PseudoTargets


SHARD = 32  # a killed run loses at most this many images


@shared_stage
def pseudo_targets(
    out: Path, params: PseudoTargetParams, record: Manifest, restored: ImageFolder, weights: Path
) -> None:
    """restored: the restorer's output y0; weights: the diffusion prior."""
    settings = params.settings
    schedule = Schedule.linear().respace(settings.respacing)
    targets = targets_of(settings, schedule)

    with held_device() as device:
        prior = for_sampling(load_prior(params.arch, weights, device), device, settings.bf16)

        def target(y0: Tensor, ids: list[str]) -> Tensor:
            y0 = y0.to(device)
            streams = ImageStreams(params.seed, record.stage, ids, device)
            with half_precision(device, settings.bf16):
                return targets(prior, schedule, y0, partial(streams.normal, *y0.shape[1:]))

        def shard(ids: list[str]) -> Iterator[tuple[str, np.ndarray | BadInput]]:
            size = batch_size(device, restored.side, shard=SHARD)
            for some, images in in_batches(ids, size, restored.batch, target):
                yield from finished(some, images)

        build_in_shards(out, record, restored, SHARD, shard)
