"""Shards: a stage's work in parts, each built once and kept, by any number of processes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tasks.basics import BadInput
from tasks.pixels import to_uint8
from tasks.running.progress import track
from tasks.running.stage import default_store
from tasks.store.artifact import Artifact, ImageFolder, Manifest
from tasks.store.files import Quarantined, write_png, write_quarantine
from tasks.store.keys import digest
from tasks.store.publish import link_files


class ByImage(Protocol):
    """What the work is divided by: images with ids, each with the digest of its contents."""

    @property
    def ids(self) -> list[str]: ...

    @property
    def digest(self) -> str: ...

    def sha256(self, image_id: str) -> str: ...


WRITERS = 4  # threads that compress PNGs while the next images are computed


def build_in_shards(
    out: Path,
    record: Manifest,
    source: ImageFolder,
    size: int,
    make: Callable[[list[str]], Iterable[tuple[str, np.ndarray | BadInput]]],
) -> None:
    """Fill `out` with one PNG per image of `source`, in shards.

    make(ids) yields (id, uint8 [H, W, 3]), or (id, why) for an image that is then set aside in quarantine.csv. Raises
    BadInput if that happens to all of them.
    """

    def write(folder: Path, ids: list[str]) -> None:
        aside: list[Quarantined] = []
        with ThreadPoolExecutor(WRITERS) as pool:
            jobs = []
            for image_id, image in make(ids):
                if isinstance(image, BadInput):
                    aside.append(Quarantined(image_id, f"{record.stage}: {image}"))
                else:
                    jobs.append(pool.submit(write_png, folder / f"{image_id}.png", image))
            for job in jobs:
                job.result()
        if aside:
            write_quarantine(folder, aside)

    made = [Artifact(folder) for _, folder in shards(record, source, size, write)]
    for part in made:
        link_files(part.root, out, [name for name in part.manifest.files if name.endswith(".png")])
    aside = [row for part in made for row in part.quarantine]
    if aside and len(aside) == len(source.ids):
        raise BadInput(f"no image could be made, the first is {aside[0].file}: {aside[0].reason}")
    if aside:
        write_quarantine(out, aside)


def finished(ids: Sequence[str], images: Tensor) -> Iterator[tuple[str, np.ndarray | BadInput]]:
    """(id, uint8 [H, W, 3]) of [N, 3, H, W] in [0, 1]; in place of an image that is not finite, the reason."""
    is_finite = torch.isfinite(images).flatten(1).all(dim=1).tolist()
    for image_id, image, is_good in zip(ids, images, is_finite, strict=True):
        yield image_id, to_uint8(image) if is_good else BadInput("the network's output is not a finite number (NaN)")


def shards(
    record: Manifest,
    source: ByImage,
    size: int,
    make: Callable[[Path, list[str]], None],
    beside: Sequence[ByImage | None] = (),
) -> list[tuple[list[str], Path]]:
    """(ids, folder that make(folder, ids) filled) for every `size` images of `source`; finished ones are kept.

    A shard's key covers the images in it, those of the same ids in `beside`, and all of `record` but the other images,
    so a grown folder or a killed run costs only the shards that changed or were in flight. Shards that another process
    is making are left to it; one whose process died is made here.
    """
    parts = list(batches(source.ids, size))
    found: dict[int, Path] = {}

    def build(n: int, is_waiting: bool) -> None:
        ids = parts[n]
        shard = shard_of(record, ids, source, beside)

        def fill(folder: Path) -> None:
            make(folder, ids)

        store = default_store()
        folder = store.build(shard, fill) if is_waiting else store.build_if_free(shard, fill)
        if folder is not None:
            found[n] = folder

    for n in track(range(len(parts)), f"{record.stage} ({len(source.ids)} images)"):
        build(n, is_waiting=False)
    for n in range(len(parts)):
        if n not in found:
            build(n, is_waiting=True)
    return [(ids, found[n]) for n, ids in enumerate(parts)]


def shard_of(record: Manifest, ids: list[str], source: ByImage, beside: Sequence[ByImage | None]) -> Manifest:
    """What the shard of these images will be."""
    folders = [source, *filter(None, beside)]
    others = {name: value for name, value in record.inputs.items() if value not in {each.digest for each in folders}}
    images = [(image_id, *(each.sha256(image_id) for each in folders)) for image_id in ids]
    key = digest([record.stage, record.params, others, record.code, images])
    return record.model_copy(update={"stage": f"{record.stage}.shard", "key": key, "inputs": others})


def batches(ids: list[str], size: int) -> Iterator[list[str]]:
    """Consecutive runs of at most `size` ids."""
    for first in range(0, len(ids), size):
        yield ids[first : first + size]
