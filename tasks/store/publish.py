"""Copies of finished results where DVC and users look for them. What is not ours is never replaced."""

import errno
import glob
import logging
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tasks.basics import BadInput
from tasks.store.artifact import MANIFEST, Artifact, FileRecord, Manifest, is_whole
from tasks.store.files import disk_explained, write_json
from tasks.store.locks import locked_folder
from tasks.store.ownership import check_replaceable, is_swap, manifest_of, remove_empty_folders, remove_files, shown

NOT_THERE = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM, errno.EMLINK)
"""What file systems say that cannot share blocks, or link files."""


def publish(source: Path, destination: Path) -> None:
    """Copy an artefact to a workspace folder that DVC tracks. Copies, never links: DVC and users may write there.

    Does nothing where the destination already is that artefact. The swap is two renames under a lock; the next call
    mends one that was interrupted. Raises BadInput, and touches nothing, if the destination is not empty and not an
    unchanged published result with our files alone; and where there is no room, or no right to write.
    """
    manifest = Artifact(source).manifest
    with _replaceable(destination, manifest):
        if not _is_copy(destination, manifest):
            _replace(destination, source, manifest)


@contextmanager
def _replaceable(destination: Path, manifest: Manifest) -> Iterator[None]:
    """While the block runs, the destination is locked: absent, empty, or a published result with our files alone."""
    with disk_explained(destination, "Make room, or have the results go to another disk.", "Name another folder."):
        destination.parent.mkdir(parents=True, exist_ok=True)
        with locked_folder(destination.parent):
            _mend(destination, manifest)
            _check_case(destination)
            check_replaceable(destination, manifest)
            yield


