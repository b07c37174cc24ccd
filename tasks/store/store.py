"""Where results live: image folders with manifests, content keys, and a store that never holds a half-written result.

A result ("artefact") is one folder. Its key is the digest of what it is made from: the stage, its parameters, the
contents of its inputs and the code that the stage uses. It is built in a temporary folder under a lock and renamed
into place, so a killed run leaves nothing broken, two runs at once build it once, and going back to old parameters
costs nothing. Long stages build their result shard by shard in the same way. The lock is an flock: the kernel frees
it when its process dies.
"""

import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tasks.basics import BadInput
from tasks.store.artifact import MANIFEST, Manifest, damage, file_records, is_whole
from tasks.store.files import disk_explained, read_note, write_json
from tasks.store.locks import locked, locked_folder
from tasks.store.marker import KEY, OWN, STAGE, check_store, is_result, mark_store
from tasks.store.ownership import foreign_names, manifest_of, names_below, remove_files, shown
from tasks.store.provenance import USED, circumstances
from tasks.store.publish import copy_file

REUSED: ContextVar[float] = ContextVar("REUSED", default=0.0)
"""Seconds that once went into the parts which the build under way took from the store."""


class Found(NamedTuple):
    """A place in the store, what is to be said about it, and whether it was deleted."""

    path: Path
    reason: str
    is_deleted: bool


