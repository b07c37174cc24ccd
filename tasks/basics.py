"""What everything uses: the error for what a user gave, the base of typed records, names, the checkout's folders."""

import difflib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

if sys.platform == "win32":
    raise ImportError(
        "bfr does not run on Windows itself (it needs the file locks of Linux and macOS). Install WSL, the Windows "
        "Subsystem for Linux, and run it there: https://learn.microsoft.com/windows/wsl/install"
    )

from pydantic import AfterValidator, BaseModel, ConfigDict

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "data" / "weights"  # official files go here; metric weights too, laid out as TORCH_HOME


def shown_path(path: Path) -> str:
    """A path for messages and results: relative below the checkout, so that results are equal in every clone."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


class BadInput(ValueError):
    """Something that the user gave us cannot be used; the message names it, what was expected and what to do."""


def with_home(path: Path) -> Path:
    """A path with its ~ or ~NAME replaced. Raises BadInput where NAME is nobody here."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise BadInput(f"{path}: {error} Write the whole path, or ./~… for a name that begins so.") from error


class Strict(BaseModel):
    """Base of every typed record: unknown keys and infinite numbers are errors, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


RESERVED = re.compile("con|prn|aux|nul|(com|lpt)[0-9]", re.IGNORECASE)
"""Names of devices on Windows, whose disks WSL and file shares write to: no file can be called so there."""


def checked_name(name: str) -> str:
    """The name itself. Raises ValueError, with a name to use instead, unless it is safe as a folder's name anywhere."""
    if RESERVED.fullmatch(name):
        raise ValueError(f"Windows keeps this name for a device. Say '{name.lower()}_1'.")
    if not re.fullmatch("[a-z0-9_][a-z0-9_-]{0,99}", name):
        plain = re.sub("[^a-z0-9_-]+", "_", name.lower()).strip("_-")[:100]
        advice = f" Say {plain!r}." if plain else ""
        raise ValueError(f"a name is 1 to 100 of a-z, 0-9, _ and -, and does not start with -.{advice}")
    return name


Name = Annotated[str, AfterValidator(checked_name)]
"""What settings call an experiment, a degradation, a method, a set, …: folders are named by it."""


@dataclass(frozen=True, eq=False)
class PickedFrom:
    """Mark of a settings' name that picks an entry of a table: a stage's key covers the entry that was picked.

    key: of the entry, from the name as it is written.
    """

    table: Mapping[str, Any]
    key: Callable[[str], str] = str


def one_of(what: str, valid: Iterable[str]) -> AfterValidator:
    """Validator for a name that the code registers."""
    names = sorted(valid)

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"unknown {what} {name!r}.{suggestion(name, names)} Valid: {', '.join(names)}")
        return name

    return AfterValidator(check)


def suggestion(name: str, valid: Iterable[str]) -> str:
    """' Did you mean …?' with the nearest valid name, or nothing."""
    near = difflib.get_close_matches(name, list(valid), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
