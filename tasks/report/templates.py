"""The HTML templates beside this file: all text is escaped, an unknown name is an error."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template


def template(name: str, **filters: Callable[..., Any]) -> "Template":
    """A template with the given filters."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # here, not above: takes half a second

    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= filters
    return environment.get_template(name)
