"""How a network is trained from scratch: data/weights/NAME.yaml."""

from typing import Annotated

from pydantic import Field

from tasks.basics import Strict, checked_name
from tasks.data.datasets import DrawnPhotos, FolderPhotos
from tasks.models.table import AnyTraining


class Model(Strict):
    """A network trained from scratch."""

    photos: Annotated[DrawnPhotos | FolderPhotos, Field(discriminator="kind")]
    training: AnyTraining
    is_half: bool = Field(default=False, description="stored as float16, half as large")


def checked_model_name(name: str) -> str:
    """The name itself: where its weights go below data/weights, by a name or a folder's and its own. Or ValueError."""
    folder, slash, last = name.rpartition("/")
    for part in (folder, last) if slash else (last,):
        checked_name(part)
    return name
