"""Stage `degrade`: HQ photos to LQ photos by a named degradation; every photo draws from a stream of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import (
    PositiveInt,
)

from tasks.basics import Strict
from tasks.degradation.preset import degrade as degrade_image
from tasks.degradation.presets import PRESETS, DegradationName
from tasks.noise import numpy_stream
from tasks.running.shards import build_in_shards
from tasks.running.stage import shared_stage
from tasks.store.artifact import ImageFolder, Manifest


class DegradeParams(Strict):
    """Stage `degrade`. `name` keys the noise, so two degradations of one photo are independent."""

    seed: int
    name: str
    preset: DegradationName
    iso: PositiveInt | None


SHARD = 500  # about half a minute of 512 x 512 photos


@shared_stage
def degrade(out: Path, params: DegradeParams, record: Manifest, hq: ImageFolder, camera: Path | None = None) -> None:
    """hq: the photos to degrade; camera: the camera file of a RAW degradation, if it is not the preset's."""

    preset = PRESETS[params.preset]
    if camera is not None:
        assert params.iso is not None  # the schema of an experiment: camera and iso go together
        preset = preset.with_camera(camera, params.iso)

    position = {image_id: n for n, image_id in enumerate(hq.ids)}

    def lq(ids: list[str]) -> Iterator[tuple[str, np.ndarray]]:
        for image_id in ids:
            rng = numpy_stream(params.seed, f"degrade/{params.name}", image_id)
            yield image_id, degrade_image(hq.read(image_id), preset, rng, position[image_id])

    # a position is not in a shard's key, so where it counts, all photos are one shard
    build_in_shards(out, record, hq, len(hq.ids) if preset.needs_position else SHARD, lq)
