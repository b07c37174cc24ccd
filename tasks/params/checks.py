"""What the models of settings let pass, and no run could use or show. Here, so that it is no part of results' keys."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from tasks.params.messages import Fault

FASTEST = 1.0  # AdamW changes a weight by about the learning rate in a step


def oversights(value: Any, place: str = "") -> Iterator[Fault]:
    """Learning rates that no training survives, and names that come twice, in settings and all that is in them."""
    if isinstance(value, BaseModel):
        yield from _rates(value, place)
        value = dict(value)
    elif isinstance(value, tuple):
        yield from ((place, f"{name!r} comes twice") for name, n in Counter(filter(_is_text, value)).items() if n > 1)
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from oversights(inner, f"{place}.{key}" if place else str(key))


def _rates(settings: BaseModel, place: str) -> Iterator[Fault]:
    lr, lr_min = (getattr(settings, name, None) for name in ("lr", "lr_min"))
    for name in ("lr", "discriminator_lr"):
        if (rate := getattr(settings, name, None)) is not None and rate > FASTEST:
            yield f"{place}.{name}", f"expected a learning rate of at most {FASTEST:g} (found: {rate:g})"
    if lr is not None and lr_min is not None and lr_min > lr:
        yield f"{place}.lr_min", f"expected at most lr = {lr:g}, from which the learning rate falls (found: {lr_min:g})"


def _is_text(value: object) -> bool:
    return isinstance(value, str)
