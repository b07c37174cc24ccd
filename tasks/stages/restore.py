"""Stage `restore`: LQ photos to restored photos by one restorer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.device import held_device
from tasks.restorers import RestorerSpec, load_restorer
from tasks.stage import batches, build_in_shards, stage
from tasks.store import ImageFolder, Manifest, to_uint8

if TYPE_CHECKING:
    from tasks.params import RestoreParams

BATCH = 8
SHARD = 256


@stage
def restore(out: Path, params: RestoreParams, record: Manifest, lq: ImageFolder, weights: Path) -> None:
    """weights: the restorer's checkpoint, pre-trained or adapted."""
    with held_device() as device:
        restorer = load_restorer(RestorerSpec(params.arch, weights, params.fidelity), device)

        def restored(ids: list[str]) -> Iterator[tuple[str, np.ndarray]]:
            for some in batches(ids, BATCH):
                images = restorer.restore(lq.batch(some).to(device), some)
                yield from zip(some, map(to_uint8, images), strict=True)

        build_in_shards(out, record, lq, SHARD, restored)
