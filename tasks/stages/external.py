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

    Images of another size are resized. Raises BadInput if no image matches.
    """
    images = Ingest(folder.path, params.size, "aligned")
    matched: set[str] = set()

    def known() -> Iterator[tuple[str, np.ndarray]]:
        for image_id, image in images:
            if image_id in lq.ids:
                matched.add(image_id)
                yield image_id, image
            else:
                images.quarantine.append(Quarantined(image_id, f"no LQ photo of {lq.root} has this id"))
        if not matched:
            expected = ", ".join(f"{image_id}.png" for image_id in lq.ids[:3])
            raise BadInput(f"{folder.path}: no image is named by the id of an LQ photo; expected {expected}, …")
        missing = [image_id for image_id in lq.ids if image_id not in matched]
        images.quarantine.extend(Quarantined(f"{image_id}.png", f"missing in {folder.path}") for image_id in missing)

    write_photos(out, known(), images.quarantine)
