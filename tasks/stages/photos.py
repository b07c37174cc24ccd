"""Stage `photos`: the HQ photos of one split, as upright square sRGB PNGs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.data.ingest import Ingest
from tasks.data.portraits import portrait
from tasks.noise import stream_seed
from tasks.progress import track
from tasks.stage import stage
from tasks.stages.ingest import write_photos
from tasks.store import ROOT, BadInput, Manifest, write_png, write_quarantine

if TYPE_CHECKING:
    from tasks.params import Folders, PhotosParams


@stage
def photos(out: Path, params: PhotosParams, record: Manifest) -> None:
    """Draw or read the split's photos; files that cannot be used go to quarantine.csv."""
    if params.dataset.kind == "portraits":
        count = getattr(params.dataset, params.split)
        for image_id, image in portraits(params.seed, params.split, count, params.dataset.size):
            write_png(out / f"{image_id}.png", image)
        write_quarantine(out, [])
    else:
        write_photos(out, split_of(params.dataset, params.split))


def portraits(seed: int, split: str, count: int, size: int) -> Iterator[tuple[str, np.ndarray]]:
    """`count` procedural faces of a named split; faces of other splits and seeds are other people."""
    for index in track(range(count), f"portraits ({split})"):
        image_id = f"{split}_{index:05d}"
        yield image_id, portrait(stream_seed(seed, "portraits", image_id), size)


def split_of(dataset: Folders, split: str) -> Ingest:
    """The files of a split: DT-BFR fine-tunes on the first of the sorted photos and tests on the last."""
    if split == "real":
        return Ingest(ROOT / dataset.real, dataset.size)
    hq = Ingest(ROOT / dataset.hq, dataset.size)
    if len(hq) <= dataset.test:
        raise BadInput(f"{hq.folder} has {len(hq)} photos; dataset.test = {dataset.test} leaves none to fine-tune on.")
    return hq[-dataset.test :] if split == "test" else hq[: -dataset.test]
