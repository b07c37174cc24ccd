"""An experiment's settings as lines of text."""

from collections.abc import Mapping
from typing import Any


def setting_groups(settings: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Nested settings as groups of (dotted name, value); the first group, named "", holds the plain top-level ones."""
    plain = [(str(key), _value_text(value)) for key, value in settings.items() if not isinstance(value, Mapping)]
    groups = [(str(key), flatten(value)) for key, value in settings.items() if isinstance(value, Mapping)]
    return ([("", plain)] if plain else []) + groups


def flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(dotted name, value) of every setting."""
    lines: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            lines += flatten(value, f"{prefix}{key}.")
        else:
            lines.append((f"{prefix}{key}", _value_text(value)))
    return lines


def _value_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
