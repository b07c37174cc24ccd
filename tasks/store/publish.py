"""Copies of finished results where DVC and users look for them."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.store.artifact import Artifact, Manifest, is_whole


def publish(source: Path, destination: Path) -> None:
    """Copy an artefact to a workspace folder that DVC tracks. Copies, never links: DVC and users may write there.

    Does nothing where the destination already is that artefact. The swap is two renames under a lock.
    """
    manifest = Artifact(source).manifest
    with _locked_folder(destination.parent):
        if _is_copy(destination, manifest):
            return
        work = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
        try:
            shutil.copytree(source, work / "new", copy_function=copy_file)
            if destination.exists():
                os.rename(destination, work / "old")
            os.rename(work / "new", destination)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def copy_file(source: str, destination: str) -> str:
    """Copy a file's contents; on file systems that can share blocks (btrfs, xfs) the copy takes no space."""
    with open(source, "rb") as old, open(destination, "wb") as new:
        left = os.fstat(old.fileno()).st_size
        try:
            while left > 0:
                done = os.copy_file_range(old.fileno(), new.fileno(), left)
                if done == 0:
                    break
                left -= done
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            shutil.copyfileobj(old, new)
    return destination


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Hold an exclusive flock on a folder itself, so that no lock file lies among its contents."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_copy(destination: Path, manifest: Manifest) -> bool:
    return is_whole(destination) and Artifact(destination).manifest == manifest


def link_files(source: Path, destination: Path, names: Iterable[str]) -> None:
    """Hard-link finished store files into another store folder (both are read-only by convention)."""
    for name in names:
        os.link(source / name, destination / name)
