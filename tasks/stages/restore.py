"""Stage `restore`: LQ photos to restored photos by one method."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.device import held_device
from tasks.methods import FeedForward, Files, Gen2Res, load
from tasks.restorers import RestorerSpec
from tasks.stage import batches, build_in_shards, stage
from tasks.store import ImageFolder, Manifest, to_uint8

if TYPE_CHECKING:
    from tasks.params import RestoreParams

BATCH = 16


@stage
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
    shard = 256 if isinstance(params.method, FeedForward) else 2 if isinstance(params.method, Gen2Res) else 2 * BATCH
    with held_device() as device:
        run = load(params.method, Files(weights, params.prior, spec), params.seed or 0, device)

        def restored(ids: list[str]) -> Iterator[tuple[str, np.ndarray]]:
            for some in batches(ids, BATCH):
                images = run(lq.batch(some).to(device), some)
                yield from zip(some, map(to_uint8, images), strict=True)

        build_in_shards(out, record, lq, shard, restored)
