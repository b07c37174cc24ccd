"""All recipes of fine-tuning. To add one: its file, and its entries here."""

from typing import Annotated, get_args

from pydantic import Discriminator, Tag

from tasks.training.codeformer import CodeFineTune
from tasks.training.finetuning import FineTuning
from tasks.training.swinir_gan import FineTune

Recipe = Annotated[
    Annotated[FineTune, Tag("swinir_gan")] | Annotated[CodeFineTune, Tag("codeformer")],
    Discriminator(lambda value: _recipe_of(value)),
]


def trainers() -> dict[str, str]:
    """The name of the recipe that trains it, by restorer."""
    recipes: tuple[type[FineTuning], ...] = (FineTune, CodeFineTune)
    return {arch: get_args(recipe.model_fields["recipe"].annotation)[0] for recipe in recipes for arch in recipe.trains}


def _recipe_of(value: object) -> str:
    return str(value.get("recipe", "swinir_gan") if isinstance(value, dict) else getattr(value, "recipe", ""))
