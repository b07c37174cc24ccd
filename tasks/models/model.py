"""An entry of the section `models` of params.yaml: a network trained from scratch."""

import re
from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
)

from tasks.basics import Strict
from tasks.data.datasets import DrawnPhotos, FolderPhotos
from tasks.models.table import AnyTraining


class Model(Strict):
    """A network trained from scratch."""

    photos: Annotated[DrawnPhotos | FolderPhotos, Field(discriminator="kind")]
    training: AnyTraining
    is_half: bool = Field(default=False, description="stored as float16, half as large")


def _model_name(name: str) -> str:
    if not re.fullmatch("[a-z0-9_]+(/[a-z0-9_]+)?", name):
        raise ValueError("a model's name is made of a-z, 0-9 and _, with at most one / before the last part")
    return name


ModelName = Annotated[str, AfterValidator(_model_name)]
