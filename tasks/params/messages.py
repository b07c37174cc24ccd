"""What is wrong with settings, in words: the place by its keys, what was found, and the nearest valid name."""

import json
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ValidationError

from tasks.basics import Strict, suggestion

M = TypeVar("M", bound=Strict)


Fault = tuple[str, str]
"""A key, by its path inside the entry, and what is wrong with it."""


class Faults(ValueError):
    """Everything that is wrong with one entry."""

    def __init__(self, found: Iterable[Fault]) -> None:
        super().__init__()
        self.found = tuple(found)


def validated(model: type[M], settings: Mapping[str, Any]) -> M:
    """The settings as a model, without conversions (true is no number, 2024 is no text). Raises Faults."""
    try:
        return model.model_validate_json(json.dumps(settings, default=str), strict=True)
    except ValidationError as error:
        raise Faults(_fault(model, settings, item) for item in error.errors()) from error


def _fault(model: type[Strict], settings: Any, error: Any) -> Fault:
    keys = _keys(settings, error["loc"])
    place, found = ".".join(keys), error["input"]
    if error["type"] == "extra_forbidden":
        parent = _model_at(model, error["loc"][:-1])
        valid = list(parent.model_fields) if parent else []
        return place, f"unknown key.{suggestion(keys[-1], valid)} Valid here: {', '.join(valid)}"
    if error["type"] == "missing":
        return place, "this key is missing"
    if error["type"] == "string_type" and isinstance(found, int | float):
        return place, f'expected text, found {json.dumps(found)}. Write it in quotes: "{json.dumps(found)}"'
    text = error["msg"].removeprefix("Value error, ")
    return place, text if isinstance(found, dict) else f"{text} (found: {found!r:.80})"


def _keys(raw: Any, location: tuple[Any, ...]) -> list[str]:
    """A location of a pydantic error without the names of the forms that a value was tried as."""
    keys = []
    location = location[:-1] if location[-1:] == ("[key]",) else location
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
