"""Where results live: image folders with manifests, content keys, and a store that never holds a half-written result.

A result ("artefact") is one folder. Its key is the digest of what it is made from: the stage, its parameters, the
contents of its inputs and the code that the stage uses. It is built in a temporary folder under a lock and renamed
into place, so a killed run leaves nothing broken, two runs at once build it once, and going back to old parameters
costs nothing. Long stages build their result shard by shard in the same way. The lock is an flock: the kernel frees
it when its process dies.
"""

import errno
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from tasks.basics import BadInput
from tasks.store.artifact import MANIFEST, Manifest, damage, file_records, is_whole
from tasks.store.files import read_json, write_json
from tasks.store.provenance import circumstances


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive flock on `path` (made if absent), freed when the process dies; yields whether it is held.

    Waits for another holder, or with wait=False yields False at once. Another user's lock file will do.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


REUSED: ContextVar[float] = ContextVar("REUSED", default=0.0)
"""Seconds that once went into the parts which the build under way took from the store."""


class Store:
    """Content-addressed folders: `root/<stage>/<key>/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, stage: str, key: str) -> Path:
        return self.root / stage / key

    def has(self, stage: str, key: str) -> bool:
        """Whether the artefact is there, with all its files in their full size."""
        return is_whole(self.path(stage, key))

    def build(self, record: Manifest, make: Callable[[Path], None], *, is_shared: bool = False) -> Path:
        """Folder of the artefact `record` describes; `make(folder)` fills it if it is not there yet.

        At most one process makes a key at a time; the others wait and take the result. With is_shared they help first:
        they run `make` too, of which each does the parts that nobody has (see `build_if_free`). An exception in `make`
        leaves the store as it was; a damaged artefact is made anew.
        """
        if self.has(record.stage, record.key):
            return self._reuse(record)
        with _disk_explained(self.root):
            is_member = int(os.environ.get("RANK", "0")) > 0  # of a distributed training, whose first process builds
            if is_member or (is_shared and self._is_being_built(record)):
                with self._work_folder(record) as work:
                    make(work)
            with locked(self._lock(record)):
                return self._make(record, make)

    def build_if_free(self, record: Manifest, make: Callable[[Path], None]) -> Path | None:
        """As `build`, but None while another process is at it."""
        if self.has(record.stage, record.key):
            return self._reuse(record)
        with _disk_explained(self.root), locked(self._lock(record), wait=False) as is_ours:
            return self._make(record, make) if is_ours else None

    @contextmanager
    def build_together(self, records: Iterable[Manifest]) -> Iterator[dict[str, Path]]:
        """Folders to fill while the block runs, by key: of those artefacts that nobody has built, or is building.

        They are artefacts when the block ends well. Each is said to have taken its share of the time.
        """
        with _disk_explained(self.root), ExitStack() as stack:
            free = [
                record
                for record in records
                if stack.enter_context(locked(self._lock(record), wait=False))
                and not self.has(record.stage, record.key)
            ]
            yield {record.key: stack.enter_context(self._being_made(record, share=len(free))) for record in free}

    def _make(self, record: Manifest, make: Callable[[Path], None]) -> Path:
        """The lock is held."""
        if self.has(record.stage, record.key):
            return self._reuse(record)
        with self._being_made(record) as work:
            make(work)
        return self.path(record.stage, record.key)

    @contextmanager
    def _being_made(self, record: Manifest, share: int = 1) -> Iterator[Path]:
        """A folder to fill, which is the artefact when the block ends well. The lock is held.

        share: how many artefacts are made in the same time.
        """
        final = self.path(record.stage, record.key)
        if final.exists():
            logging.getLogger(__name__).warning("%s is damaged: it is made anew.", final)
            shutil.rmtree(final)
        final.parent.mkdir(parents=True, exist_ok=True)
        with self._work_folder(record) as work:
            started, before = time.monotonic(), REUSED.get()
            REUSED.set(0.0)
            yield work
            write_json(work / MANIFEST, record.model_copy(update={"files": file_records(work)}).model_dump())
            os.chmod(work, 0o777 & ~_umask())
            os.rename(work, final)
            self.training_state(record.key).unlink(missing_ok=True)
            seconds = (time.monotonic() - started) / share + REUSED.get()
            about = {"stage": record.stage, "seconds": seconds} | circumstances()
            write_json(_made(self.root / "timings") / f"{record.key}.json", about)
            REUSED.set(before)

    def _reuse(self, record: Manifest) -> Path:
        final = self.path(record.stage, record.key)
        with suppress(OSError):  # another user's, or a read-only store
            os.utime(final)
        REUSED.set(REUSED.get() + (self.seconds(record.key) or 0.0))
        return final

    def _lock(self, record: Manifest) -> Path:
        return self.root / "locks" / f"{record.stage}-{record.key}"

    def _is_being_built(self, record: Manifest) -> bool:
        with locked(self._lock(record), wait=False) as is_free:
            return not is_free

    @contextmanager
    def _work_folder(self, record: Manifest) -> Iterator[Path]:
        work = Path(tempfile.mkdtemp(prefix=f"{record.stage}-", dir=_made(self.root / "tmp")))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def training_state(self, key: str) -> Path:
        """Where the training that makes an artefact keeps its state, for a killed one to go on; deleted at its end."""
        return self.root / "training" / f"{key}.pt"

    def seconds(self, key: str) -> float | None:
        """How long the artefact took to make, with the parts that were there already; None if it was made elsewhere."""
        found = self.made(key)
        return float(found["seconds"]) if found else None

    def made(self, key: str) -> dict[str, Any]:
        """How the artefact was made: stage, seconds, made (UTC), device, commit. Empty if it was made elsewhere."""
        path = self.root / "timings" / f"{key}.json"
        found: dict[str, Any] = read_json(path) if path.exists() else {}
        return found

    def prune(self, keep_days: float) -> list[Path]:
        """Delete artefacts, left-over work and unfinished trainings not used for `keep_days` days; returns them."""
        limit = time.time() - keep_days * 86400
        known = [*filter(Path.is_dir, self.root.glob("*/*")), *filter(Path.is_file, self.root.glob("training/*"))]
        old = [path for path in known if path.stat().st_mtime < limit]
        for path in old:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return old

    def artifacts(self) -> Iterator[Path]:
        """Folders of all artefacts, shards included."""
        yield from sorted(path.parent for path in self.root.glob(f"*/*/{MANIFEST}"))

    def verify(self) -> list[tuple[Path, str]]:
        """Hash every file anew; artefacts that are not what their manifest says, and why. They are deleted."""
        found = [(folder, reason) for folder in self.artifacts() if (reason := damage(folder))]
        for folder, _ in found:
            shutil.rmtree(folder)
        return found

    def usage(self) -> dict[str, tuple[int, int]]:
        """(artefacts, bytes on disk) by stage, the largest first; a file that several share counts once."""
        seen: set[tuple[int, int]] = set()
        found: dict[str, tuple[int, int]] = {}
        for folder in self.artifacts():
            count, size = found.get(folder.parent.name, (0, 0))
            for path in folder.rglob("*"):
                status = path.stat()
                if path.is_file() and (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    size += status.st_blocks * 512
            found[folder.parent.name] = (count + 1, size)
        if states := list(self.root.glob("training/*.pt")):
            found["unfinished trainings"] = (len(states), sum(path.stat().st_blocks * 512 for path in states))
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))


@contextmanager
def _disk_explained(root: Path) -> Iterator[None]:
    """Turn a full disk, and a store that may not be written, into a BadInput that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and str(error.filename).startswith(str(root)):
            raise BadInput(
                f"{error.filename}: this user may not write there ({error.strerror}), so nothing new can be computed. "
                "Ask for write access to the store (a common group, umask 002), or set BFR_STORE to another folder."
            ) from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        free = shutil.disk_usage(root).free / 2**30
        raise BadInput(
            f"No space left to write a result into {root} ({free:.1f} GiB free: {error.strerror}). Nothing that was "
            "finished is lost. Make room: `python -m flows.stage usage` shows what is large, `… prune --days 30` "
            "deletes what was not used lately; or set BFR_STORE to a folder on another disk."
        ) from error


@cache
def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
