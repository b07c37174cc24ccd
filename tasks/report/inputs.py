"""The inputs of a report by what they are. Only here are their names put together and taken apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

from tasks.basics import BadInput, suggestion

Result = TypeVar("Result")

Pair = tuple[str, str]


@dataclass(frozen=True)
class ReportInputs(Generic[Result]):
    """An experiment's results as its report knows them: the places where they were published, or the artefacts.

    images, scores, models (adapted to the degradation): by (degradation, method); photos: the HQ ones by split;
    cleaning: the training photos' scores "before" and "after", and the "model" that learned from them; downstream:
    scores of a generator's faces, trained on the photos "before" and "after"; authenticity: scores by (run, method).
    """

    images: dict[Pair, Result] = field(default_factory=dict)
    scores: dict[Pair, Result] = field(default_factory=dict)
    models: dict[Pair, Result] = field(default_factory=dict)
    authenticity: dict[Pair, Result] = field(default_factory=dict)
    photos: dict[str, Result] = field(default_factory=dict)
    cleaning: dict[str, Result] = field(default_factory=dict)
    downstream: dict[str, Result] = field(default_factory=dict)

    def named(self) -> dict[str, Result]:
        """By name, as the stage takes them and as run.json has their places: "images/<degradation>/<method>" …

        Raises BadInput for a degradation or a method with a "/" in its name.
        """
        return {
            "/".join((kind.name, *_parts(key))): result
            for kind in fields(self)
            for key, result in getattr(self, kind.name).items()
        }

    @classmethod
    def of(cls, named: Mapping[str, Result]) -> "ReportInputs[Result]":
        """What `named` came from. Raises BadInput for a name that `named` does not give."""
        found = cls()
        kinds = [kind.name for kind in fields(cls)]
        for name, result in named.items():
            kind, *parts = name.split("/")
            if kind not in kinds or len(parts) != (2 if kind in PAIRED else 1):
                raise BadInput(
                    f"{name!r} is no input of a report.{suggestion(kind, kinds)} Valid: "
                    f"{', '.join(f'{kind}/…/…' if kind in PAIRED else f'{kind}/…' for kind in kinds)}."
                )
            results: dict[Any, Result] = getattr(found, kind)
            results[tuple(parts) if kind in PAIRED else parts[0]] = result
        return found


PAIRED = ("images", "scores", "models", "authenticity")


def _parts(key: str | Pair) -> Pair | tuple[str]:
    parts = (key,) if isinstance(key, str) else key
    for part in parts:
        if "/" in part:
            raise BadInput(f"{part!r}: the name of a degradation or a method has no '/'. Rename it.")
    return parts


def step_of(place: str) -> str:
    """The folder of the step that published a result: what DVC records."""
    return place.split("/")[0]
