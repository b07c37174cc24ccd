"""Images and small tables on disk, written so that no reader ever sees half a file."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tasks.basics import BadInput

QUARANTINE = "quarantine.csv"


class Quarantined(NamedTuple):
    """A file that was set aside, and why."""

    file: str
    reason: str


def read_png(path: Path) -> np.ndarray:
    """uint8 RGB [H, W, 3] of an image that this project wrote. Raises BadInput with the file's name."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read as an image ({error}). Delete its folder and rerun.") from error


def write_png(path: Path, image: np.ndarray) -> None:
    """Write uint8 RGB [H, W, 3] under a temporary name, then rename: readers never see half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    Image.fromarray(image).save(temporary, format="PNG", compress_level=4)
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON (sorted keys, so equal values give equal bytes) under a temporary name, then rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises OSError or ValueError where that is not so."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_quarantine(folder: Path, quarantine: Sequence[Quarantined]) -> None:
    """quarantine.csv (file, reason), also when empty: no file would not mean that all went well."""
    with (folder / QUARANTINE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([Quarantined._fields, *quarantine])


def read_quarantine(folder: Path) -> list[Quarantined]:
    """Rows of quarantine.csv; none where the folder has no such file."""
    path = folder / QUARANTINE
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Quarantined(row["file"], row["reason"]) for row in csv.DictReader(file)]
