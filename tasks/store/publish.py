"""Copies of finished results where DVC and users look for them. What is not ours is never replaced."""

import errno
import fcntl
import glob
import hashlib
import logging
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.basics import BadInput
from tasks.store.artifact import MANIFEST, Artifact, Manifest, is_whole
from tasks.store.files import disk_explained
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
    with disk_explained(destination, "Make room, or have the results go to another disk.", "Name another folder."):
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _locked_folder(destination.parent):
            _mend(destination, manifest)
            _check_case(destination)
            check_replaceable(destination, manifest)
            if not _is_copy(destination, manifest):
                _replace(destination, source, manifest)


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


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Hold an exclusive flock on a folder itself, so that no lock file lies among its contents.

    Where folders cannot be locked (NFS), a file in the system's temporary folder stands for it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            os.close(descriptor)
            name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
            descriptor = os.open(Path(tempfile.gettempdir()) / f"bfr-{os.getuid()}-{name}", os.O_RDWR | os.O_CREAT)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
