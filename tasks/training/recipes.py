"""The recipes of fine-tuning: which one trains which restorer."""

from typing import Annotated

from pydantic import Discriminator, Tag

from tasks.training.codeformer import CodeFineTune
from tasks.training.swinir_gan import FineTune

Recipe = Annotated[
    Annotated[FineTune, Tag("swinir_gan")] | Annotated[CodeFineTune, Tag("codeformer")],
    Discriminator(lambda value: _recipe_of(value)),
]


def _recipe_of(value: object) -> str:
    return str(value.get("recipe", "swinir_gan") if isinstance(value, dict) else getattr(value, "recipe", ""))


RECIPES = {"swinir": "swinir_gan", "codeformer": "codeformer"}
