"""Stage `external`: images that another program made of the same LQ photos, matched by image id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import (
    PositiveInt,
)

from tasks.basics import BadInput, Strict
from tasks.data.ingest import Ingest, PhotoFolder
from tasks.running.stage import stage
from tasks.stages.ingest import write_photos
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import Quarantined


class ExternalParams(Strict):
    """Stage `external`: a folder of images made elsewhere."""

    size: PositiveInt


@stage
def external(out: Path, params: ExternalParams, record: Manifest, folder: PhotoFolder, lq: ImageFolder) -> None:
    """Write the images whose id is one of lq's; the others, and ids without an image, go to quarantine.csv.

    Images of another size are resized. Raises BadInput if no image has such an id, or none that has can be used.
    """
    images = Ingest(folder.path, params.size, "aligned")
    ids = set(lq.ids)
    strangers = [Quarantined(image_id, "no LQ photo has this id") for image_id in images.paths if image_id not in ids]
    missing = [Quarantined(f"{lost}.png", "no image has this id") for lost in lq.ids if lost not in images.paths]
    if len(strangers) == len(images):
        expected = ", ".join(f"{image_id}.png" for image_id in lq.ids[:3])
        raise BadInput(f"{folder.path}: no image is named by the id of an LQ photo; expected {expected}, …")
    images.paths = {image_id: path for image_id, path in images.paths.items() if image_id in ids}

    def matched() -> Iterator[tuple[str, np.ndarray]]:
        yield from images
        images.quarantine += [*strangers, *missing]

    write_photos(out, matched(), images.quarantine)