@dataclass
class Growing:
    """A published folder that gets one artefact's files after another's, so that they are there before all are made.

    about: what the whole is, without files. What an earlier run of the same left is taken; results of anything else go
    when the first files come. Until `finish`, files of that earlier run may be there that are not of this one.
    """

    destination: Path
    about: Manifest
    files: dict[str, FileRecord] = field(default_factory=dict)

    def add(self, part: Artifact) -> None:
        """Copy the part's files to the folder. Raises BadInput as `publish` does."""
        with _replaceable(self.destination, part.manifest):
            known = self._known()
            self.files |= part.manifest.files
            self._write(known | self.files)
            lacking = [name for name, file in part.manifest.files.items() if not self._has(name, file, known)]
            if lacking:
                self._bring(part, lacking)
                os.utime(self.destination / MANIFEST)  # the latest of all

    def finish(self) -> None:
        """Nothing more comes: what was not added goes."""
        with _replaceable(self.destination, self.about):
            remove_files(self.destination, self._known().keys() - self.files.keys())
            self.destination.mkdir(exist_ok=True)
            self._write(self.files)

    def _known(self) -> dict[str, FileRecord]:
        """The files of an earlier run of the same; those of any other result are deleted."""
        earlier = manifest_of(self.destination)
        if earlier and earlier.key != self.about.key:
            remove_files(self.destination, earlier.files)
            earlier = None
        self.destination.mkdir(exist_ok=True)
        return dict(earlier.files) if earlier else {}

    def _has(self, name: str, file: FileRecord, known: dict[str, FileRecord]) -> bool:
        path = self.destination / name
        return known.get(name) == file and path.is_file() and path.stat().st_size == file.bytes

    def _write(self, files: dict[str, FileRecord]) -> None:
        write_json(self.destination / MANIFEST, self.about.model_copy(update={"files": files}).model_dump())

    def _bring(self, part: Artifact, names: list[str]) -> None:
        """Each file appears whole."""
        some = part.manifest.model_copy(update={"files": {name: part.manifest.files[name] for name in names}})
        work = Path(tempfile.mkdtemp(prefix=f".{self.destination.name}-", dir=self.destination.parent))
        try:
            _copy(part.root, work / "new", some)
            for name in names:
                (self.destination / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(work / "new" / name, self.destination / name)
        finally:
            _clear(work, some)


def _replace(destination: Path, source: Path, manifest: Manifest) -> None:
    """The lock is held and the destination is ours, or absent."""
    work = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        _copy(source, work / "new", manifest)
        if destination.exists():
            os.rename(destination, work / "old")
        try:
            os.rename(work / "new", destination)
        except BaseException:
            if (work / "old").exists():
                os.rename(work / "old", destination)
            raise
    finally:
        _clear(work, manifest)


def _copy(source: Path, folder: Path, manifest: Manifest) -> None:
    """The manifest comes first, so that a part of a copy is known as ours, and gets the latest time of all."""
    folder.mkdir()
    for name in (MANIFEST, *manifest.files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            copy_file(source / name, folder / name)
        except FileExistsError as error:
            raise BadInput(
                f"{folder.parent.parent} does not tell upper from lower case, and {source} has two files that differ "
                f"in nothing else: {name}. Name a folder on another disk."
            ) from error
    os.utime(folder / MANIFEST)


def _mend(destination: Path, wanted: Manifest) -> None:
    """Put back what an interrupted swap had moved away, and delete its work folder. The lock is held."""
    for name in glob.glob(f".{glob.escape(destination.name)}-????????", root_dir=destination.parent):
        work = destination.parent / name
        if is_swap(work):
            if not os.path.lexists(destination) and manifest_of(work / "old"):
                os.rename(work / "old", destination)
            _clear(work, wanted)


def _clear(work: Path, wanted: Manifest) -> None:
    """Delete what is ours in the work folder of a swap: a file that somebody put there meanwhile stays."""
    try:
        for folder in filter(Path.is_dir, (work / "new", work / "old")):
            manifest = manifest_of(folder)
            remove_files(folder, [*wanted.files, *(manifest.files if manifest else ())])
        remove_empty_folders(work)
    except OSError as error:
        logging.getLogger(__name__).warning("%s: left-over of a result that was replaced: %s", work, error)
    if work.exists():
        logging.getLogger(__name__).warning("%s holds files that are not of bfr: look at it and delete it.", work)


def _check_case(destination: Path) -> None:
    """Raises BadInput if the folder is there by a name that differs in upper and lower case."""
    here = [unicodedata.normalize("NFC", name) for name in os.listdir(destination.parent)]
    name = unicodedata.normalize("NFC", destination.name)
    alike = [other for other in here if other.casefold() == name.casefold()]
    if name not in here and alike and os.path.lexists(destination):
        raise BadInput(
            f"{destination.parent} holds {shown(alike)}, and the disk does not tell upper from lower case: "
            f"{name!r} would be the same folder. Choose another name."
        )


def copy_file(source: str | Path, destination: str | Path) -> None:
    """Copy a file's contents to a new file; where the system can share blocks (btrfs, xfs) the copy takes no space."""
    with open(source, "rb") as old, open(destination, "xb") as new:
        left = os.fstat(old.fileno()).st_size
        try:
            while left > 0:
                done = os.copy_file_range(old.fileno(), new.fileno(), left)
                if done == 0:
                    break
                left -= done
        except (AttributeError, OSError) as error:  # macOS has no such function
            if isinstance(error, OSError) and error.errno not in NOT_THERE:
                raise
            shutil.copyfileobj(old, new)


def _is_copy(destination: Path, manifest: Manifest) -> bool:
    return is_whole(destination) and Artifact(destination).manifest == manifest


def link_files(source: Path, destination: Path, names: Iterable[str]) -> None:
    """Hard-link finished store files into another store folder (both are read-only by convention)."""
    for name in names:
        link_file(source / name, destination / name)


def link_file(source: Path, destination: Path) -> None:
    """Hard-link a file, or copy it on a file system that has no links (exFAT, SMB) or no more for this file."""
    try:
        os.link(source, destination)
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise
        copy_file(source, destination)
