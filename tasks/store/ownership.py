"""What in a folder is ours. Nothing else is ever replaced, moved or deleted."""

import logging
import os
import re
import stat
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from tasks.basics import BadInput
from tasks.store.artifact import MANIFEST, FileRecord, Manifest
from tasks.store.keys import file_digest

LITTER = {".DS_Store", "Thumbs.db"}  # systems leave these in folders that somebody looks at
IGNORE = (".gitignore", "*\n")  # what we write beside results that git is to pass over
SHOWN = 5  # names in a message


def manifest_of(folder: Path) -> Manifest | None:
    """The manifest of a folder with a result of ours; None for any other folder. Raises OSError if it is unreadable."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def published_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder with a result of ours, if it can be read."""
    with suppress(OSError):
        return manifest_of(folder)
    return None


def published_below(root: Path) -> tuple[list[Path], list[str]]:
    """Folders with a manifest of ours at or below a folder; and everything that is in none of them, by its name.

    Links are not followed. Work folders of an interrupted `publish` are passed over.
    """
    results: list[Path] = []
    others: list[str] = []
    for here, folders, files in os.walk(root, onerror=_raise):
        folder = Path(here)
        if MANIFEST in files and manifest_of(folder):
            results.append(folder)
            folders.clear()
            continue
        if folder != root and is_swap(folder):
            folders.clear()
        links = [name for name in folders if (folder / name).is_symlink()]
        names = [name for name in (*files, *links) if name not in LITTER and not _is_ignore(folder / name)]
        others += [(folder / name).relative_to(root).as_posix() for name in names]
    return sorted(results), sorted(others)


def _is_ignore(path: Path) -> bool:
    """Whether it is the .gitignore that we write."""
    name, text = IGNORE
    return path.name == name and not path.is_symlink() and path.read_bytes() == text.encode()


def is_swap(folder: Path) -> bool:
    """Whether a folder is what an interrupted `publish` left behind, by its name and its contents."""
    if folder.is_symlink() or not re.fullmatch("[.].+-[a-z0-9_]{8}", folder.name) or not folder.is_dir():
        return False
    parts = list(folder.iterdir())
    return {part.name for part in parts} <= {"new", "old"} and all(part.is_dir() for part in parts)


def names_below(folder: Path) -> list[str]:
    """Everything below a folder that is no folder, by its relative name; links are names too and are not followed.

    What systems leave there is passed over. Raises OSError if a part cannot be listed.
    """
    found = []
    for root, folders, files in os.walk(folder, onerror=_raise):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        found += [Path(root, name).relative_to(folder).as_posix() for name in (*files, *links) if name not in LITTER]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def foreign_names(folder: Path, ours: Iterable[str]) -> list[str]:
    """What lies below a folder and is none of our names. Raises OSError."""
    known = set(ours)
    return [name for name in names_below(folder) if name not in known]


def check_replaceable(folder: Path, wanted: Manifest | None = None) -> None:
    """Raises BadInput unless a folder may be replaced: it is absent, empty, or a published result with our files alone.

    Files may be missing, as after half a `dvc checkout`. A file is ours if it has the size that the folder's manifest
    says and is older than that, else if it has the bytes that this manifest, or that of the result to come, says.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise BadInput(f"{folder} is a link or a file; expected a folder that results can go to. {ADVICE}")
    if not folder.exists() or not (present := names_below(folder)):
        return
    old = manifest_of(folder)
    known = [manifest.files for manifest in (old, wanted) if manifest]
    others = [name for name in present if not any(name in files for files in known)]
    others = [name for name in others if name != MANIFEST or old is None]
    if others:
        raise BadInput(f"{folder} holds files that are not results of bfr: {shown(others)}. {ADVICE}")
    if changed := [name for name in present if name != MANIFEST and _is_changed(folder, name, old, known)]:
        raise BadInput(f"{folder} holds results that were changed after they were made: {shown(changed)}. {ADVICE}")


ADVICE = "Nothing there was touched: move it away, or delete it yourself, and run again."


def _is_changed(folder: Path, name: str, old: Manifest | None, known: Sequence[dict[str, FileRecord]]) -> bool:
    path = folder / name
    if not path.exists():  # a link to nowhere: DVC's, into a cache that has lost the file, or a user's
        return path.is_symlink() and not re.search("files/md5/[0-9a-f]{2}/[0-9a-f]{30}$", os.readlink(path))
    status = path.stat()
    records = [files[name] for files in known if name in files and files[name].bytes == status.st_size]
    if status.st_size == 0 and old and name in old.files:  # cut off: nothing is in it
        return False
    if not records or not stat.S_ISREG(status.st_mode):
        return True
    if old and old.files.get(name) in records:
        made = (folder / MANIFEST).stat().st_mtime_ns  # written last
        if max(status.st_mtime_ns, status.st_ctime_ns) < made <= time.time_ns():  # by a clock that was right
            return False
    return file_digest(path) not in {record.sha256 for record in records}


def remove_files(folder: Path, ours: Iterable[str]) -> list[str]:
    """Delete our files in a folder, the manifest last, and the folders that are empty then; what is left, by name.

    Raises OSError where a file cannot be deleted: a manifest that is left tells later that the rest is ours.
    """
    known = set(ours) - {MANIFEST}
    for name in names_below(folder):
        if name in known:
            (folder / name).unlink()
    if not (left := foreign_names(folder, [MANIFEST])):
        (folder / MANIFEST).unlink(missing_ok=True)
        remove_empty_folders(folder)
    return left


def remove_empty_folders(folder: Path) -> None:
    """Delete a folder if no file is in it, but for what systems leave there."""
    if names_below(folder):
        return
    for root, _, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink(os.path.join(root, name))
        os.rmdir(root)


def remove_result(folder: Path) -> None:
    """Delete a published result, or say in the log why it stays: it holds what is not ours, or was changed."""
    try:
        check_replaceable(folder)
        if manifest := manifest_of(folder):
            remove_files(folder, manifest.files)
    except (BadInput, OSError) as error:
        logging.getLogger(__name__).warning("%s does not belong to this experiment, but stays: %s", folder, error)


def shown(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
