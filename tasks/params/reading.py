"""YAML of parameter files: text stays text, no key comes twice, and nothing is shared.

The scalars are those of YAML 1.2, by which DVC reads them too: `no`, 010, 1_000, 12:30 and 2024-01-01 are text, 1e-4 is
a number. Keys are names, so they are text whatever they look like.
"""

import re
from collections.abc import Hashable
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from tasks.basics import BadInput, shown_path

LONGEST = 1_000_000  # characters of a file
SCALARS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(0|[1-9][0-9]*)",
    "float": r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.inf|\.nan",
}
NOT_SHARED = (
    "anchors and aliases (&name, *name) cannot be used here, for `dvc exp run -S` undoes its change of what is shared."
    " An entry starts from another by the key `extends: NAME`"
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (declared so by PyYAML)

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise ComposerError(None, None, NOT_SHARED, event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise ComposerError(None, None, f"tags ({event.tag}) cannot be used here: leave it out", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        found: dict[Hashable, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key is a name", key.start_mark)
            if key.value in found:
                raise ConstructorError(None, None, f"the key {key.value!r} comes twice", key.start_mark)
            found[key.value] = self.construct_object(value, deep=deep)
        return found


for _name, _pattern in SCALARS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_pattern})\\Z"), None)


@lru_cache(maxsize=256)
def _said(text: str) -> Any:
    """An experiment is read again for each that starts from it, and reading takes nearly all the time of `load`."""
    return yaml.load(text, _Loader)


def read_yaml(path: Path) -> Any:
    """What a YAML file says. Raises BadInput, with line and column, for what it must not have or cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > LONGEST:
            raise BadInput(f"{path} has {len(text)} characters: expected at most {LONGEST}.")
        return deepcopy(_said(text))
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing. Restore it: git checkout -- {path.name}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not text in UTF-8: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadInput(f"{shown_path(path)}{where}: {error.problem}.") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}). Correct its permissions, or restore it.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # as for a number of 5000 digits
        raise BadInput(f"{path} is not valid YAML: {error}") from error
