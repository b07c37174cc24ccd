"""The mark of a store: a file that says that the folder is bfr's, and in which format."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.basics import BadInput
from tasks.store.files import read_json, write_json
from tasks.store.ownership import LITTER, manifest_of, shown

MARKER = "bfr-store.json"
FORMAT = 1

STAGE, KEY = "[a-z][a-z0-9_]*([.]shard)?", "[0-9a-f]{64}"
OWN = {
    "locks": f"{STAGE}-{KEY}",
    "tmp": f"{STAGE}-[0-9a-f]{{16}}-[a-z0-9_]{{8}}",
    "training": rf"{KEY}[.](pt|live)|[.]{KEY}[.]pt[.]\d+",
    "timings": rf"[.]?{KEY}[.]json([.]\d+)?",
    "speed": rf"[.]?{KEY}[.]json([.]\d+)?",
    "md5": rf"[.]?{KEY}[.]json([.]\d+)?",
}
"""Folders of a store beside those of the stages, and the names that we make there, which nobody else would choose."""
BEFORE = {**OWN, "tmp": f"{STAGE}-([0-9a-f]{{16}}-)?[a-z0-9_]{{8}}"}
"""Those of earlier versions, too. Such a folder may be a user's (`photos-20240101`), so it is left alone."""


def check_store(root: Path) -> bool:
    """Whether a folder is marked as a store; an unmarked one may be used if it is absent, empty or an older store.

    Raises BadInput for a folder of anything else, and for a store of a newer bfr.
    """
    try:
        if not (root / MARKER).exists():
            others = [*not_ours(root)] if root.exists() else []
            if others:
                raise BadInput(
                    f"{root} cannot be the store: it is not empty, and not a store of bfr ({shown(others)}). "
                    "Set BFR_STORE to an empty folder, or to one that does not exist yet."
                )
            return False
        found = read_json(root / MARKER)
    except OSError as error:
        raise BadInput(f"{root} cannot be the store: {error}. Set BFR_STORE to another folder.") from error
    except ValueError as error:
        raise BadInput(
            f"{root / MARKER} is damaged: {error}. Delete that file: an older store is recognised by its contents."
        ) from error
    number = found.get("format") if isinstance(found, dict) else None
    if not isinstance(number, int) or number > FORMAT:
        raise BadInput(
            f"{root / MARKER}: expected a format of at most {FORMAT}, found {number!r}: a newer bfr made this store. "
            "Update bfr, or set BFR_STORE to another folder."
        )
    return True


def mark_store(root: Path) -> None:
    """Mark a folder as a store, if it may be one (see `check_store`) and is not marked. Raises OSError."""
    if not check_store(root):
        root.mkdir(parents=True, exist_ok=True)
        write_json(root / MARKER, {"format": FORMAT})


def not_ours(root: Path) -> Iterator[str]:
    """Names in an unmarked folder that no store of the version before marks has."""
    for path in sorted(root.iterdir()):
        if path.name in OWN:
            yield from _others(path, lambda entry: bool(re.fullmatch(BEFORE[entry.parent.name], entry.name)))
        elif path.is_dir() and not path.is_symlink() and re.fullmatch(STAGE, path.name):
            yield from _others(path, is_result)
        elif path.name not in LITTER and not re.fullmatch(rf"[.]{re.escape(MARKER)}[.]\d+", path.name):
            yield path.name


def _others(folder: Path, is_own: Callable[[Path], bool]) -> Iterator[str]:
    entries = [] if not folder.is_dir() else sorted(folder.iterdir())
    yield from (f"{folder.name}/{entry.name}" for entry in entries if entry.name not in LITTER and not is_own(entry))
    if not folder.is_dir():
        yield folder.name


def is_result(folder: Path) -> bool:
    """Whether a folder `<stage>/<key>` holds the manifest of just that result. Raises OSError if it is unreadable."""
    if folder.is_symlink() or not re.fullmatch(KEY, folder.name):
        return False
    manifest = manifest_of(folder)
    return manifest is not None and (manifest.stage, manifest.key) == (folder.parent.name, folder.name)
