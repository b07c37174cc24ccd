"""What everything uses: the error for what a user gave, the base of typed records, names, the checkout's folders."""

import difflib
import re
import typing
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

ROOT = Path(__file__).resolve().parent.parent


WEIGHTS = ROOT / "data" / "weights"  # official files go here; metric weights too, laid out as TORCH_HOME


class BadInput(ValueError):
    """Something that the user gave us cannot be used; the message names it, what was expected and what to do."""


class Strict(BaseModel):
    """Base of every typed record: unknown keys are errors, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def checked_name(name: str) -> str:
    """The name itself. Raises ValueError, with a name to use instead, unless it is safe as a folder's name anywhere."""
    if not re.fullmatch("[a-z0-9_][a-z0-9_-]{0,99}", name):
        plain = re.sub("[^a-z0-9_-]+", "_", name.lower()).strip("_-")[:100]
        advice = f" Say {plain!r}." if plain else ""
        raise ValueError(f"a name is 1 to 100 of a-z, 0-9, _ and -, and does not start with -.{advice}")
    return name


Name = Annotated[str, AfterValidator(checked_name)]
"""What params.yaml calls an experiment, a degradation, a method, a set, …: folders are named by it."""


def one_of(what: str, valid: typing.Iterable[str]) -> AfterValidator:
    """Validator for a name that the code registers."""
    names = sorted(valid)

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"unknown {what} {name!r}.{suggestion(name, names)} Valid: {', '.join(names)}")
        return name

    return AfterValidator(check)


def suggestion(name: str, valid: typing.Iterable[str]) -> str:
    """' Did you mean …?' with the nearest valid name, or nothing."""
    near = difflib.get_close_matches(name, list(valid), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
