"""One copy for the store and for DVC's cache: neither is written to, so they can hold the same files."""

import filecmp
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tasks.running.stage import default_store
from tasks.store.md5 import digests_of

READ_ONLY = 0o444  # as DVC's cache has its files


def share_with_dvc(results: Iterable[Path], project: Path) -> None:
    """Replace the files of a DVC project's cache by hard links to those of stored results with the same bytes.

    So an experiment takes the room of two copies, this one and the published one, not of three. Where links cannot be
    (another disk, another user's files), the copies stay.
    """
    cache = project / ".dvc" / "cache" / "files" / "md5"
    for result in results:
        for name, md5 in digests_of(result, default_store()).items():
            with suppress(OSError):
                share(result / name, cache / md5[:2] / md5[2:])


def share(file: Path, copy: Path) -> None:
    """Make `copy` a hard link to `file` if it has the same bytes, and is no link yet. Raises OSError."""
    if copy.stat().st_nlink > 1 or not filecmp.cmp(file, copy, shallow=False):
        return
    link = copy.with_name(f".{copy.name}.{os.getpid()}")
    try:
        os.link(file, link)
        os.chmod(link, READ_ONLY)
        os.replace(link, copy)
    finally:
        link.unlink(missing_ok=True)
