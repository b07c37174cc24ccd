"""A stage: a plain function from typed parameters and finished inputs to one folder, built once per key.

Both drivers, the Prefect nodes and the command line that DVC calls, run these same objects, so they share one cache.
"""

import logging
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from tasks.basics import ROOT, BadInput, Strict
from tasks.running.apart import COMPANY, make_apart
from tasks.running.batching import asked_number
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.keys import FORMAT, code_digest, contents_digest, digest
from tasks.store.place import main_checkout
from tasks.store.store import Store


class Digested(Protocol):
    """An input whose contents have a digest: an artefact, or a folder of a user's photos."""

    @property
    def digest(self) -> str: ...


Source = Digested | Path
Make = Callable[..., None]


def default_store() -> Store:
    """The store of this checkout, data/.store, or the folder named by BFR_STORE (another disk, a shared mount).

    A git worktree, and what DVC copies for a queued experiment, use their main checkout's. Raises BadInput for a
    relative path: it means another place to every process.
    """
    named = os.environ.get("BFR_STORE")
    place = Path(os.path.expanduser(named)) if named else main_checkout(ROOT) / "data" / ".store"
    if not place.is_absolute():
        raise BadInput(f"BFR_STORE: expected an absolute path, found {named!r}. Say the whole path.")
    return Store(place)


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
        code = code_digest(self.make.__module__, params)
        described = params.model_dump(mode="json")
        digests = {name: source_digest(name, source) for name, source in sorted(inputs.items())}
        key = digest([FORMAT, self.name, described, digests, code])
        return Manifest(stage=self.name, key=key, params=described, inputs=digests, code=code, files={})

    def __call__(self, params: Strict, **inputs: Source) -> ImageFolder:
        """The finished result, made now or found in the store."""
        record = self.record(params, **inputs)
        if (company := COMPANY.get()) and not default_store().has(record.stage, record.key):
            make_apart(self.make.__module__, self.name, params, inputs, company)
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
    command = [sys.executable, "-m", "tasks.running.helper"]
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
            f"{source} is missing (needed as {name}). Put the file there, or correct its path in the settings."
        )
    return contents_digest(source)
