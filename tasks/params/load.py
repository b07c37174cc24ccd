"""params.yaml as typed, strict models: the only place that reads the file.

Every stage gets just the model of its own settings, so that its key depends on nothing else. A wrong key or value is
reported with its full path and the nearest valid name, before any work starts.
"""

import types
import typing
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    BaseModel,
    Field,
    ValidationError,
)

from tasks.basics import ROOT, BadInput, Strict, suggestion
from tasks.models.model import Model, ModelName
from tasks.params.experiment import Experiment, Section

PARAMS_FILE = ROOT / "params.yaml"
LONGEST = 1_000_000  # characters of a parameter file
MOST_VALUES = 100_000


# What each stage gets: its own settings and nothing else, for they are part of its key.


class Params(Strict):
    """The whole of params.yaml."""

    experiments: dict[str, Experiment]
    models: dict[ModelName, Model] = Field(default_factory=dict)


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check a parameter file. Raises BadInput that lists every wrong key or value with its path."""
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > LONGEST:
            raise BadInput(f"{path} has {len(text)} characters: expected at most {LONGEST}.")
        raw = yaml.safe_load(text)
        if _values(raw) > MOST_VALUES:
            raise BadInput(f"{path} says more than {MOST_VALUES} values by its aliases (*name): write fewer.")
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise BadInput(
            f"{path} is missing; it holds the experiments. Restore it: git checkout -- {path.name}"
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not text in UTF-8: {error}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadInput(f"{path} is not valid YAML: {error}") from error
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise BadInput("\n".join(_explain(path.name, raw, item) for item in error.errors())) from error


def _values(tree: Any, counted: dict[int, int] | None = None) -> int:
    """How many values a tree would have if each of its aliases were written out."""
    counted = {} if counted is None else counted
    if id(tree) not in counted:
        counted[id(tree)] = MOST_VALUES + 1  # a tree inside itself has no end
        inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
        counted[id(tree)] = min(MOST_VALUES + 1, 1 + sum(_values(item, counted) for item in inner))
    return counted[id(tree)]


def load_experiment(name: str, path: Path = PARAMS_FILE) -> Experiment:
    """One experiment of params.yaml. Raises BadInput with the nearest name if there is none of that name."""
    return _entry("experiments", load(path).experiments, name, path)


def load_model(name: str, path: Path = PARAMS_FILE) -> Model:
    """How one model of params.yaml is trained. Raises BadInput with the nearest name if there is none of that name."""
    return _entry("models", load(path).models, name, path)


def _entry(section: str, entries: dict[str, Section], name: str, path: Path) -> Section:
    if name not in entries:
        raise BadInput(
            f"{path.name}: {section}: there is no {name!r}.{suggestion(name, entries)} Valid: {', '.join(entries)}"
        )
    return entries[name]


def _explain(file: str, raw: Any, error: Any) -> str:
    where = _keys(raw, error["loc"])
    place = f"{file}: {'.'.join(where) or '(top level)'}"
    if error["type"] == "extra_forbidden":
        parent = _model_at(Params, error["loc"][:-1])
        valid = list(parent.model_fields) if parent else []
        return f"{place}: unknown key.{suggestion(where[-1], valid)} Valid here: {', '.join(valid)}"
    if error["type"] == "missing":
        return f"{place}: this key is missing"
    return f"{place}: {error['msg'].removeprefix('Value error, ')} (found: {error['input']!r:.80})"


def _keys(raw: Any, location: tuple[Any, ...]) -> list[str]:
    """A location of a pydantic error without the names of the forms that a value was tried as."""
    keys = []
    for position, part in enumerate(location):
        is_key = (isinstance(raw, dict) and part in raw) or (isinstance(raw, list) and isinstance(part, int))
        if is_key or position == len(location) - 1:
            keys.append(str(part))
            raw = raw[part] if is_key else None
    return keys


def _model_at(annotation: Any, path: tuple[Any, ...]) -> type[BaseModel] | None:
    """The model that stands at a location of a pydantic error, to list its keys."""
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is Annotated:
        return _model_at(arguments[0], path)
    if origin in (typing.Union, types.UnionType):
        if len(members := [argument for argument in arguments if argument is not types.NoneType]) == 1:
            return _model_at(members[0], path)
        if path and isinstance(path[0], str):  # a discriminated union reports the tag as one part of the location
            forms = [typing.get_args(a)[0] if typing.get_origin(a) is Annotated else a for a in arguments]
            tagged = [form for form in forms if path[0] in _tags(form)]
            return _model_at(tagged[0], path[1:]) if tagged else None
        return None
    if origin is dict:
        return _model_at(arguments[1], path[1:])
    if origin is tuple:
        return _model_at(arguments[0], path[1:])
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return None
    if not path:
        return annotation
    return (
        _model_at(annotation.model_fields[path[0]].annotation, path[1:]) if path[0] in annotation.model_fields else None
    )


def _tags(form: Any) -> tuple[str, ...]:
    """What pydantic calls a member of a union: its kind, its recipe, or its name."""
    fields = getattr(form, "model_fields", {})
    named = [typing.get_args(fields[key].annotation) for key in ("kind", "recipe") if key in fields]
    return named[0] if named else (getattr(form, "__name__", ""),)
