"""A stage: a plain function from typed parameters and finished inputs to one folder, built once per key.

Both drivers, the Prefect nodes and the command line that DVC calls, run these same objects, so they share one cache.
"""

import logging
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tasks.batching import asked_number
from tasks.progress import track
from tasks.store import (
    ROOT,
    Artifact,
    BadInput,
    ImageFolder,
    Manifest,
    Quarantined,
    Store,
    Strict,
    code_digest,
    contents_digest,
    digest,
    link_files,
    to_uint8,
    write_png,
    write_quarantine,
)

WRITERS = 4  # threads that compress PNGs while the next images are computed


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

    is_shared: several processes, on as many GPUs or machines, can make one result together, shard by shard. Inputs are
    artefacts, folders of photos or single files (weights, a camera file); their contents, not their paths, enter the
    key.
    """

    name: str
    make: Make
    is_shared: bool = False

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
        with helpers(self, params, inputs, record):
            root = default_store().build(
                record, lambda out: self.make(out, params, record, **inputs), is_shared=self.is_shared
            )
        return ImageFolder(root)


def stage(make: Make) -> Stage:
    """Turn a `make` function into a stage of the same name."""
    return Stage(make.__name__, make)


def shared_stage(make: Make) -> Stage:
    """The same for a function that does its work in `shards`."""
    return Stage(make.__name__, make, is_shared=True)


@contextmanager
def helpers(work: Stage, params: Strict, inputs: dict[str, Source], record: Manifest) -> Iterator[None]:
    """While the block runs, further processes make the same result: BFR_WORKERS in all, by default one for each GPU."""
    count = asked_number("BFR_WORKERS") or max(1, torch.cuda.device_count())
    if count == 1 or not work.is_shared or default_store().has(record.stage, record.key):
        yield
        return
    task = pickle.dumps((work.make.__module__, work.name, params, inputs))
    environment = {**os.environ, "BFR_WORKERS": "1"}
    command = [sys.executable, "-m", "tasks.helper"]
    with tempfile.TemporaryFile() as said:
        started = [
            subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=said, stderr=said)
            for _ in range(count - 1)
        ]
        try:
            for process in started:
                assert process.stdin is not None
                with suppress(BrokenPipeError), process.stdin:  # one that died already is reported below
                    process.stdin.write(task)
            yield
        except BaseException:
            for process in started:
                process.terminate()
            raise
        finally:
            codes = [process.wait() for process in started]
            if max(codes) > 0:
                said.seek(0)
                words = said.read().decode(errors="replace")[-2000:]
                logging.getLogger(__name__).warning("a helper of %s failed: %s", work.name, words)


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
    source: ImageFolder,
    size: int,
    make: Callable[[Path, list[str]], None],
    beside: ImageFolder | None = None,
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


def shard_of(record: Manifest, ids: list[str], source: ImageFolder, beside: ImageFolder | None) -> Manifest:
    """What the shard of these images will be."""
    folders = [source, beside] if beside else [source]
    others = {name: value for name, value in record.inputs.items() if value not in {each.digest for each in folders}}
    images = [(image_id, *(each.sha256(image_id) for each in folders)) for image_id in ids]
    key = digest([record.stage, record.params, others, record.code, images])
    return record.model_copy(update={"stage": f"{record.stage}.shard", "key": key, "inputs": others})


def batches(ids: list[str], size: int) -> Iterator[list[str]]:
    """Consecutive runs of at most `size` ids."""
    for first in range(0, len(ids), size):
        yield ids[first : first + size]
