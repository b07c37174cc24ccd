"""The card of trained weights: what they are, how they were made, under which terms they stand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.basics import Strict
from tasks.store.artifact import Manifest
from tasks.store.files import json_number, write_json

NOT_LEARNED = ("weights", "held_out")  # inputs of a training that are not its data


def write_card(
    out: Path, record: Manifest, recipe: Strict, *, arch: str, licence: str, images: int, scores: Mapping[str, Any]
) -> None:
    """Write card.json beside the weights.

    record: of the training stage; recipe: its settings; images: how many it learned from; scores: before and after;
    infinite ones (PSNR of identical images) are written as "inf".
    """
    card = {
        "architecture": arch,
        "stage": record.stage,
        "recipe": recipe.model_dump(mode="json"),
        "parent": record.inputs.get("weights"),
        "licence": licence,
        "data": {name: digest for name, digest in record.inputs.items() if name not in NOT_LEARNED},
        "images": images,
        "scores": _writable(scores),
    }
    write_json(out / "card.json", card)


def _writable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _writable(inner) for name, inner in value.items()}
    return json_number(value) if isinstance(value, float) else value
