"""Images and small tables on disk, written so that no reader ever sees half a file."""

import csv
import errno
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tasks.basics import BadInput

QUARANTINE = "quarantine.csv"


SHOWN = 10  # photos that an error names


class Quarantined(NamedTuple):
    """A file that was set aside, and why."""

    file: str
    reason: str


def none_usable(aside: Sequence[Quarantined]) -> BadInput:
    """What to raise where every photo was set aside."""
    lines = [f"  {file}: {reason}" for file, reason in aside[:SHOWN]]
    if more := len(aside) - len(lines):
        lines.append(f"  and {more} more")
    what = "The photo cannot" if len(aside) == 1 else f"None of the {len(aside)} photos can"
    return BadInput("\n".join([f"{what} be used:", *lines]))


def read_png(path: Path) -> np.ndarray:
    """uint8 RGB [H, W, 3] of an image that this project wrote. Raises BadInput with the file's name."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read as an image ({error}). Delete its folder and rerun.") from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name to write to, which becomes `path` at the end: readers never see half a file, and what other
    names the earlier one has keep its contents.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write uint8 RGB [H, W, 3]."""
    with whole_file(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG", compress_level=4)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, its keys sorted: equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with plain line feeds."""
    with whole_file(path) as temporary:
        temporary.write_bytes(text.encode())


def json_number(value: float) -> float | str | None:
    """The number as JSON can hold it: "inf" and "-inf" for the infinite ones, which it has not, null for NaN."""
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises OSError or ValueError where that is not so."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"nested without end: {error}") from error


def read_note(path: Path) -> dict[str, Any]:
    """A mapping that `write_json` wrote and that can be done without: empty where it is not there, or is damaged."""
    with suppress(FileNotFoundError, ValueError):  # as a computer that lost its power leaves it
        found = read_json(path)
        return found if isinstance(found, dict) else {}
    return {}


def copy_file(source: Path, path: Path) -> None:
    """Write the bytes of another file."""
    with whole_file(path) as temporary:
        shutil.copyfile(source, temporary)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, also when it is empty: no file would not mean that there was nothing to say."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of what `write_csv` wrote; none where there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_quarantine(folder: Path, quarantine: Sequence[Quarantined]) -> None:
    """quarantine.csv (file, reason), also when empty."""
    write_csv(folder / QUARANTINE, Quarantined._fields, quarantine)


def read_quarantine(folder: Path) -> list[Quarantined]:
    """Rows of quarantine.csv; none where the folder has no such file."""
    return [Quarantined(row["file"], row["reason"]) for row in read_csv(folder / QUARANTINE)]


@contextmanager
def disk_explained(root: Path, full: str, shut: str) -> Iterator[None]:
    """Turn a full disk, and a folder that may not be written, into a BadInput. full, shut: what to do then."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and _concerns(root, error.filename):
            raise BadInput(
                f"{error.filename}: this user may not read or write there ({error.strerror}). {shut}"
            ) from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        where = next(path for path in (root, *root.parents) if path.exists())
        free = shutil.disk_usage(where).free / 2**30
        raise BadInput(
            f"No space left to write a result into {root} ({free:.1f} GiB free: {error.strerror}). {full}"
        ) from error


def _concerns(root: Path, name: object) -> bool:
    """Is the file that an error names below the folder, or one of the folders that lead to it?"""
    return isinstance(name, str | Path) and (Path(name).is_relative_to(root) or root.is_relative_to(name))
