"""Stage `photos`: the HQ photos of one split, as upright square sRGB PNGs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tasks.basics import BadInput, Strict
from tasks.data.datasets import Dataset, Folders, Heads, Split
from tasks.data.ingest import Ingest, PhotoFolder
from tasks.degradation.blur_jpeg import PRESETS
from tasks.degradation.preset import degrade
from tasks.noise import numpy_stream, stream_seed
from tasks.running.progress import track
from tasks.running.stage import stage
from tasks.stages.ingest import write_photos
from tasks.store.artifact import Manifest
from tasks.store.files import write_png, write_quarantine


class PhotosParams(Strict):
    """Stage `photos`: the HQ photos of one split."""

    seed: int
    dataset: Dataset
    split: Split


@stage
def photos(out: Path, params: PhotosParams, record: Manifest, folder: PhotoFolder | None = None) -> None:
    """Draw the split's photos, or read them from `folder`; files that cannot be used go to quarantine.csv."""
    if isinstance(params.dataset, Heads):
        count = getattr(params.dataset, params.split)
        for image_id, image in heads(params.seed, params.split, count, params.dataset.size):
            if params.split == "train":
                image = flawed(image, params.dataset.flawed, params.seed, image_id)
            write_png(out / f"{image_id}.png", image)
        write_quarantine(out, [])
    else:
        assert folder is not None  # flows/steps.py: a data set of folders comes with its folder
        whole = Ingest(folder.path, params.dataset.size)
        source = split_of(params.dataset, params.split, whole) if params.dataset.kind == "folders" else whole
        write_photos(out, source, source.quarantine)


def heads(seed: int, split: str, count: int, size: int) -> Iterator[tuple[str, np.ndarray]]:
    """`count` rendered heads of a named split; heads of other splits and seeds are other people."""
    from tasks.heads.many import render_many  # here, not above: takes half a second

    ids = [f"{split}_{index:05d}" for index in range(count)]
    rendered = render_many([stream_seed(seed, "heads", image_id) for image_id in ids], size)
    for image_id in track(ids, f"heads ({split})"):
        yield image_id, next(rendered)


def flawed(image: np.ndarray, share: float, seed: int, image_id: str) -> np.ndarray:
    """With probability `share` the photo with slight blur, noise and JPEG blocks, as any collection has them."""
    rng = numpy_stream(seed, "flaws", image_id)
    return degrade(image, PRESETS["demo128_flaws"], rng) if rng.random() < share else image


def split_of(dataset: Folders, split: str, hq: Ingest) -> Ingest:
    """The files of a split: DT-BFR fine-tunes on the first of the sorted photos and tests on the last."""
    if split in ("real", "train") or dataset.test is None:
        return hq
    if split == "finetune" and len(hq) <= dataset.test:
        raise BadInput(f"{hq.folder} has {len(hq)} photos; dataset.test = {dataset.test} leaves none to fine-tune on.")
    return hq[-dataset.test :] if split == "test" else hq[: -dataset.test][: dataset.finetune]
