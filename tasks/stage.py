"""A stage: a plain function from typed parameters and finished inputs to one folder, built once per key.

Both drivers, the Prefect nodes and the command line that DVC calls, run these same objects, so they share one cache.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tasks.progress import track
from tasks.store import (
    ROOT,
    BadInput,
    ImageFolder,
    Manifest,
    Store,
    Strict,
    code_digest,
    contents_digest,
    digest,
    link_files,
    write_png,
)


class Digested(Protocol):
    """An input whose contents have a digest: an artefact, or a folder of a user's photos."""

    @property
    def digest(self) -> str: ...


Source = Digested | Path
Make = Callable[..., None]


def default_store() -> Store:
    """The store of this checkout, data/.store, or the folder named by BFR_STORE (another disk, a shared mount)."""
    return Store(Path(os.environ.get("BFR_STORE", ROOT / "data" / ".store")))


@dataclass(frozen=True)
class Stage:
    """`make(out, params, record, **inputs)` fills the empty folder `out`; `record` says what is being made.

    Inputs are artefacts, folders of photos or single files (weights, a camera file); their contents, not their paths,
    enter the key.
    """

    name: str
    make: Make

    def record(self, params: Strict, **inputs: Source) -> Manifest:
        """What the result will be, without making it; `record.key` is its key."""
        code = code_digest(self.make.__module__)
        described = params.model_dump(mode="json")
        digests = {name: source_digest(name, source) for name, source in sorted(inputs.items())}
        key = digest([self.name, described, digests, code])
        return Manifest(stage=self.name, key=key, params=described, inputs=digests, code=code, files={})

    def is_built(self, params: Strict, **inputs: Source) -> bool:
        return default_store().has(self.name, self.record(params, **inputs).key)

    def __call__(self, params: Strict, **inputs: Source) -> ImageFolder:
        """The finished result, made now or found in the store."""
        record = self.record(params, **inputs)
        root = default_store().build(record, lambda out: self.make(out, params, record, **inputs))
        return ImageFolder(root)


def stage(make: Make) -> Stage:
    """Turn a `make` function into a stage of the same name."""
    return Stage(make.__name__, make)


def source_digest(name: str, source: Source) -> str:
    """Content digest of an input. Raises BadInput if the file is missing."""
    if not isinstance(source, Path):
        return source.digest
    if not source.is_file():
        raise BadInput(
            f"{source} is missing (needed as {name}). Put the file there, or correct its path in params.yaml."
        )
    return contents_digest(source)


def build_in_shards(
    out: Path,
    record: Manifest,
    source: ImageFolder,
    size: int,
    make: Callable[[list[str]], Iterable[tuple[str, np.ndarray]]],
) -> None:
    """Fill `out` with one PNG per image of `source`, in shards; make(ids) yields (id, uint8 [H, W, 3])."""

    def write(folder: Path, ids: list[str]) -> None:
        for image_id, image in make(ids):
            write_png(folder / f"{image_id}.png", image)

    for ids, folder in shards(record, source, size, write):
        link_files(folder, out, [f"{image_id}.png" for image_id in ids])


def shards(
    record: Manifest,
    source: ImageFolder,
    size: int,
    make: Callable[[Path, list[str]], None],
    beside: ImageFolder | None = None,
) -> Iterator[tuple[list[str], Path]]:
    """(ids, folder that make(folder, ids) filled) for every `size` images of `source`; finished ones are kept.

    A shard's key covers the images in it, those of the same ids in `beside`, and all of `record` but the other images,
    so a grown folder or a killed run costs only the shards that changed or were in flight.
    """
    folders = [source, beside] if beside else [source]
    others = {name: value for name, value in record.inputs.items() if value not in {each.digest for each in folders}}
    parts = list(batches(source.ids, size))
    for ids in track(parts, f"{record.stage} ({len(source.ids)} images)"):
        images = [(image_id, *(each.sha256(image_id) for each in folders)) for image_id in ids]
        key = digest([record.stage, record.params, others, record.code, images])
        shard = record.model_copy(update={"stage": f"{record.stage}.shard", "key": key, "inputs": others})

        def fill(folder: Path, ids: list[str] = ids) -> None:
            make(folder, ids)

        yield ids, default_store().build(shard, fill)


def batches(ids: list[str], size: int) -> Iterator[list[str]]:
    """Consecutive runs of at most `size` ids."""
    for first in range(0, len(ids), size):
        yield ids[first : first + size]