class Store:
    """Content-addressed folders: `root/<stage>/<key>/`. A file in the root marks it as a store.

    `prune`, `verify`, `artifacts` and `usage` look at nothing but folders of that form with a manifest of ours whose
    stage and key are those of the place, and at what we name in the store's own folders. They, and the first build,
    raise BadInput for a root that is anything else than a store.
    """

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
        with self._in_use():
            is_member = int(os.environ.get("RANK", "0")) > 0  # of a distributed training, whose first process builds
            if is_member or (is_shared and self._is_being_built(record)):
                with self._work_folder(record) as work:
                    make(work)
            with self._locked(record):
                return self._make(record, make)

    def build_if_free(self, record: Manifest, make: Callable[[Path], None]) -> Path | None:
        """As `build`, but None while another process is at it."""
        if self.has(record.stage, record.key):
            return self._reuse(record)
        with self._in_use(), self._locked(record, wait=False) as is_ours:
            return self._make(record, make) if is_ours else None

    def adopt(self, record: Manifest, published: Path) -> bool:
        """Take a published result into the store if `record` describes it and its files have their bytes.

        So what DVC brings from elsewhere is not computed again. It is copied: users and DVC may write there. Whether
        the artefact is in the store now.
        """
        if self.has(record.stage, record.key):
            return True
        manifest = manifest_of(published)
        if manifest is None or (manifest.stage, manifest.key) != (record.stage, record.key):
            return False
        final = self.path(record.stage, record.key)
        with self._in_use(), self._locked(record), self._work_folder(record) as work:
            if final.exists() or not is_whole(published):
                return False
            for name in (MANIFEST, *manifest.files):
                (work / name).parent.mkdir(parents=True, exist_ok=True)
                copy_file(published / name, work / name)
            if damage(work, manifest.files):
                return False
            os.chmod(work, 0o777 & ~_umask())
            os.rename(work, _made(final.parent) / final.name)
        return True

    @contextmanager
    def build_together(self, records: Iterable[Manifest]) -> Iterator[dict[str, Path]]:
        """Folders to fill while the block runs, by key: of those artefacts that nobody has built, or is building.

        They are artefacts when the block ends well. Each is said to have taken its share of the time.
        """
        with self._in_use(), ExitStack() as stack:
            free = [
                record
                for record in records
                if stack.enter_context(self._locked(record, wait=False)) and not self.has(record.stage, record.key)
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
            if known := manifest_of(final) if is_result(final) else None:
                refuse_foreign(final, [*known.files, MANIFEST])
        final.parent.mkdir(parents=True, exist_ok=True)
        with self._work_folder(record) as work:
            started, before = time.monotonic(), REUSED.get()
            REUSED.set(0.0)
            used = USED.set("")
            yield work
            made = record.model_copy(update={"files": file_records(work)})
            write_json(work / MANIFEST, made.model_dump())
            os.chmod(work, 0o777 & ~_umask())
            if final.exists():
                clear(final, work)
            os.rename(work, final)
            self.training_state(record.key).unlink(missing_ok=True)
            seconds = (time.monotonic() - started) / share + REUSED.get()
            about = {"stage": record.stage, "seconds": seconds} | circumstances()
            write_json(_made(self.root / "timings") / f"{record.key}.json", about)
            REUSED.set(before)
            USED.reset(used)

    def _reuse(self, record: Manifest) -> Path:
        final = self.path(record.stage, record.key)
        with suppress(OSError):  # another user's, or a read-only store
            os.utime(final)
        REUSED.set(REUSED.get() + (self.seconds(record.key) or 0.0))
        return final

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Mark the store before anything is written into it; explain what the disk refuses."""
        with disk_explained(self.root, FULL, SHUT):
            mark_store(self.root)
            yield

    def _locked(self, record: Manifest, *, wait: bool = True) -> AbstractContextManager[bool]:
        """One process at a time makes an artefact; its lock file goes with the work."""
        return locked(self.root / "locks" / f"{record.stage}-{record.key}", wait=wait, remove=True)

    def _is_being_built(self, record: Manifest) -> bool:
        with self._locked(record, wait=False) as is_free:
            return not is_free

    @contextmanager
    def _work_folder(self, record: Manifest) -> Iterator[Path]:
        work = Path(tempfile.mkdtemp(prefix=f"{record.stage}-{record.key[:16]}-", dir=_made(self.root / "tmp")))
        try:
            with locked_folder(work):  # for `prune` to see that it is in use
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
        found = read_note(self.root / "timings" / f"{key}.json")
        return found if isinstance(found.get("seconds"), int | float) else {}

    def prune(self, keep_days: float, *, dry_run: bool = False) -> list[Found]:
        """Delete artefacts, left-over work and unfinished trainings not used for `keep_days` days.

        So old notes go, too: locks of killed runs, times of results that are gone, measured speeds. What cannot be
        read, or holds files that are not ours, stays and is among the findings. dry_run: only list.
        """
        limit = time.time() - keep_days * 86400
        found = []
        for path, owner in [*self._results(), *((path, None) for path in self._left_over())]:
            if isinstance(owner, BadInput):
                continue
            try:
                if isinstance(owner, OSError):
                    raise owner
                if path.stat().st_mtime < limit:
                    found.append(self._dispose(path, owner, f"not used for {keep_days:g} days", dry_run))
            except OSError as error:
                found.append(Found(path, str(error), False))
        return [*found, *self._prune_notes(limit, dry_run)]

    def _prune_notes(self, limit: float, dry_run: bool) -> Iterator[Found]:
        """Delete old locks that nobody holds, and old notes about what is gone; one finding for a folder."""
        results = [*self._results()]
        if any(isinstance(owner, OSError) for _, owner in results):
            return  # what cannot be read now is not gone
        kept = {path.name for path, _ in results}
        for name, what in NOTES.items():
            folder = self.root / name
            old = [
                path
                for path in ([] if folder.is_symlink() else _listed(folder))
                if re.fullmatch(OWN[name], path.name) and path.stem not in kept and path.stat().st_mtime < limit
            ]
            if gone := [path for path in old if dry_run or _removed(path)]:
                yield Found(folder, f"{len(gone)} {what}", not dry_run)

    def verify(self, *, dry_run: bool = False) -> list[Found]:
        """Hash every file anew; artefacts that are not what their manifest says, and why.

        Those with files that are missing, or have other bytes, are deleted. dry_run: only list.
        """
        found = []
        for path, owner in self._results():
            try:
                if isinstance(owner, OSError | BadInput):
                    raise owner
                if reason := damage(path, owner.files):
                    found.append(self._dispose(path, owner, reason, dry_run))
                elif others := foreign_names(path, [*owner.files, MANIFEST]):
                    found.append(Found(path, f"holds files that are not its own: {shown(others)}", False))
            except (OSError, BadInput) as error:
                found.append(Found(path, str(error), False))
        return found

    def _dispose(self, path: Path, owner: Manifest | None, reason: str, dry_run: bool) -> Found:
        """Delete a result, unless somebody is making it or it holds foreign files, or left-overs (without owner)."""
        if dry_run:
            return Found(path, reason, False)
        if owner is None:
            return self._dispose_left_over(path, reason)
        with self._locked(owner, wait=False) as is_ours:
            if not is_ours:
                return Found(path, "is being made", False)
            if others := foreign_names(path, [*owner.files, MANIFEST]):
                return Found(path, f"{reason}, but holds files that are not its own: {shown(others)}", False)
            remove_files(path, owner.files)
        return Found(path, reason, True)

    def _dispose_left_over(self, path: Path, reason: str) -> Found:
        """Delete work that was left behind, unless somebody is at it."""
        key = re.search(KEY, path.name)
        with ExitStack() as stack:
            locks = [locked(lock, wait=False) for lock in (self.root / "locks").glob(f"*-{key[0]}")] if key else []
            locks += [locked_folder(path, wait=False)] if path.is_dir() else []
            if not all(stack.enter_context(lock) for lock in locks):
                return Found(path, "is being made", False)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return Found(path, reason, True)

    def artifacts(self) -> Iterator[Path]:
        """Folders of all artefacts, shards included."""
        return (path for path, owner in self._results() if isinstance(owner, Manifest))

    def _results(self) -> Iterator[tuple[Path, Manifest | BadInput | OSError]]:
        """Every folder `<stage>/<key>` with its manifest; or that it is not a result of ours, or cannot be read."""
        check_store(self.root)
        for stage in _listed(self.root):
            if not stage.is_dir() or stage.name in OWN or not re.fullmatch(STAGE, stage.name):
                continue
            try:
                folders = [path for path in _listed(stage) if re.fullmatch(KEY, path.name) and not path.is_symlink()]
            except OSError as error:
                yield stage, error
                continue
            yield from ((path, _owner(path)) for path in folders)

    def _left_over(self) -> Iterator[Path]:
        """What killed runs left: temporary folders, states of trainings."""
        for name in ("tmp", "training"):
            if not (self.root / name).is_symlink():
                yield from (path for path in _listed(self.root / name) if re.fullmatch(OWN[name], path.name))

    def usage(self) -> dict[str, tuple[int, int]]:
        """(artefacts, bytes on disk) by stage, the largest first; a file that several share counts once."""
        seen: set[tuple[int, int]] = set()
        found: dict[str, tuple[int, int]] = {}
        for folder, owner in self._results():
            if isinstance(owner, BadInput):
                continue
            name = "not readable" if isinstance(owner, OSError) else folder.parent.name
            count, size = found.get(name, (0, 0))
            for path in () if isinstance(owner, OSError) else map(folder.joinpath, (*owner.files, MANIFEST)):
                with suppress(OSError):
                    status = path.stat()
                    if (status.st_dev, status.st_ino) not in seen:
                        seen.add((status.st_dev, status.st_ino))
                        size += status.st_blocks * 512
            found[name] = (count + 1, size)
        if states := [path for path in self._left_over() if path.suffix == ".pt"]:
            found["unfinished trainings"] = (len(states), sum(path.stat().st_blocks * 512 for path in states))
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))


NOTES = {
    "locks": "locks that nobody holds",
    "timings": "times of results that are gone",
    "speed": "measured speeds that are old",
    "md5": "notes for DVC that are old",
}


def _removed(path: Path) -> bool:
    """Delete a note, if nobody holds it as a lock; whether it is gone."""
    with suppress(OSError), locked(path, wait=False, remove=True):
        pass
    return not path.exists()


def clear(folder: Path, made: Path) -> None:
    """Delete a damaged result to make room for the one that was made anew.

    Raises BadInput if files are in it that are not its own: not named by its manifest or, where that is damaged or not
    there, without the bytes of the new ones.
    """
    known = manifest_of(folder) if is_result(folder) else None
    ours = [*known.files, MANIFEST] if known else _remains(folder, made)
    refuse_foreign(folder, ours)
    remove_files(folder, ours)


def _remains(folder: Path, made: Path) -> list[str]:
    """Files of a folder that are files of a result; with the manifest if the disk lost all or the end of it."""
    found = [name for name in names_below(folder) if (folder / name).is_file() and (made / name).is_file()]
    same = [name for name in found if (text := (folder / name).read_bytes()) and text == (made / name).read_bytes()]
    if same and MANIFEST in found:
        is_cut = (made / MANIFEST).read_bytes().startswith((folder / MANIFEST).read_bytes().rstrip(b"\0"))
        same += [MANIFEST] if is_cut else []
    return same


def refuse_foreign(folder: Path, ours: Iterable[str]) -> None:
    """Raises BadInput if a result's folder in the store holds other files than ours."""
    if others := foreign_names(folder, ours):
        raise BadInput(
            f"{folder} is a damaged result, and holds files that are not its own: {shown(others)}. "
            "Move these away and run again."
        )


def _owner(folder: Path) -> Manifest | BadInput | OSError:
    try:
        manifest = manifest_of(folder) if is_result(folder) else None
    except OSError as error:
        return error
    return manifest or BadInput("is not a result of bfr, or its manifest is damaged: look at it, or delete it yourself")


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


FULL = (
    "Nothing that was finished is lost. Make room: `bfr usage` shows what is large, "
    "`bfr prune --days 30` deletes what was not used lately; or set BFR_STORE to a folder on another disk."
)
SHUT = (
    "Nothing new can be computed. Ask for write access to the store (a common group, umask 002), "
    "or set BFR_STORE to another folder."
)


@cache
def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
