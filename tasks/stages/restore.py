"""Stage `restore`: LQ photos to restored photos by one method."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.batching import batch_size, in_batches
from tasks.device import held_device
from tasks.methods import FeedForward, Files, Gen2Res, load
from tasks.restorers import RestorerSpec
from tasks.stage import build_in_shards, finished, shared_stage
from tasks.store import BadInput, ImageFolder, Manifest

if TYPE_CHECKING:
    from tasks.params import RestoreParams

SHARD = 32  # a killed run loses at most this many images


@shared_stage
def restore(
    out: Path,
    params: RestoreParams,
    record: Manifest,
    lq: ImageFolder,
    weights: Path,
    estimator: Path | None = None,
) -> None:
    """weights: the method's network, or the diffusion prior; estimator: DifFace's first network."""
    spec = None
    if params.estimator is not None:
        spec = RestorerSpec(params.estimator, estimator, 0.5 if params.fidelity is None else params.fidelity)
    shard = 256 if isinstance(params.method, FeedForward) else 2 if isinstance(params.method, Gen2Res) else SHARD
    with held_device() as device:
        run = load(params.method, Files(weights, params.prior, spec), params.seed or 0, device)

        def restored(ids: list[str]) -> Iterator[tuple[str, np.ndarray | BadInput]]:
            size = batch_size(device, lq.side)
            for some, images in in_batches(ids, size, lq.batch, lambda images, some: run(images.to(device), some)):
                yield from finished(some, images)

        build_in_shards(out, record, lq, shard, restored)
