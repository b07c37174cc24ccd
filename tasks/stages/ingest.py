"""Stage `ingest`: a user's folder of photos, as upright square sRGB PNGs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import (
    PositiveInt,
)

from tasks.basics import Strict
from tasks.data.ingest import Cropped, Ingest, PairedIngest, PhotoFolder
from tasks.degradation.masks import mask_image
from tasks.running.stage import stage
from tasks.store.artifact import Manifest
from tasks.store.files import Quarantined, none_usable, read_csv, write_csv, write_png, write_quarantine

CROPPED = "cropped.csv"
HOLES = "holes.csv"


class IngestParams(Strict):
    """Stage `ingest`: a user's folder; of two folders with the same faces, the photos of `side`."""

    size: PositiveInt
    fit: Literal["aligned", "crop"]
    side: Literal["lq", "hq"] = "lq"


@stage
def ingest(
    out: Path,
    params: IngestParams,
    record: Manifest,
    folder: PhotoFolder,
    hq: PhotoFolder | None = None,
    masks: PhotoFolder | None = None,
) -> None:
    """Write every usable photo of `folder`; the others go to quarantine.csv. Raises BadInput if none is usable.

    cropped.csv lists the photos that are not square, of which the centre was taken.

    hq: a folder of ground truth by the same names; masks: one of masks, white = missing. Then only photos that are
    usable in both are written, and what is missing is black; holes.csv says which share of each photo that is.
    """
    if masks is not None:
        masked = PairedIngest(folder.path, masks.path, params.size, params.fit, role="mask")
        shares: dict[str, float] = {}
        write_photos(out, with_holes(masked, shares), masked.quarantine)
        write_holes(out, shares)
        write_cropped(out, masked.cropped)
    elif hq is None:
        alone = Ingest(folder.path, params.size, params.fit, is_lq=True)
        write_photos(out, alone, alone.quarantine)
        write_cropped(out, alone.cropped)
    else:
        pairs = PairedIngest(folder.path, hq.path, params.size, params.fit)
        side = ((image_id, lq if params.side == "lq" else truth) for image_id, lq, truth in pairs)
        write_photos(out, side, pairs.quarantine)
        write_cropped(out, pairs.cropped)


def with_holes(masked: PairedIngest, shares: dict[str, float]) -> Iterator[tuple[str, np.ndarray]]:
    """The photos with their holes; the share of each hole, 0 to 1, goes to `shares`."""
    for image_id, lq, hole in masked:
        shares[image_id] = float(hole.mean())
        yield image_id, with_hole(lq, hole)


def with_hole(photo: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The photo, black where `hole` (bool [H, W]) is. Black elsewhere becomes 1 of 255: black is a hole."""
    return mask_image(np.maximum(photo, 1), hole)


def write_holes(folder: Path, shares: Mapping[str, float]) -> None:
    """holes.csv: image_id, and the share of the photo that its hole covers, 0 to 1."""
    rows = ((image_id, f"{share:.4f}") for image_id, share in shares.items())
    write_csv(folder / HOLES, ("image_id", "share"), rows)


def write_cropped(folder: Path, cropped: Iterable[Cropped]) -> None:
    """cropped.csv (file, width, height), also when empty."""
    write_csv(folder / CROPPED, Cropped._fields, cropped)


def read_cropped(folder: Path) -> list[Cropped]:
    """Rows of cropped.csv; none where the folder has no such file."""
    rows = read_csv(folder / CROPPED)
    return [Cropped(row["file"], int(row["width"]), int(row["height"])) for row in rows]


def write_photos(out: Path, photos: Iterable[tuple[str, np.ndarray]], quarantine: list[Quarantined]) -> None:
    """Write the photos (id, uint8 [H, W, 3]), and quarantine.csv with what was set aside while they were read."""
    count = 0
    for image_id, image in photos:
        write_png(out / f"{image_id}.png", image)
        count += 1
    if not count:
        raise none_usable(quarantine)
    write_quarantine(out, quarantine)
