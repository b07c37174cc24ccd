"""The settings of the repository as they are written, before `extends` is filled in."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from tasks.basics import ROOT
from tasks.params.load import FOLDERS, PARAMS_FILE, entries


def all_entries() -> dict[str, dict[str, Any]]:
    """The entries of every section, as one file would have them."""
    return deepcopy(_entries())


@cache
def _entries() -> dict[str, dict[str, Any]]:
    return {section: {name: one.read() for name, one in entries(section).items()} for section in FOLDERS}


def files() -> list[Path]:
    """Each file of settings."""
    places = {one.place for section in FOLDERS for one in entries(section).values() if one.joint != "."}
    return [PARAMS_FILE, *(ROOT / place for place in sorted(places))]
