"""Stage `restore`: LQ photos to restored photos by one method."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tasks.basics import BadInput, Strict
from tasks.diffusion.priors import PriorName
from tasks.methods.method import Networks
from tasks.methods.table import Settings
from tasks.restorers.network import Architecture
from tasks.running.batching import batch_size, in_batches
from tasks.running.device import held_device
from tasks.running.shards import build_in_shards, finished
from tasks.running.stage import shared_stage
from tasks.store.artifact import ImageFolder, Manifest


class RestoreParams(Strict):
    """Stage `restore`: one method over a folder. seed: None for a method that draws nothing."""

    method: Settings
    seed: int | None = None
    prior: PriorName | None = None
    estimator: Architecture | None = None


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
    first = params.estimator.with_weights(estimator) if params.estimator and estimator else None
    with held_device() as device:
        run = params.method.build(Networks(weights, params.prior, first), params.seed or 0, device)

        def restored(ids: list[str]) -> Iterator[tuple[str, np.ndarray | BadInput]]:
            size = batch_size(device, lq.side)
            for some, images in in_batches(ids, size, lq.batch, lambda images, some: run(images.to(device), some)):
                yield from finished(some, images)

        build_in_shards(out, record, lq, params.method.shard, restored)
