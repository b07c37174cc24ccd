"""Where photos come from: the settings of each kind of data set."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from tasks.basics import Name, Strict

Split = Literal["finetune", "test", "real", "train"]


class Portraits(Strict):
    """Procedural faces, made on the spot. Each split is drawn from seeds of its own, so no face is in two splits."""

    kind: Literal["portraits"]
    size: PositiveInt = Field(description="side of the square images, pixels")
    finetune: PositiveInt = Field(description="faces whose LQ photos the restorer is adapted on")
    test: PositiveInt = Field(description="faces that the methods are compared on")
    real: PositiveInt = Field(description="unpaired HQ faces: the discriminator's real images")
    train: PositiveInt = Field(default=128, description="HQ faces that IDM cleans and trains on")
    flawed: float = Field(default=0.15, ge=0, le=1, description="share of `train` with slight flaws of its own")


class Folders(Strict):
    """Aligned HQ photos on disk; file names sorted, the last `test` of them are the test set (DT-BFR: 2500 and 500)."""

    kind: Literal["folders"]
    size: PositiveInt = Field(description="side of the square images, pixels; others are resized")
    hq: Path = Field(description="folder of HQ photos, degraded to make LQ photos and used as test ground truth")
    test: PositiveInt | None = Field(
        default=None, description="how many of `hq`, from the end of the sorted list, are the test set; default: all"
    )
    real: Path = Field(
        description="folder of unpaired HQ photos: the discriminator's real images, and what IDM cleans (FFHQ at 512)"
    )
    finetune: PositiveInt | None = Field(default=None, description="use only the first so many photos to adapt on")


class RealSet(Strict):
    """LQ photos without ground truth."""

    test: Path = Field(description="folder of aligned LQ photos that the methods restore")
    expected: PositiveInt | None = Field(default=None, description="how many photos the published set has")
    finetune: Path | None = Field(default=None, description="LQ photos to adapt on; default: `test`")


class RealPhotos(Strict):
    """LQ photos as they come; each set is one part of the tables, as a degradation is of the other kinds."""

    kind: Literal["real"]
    size: PositiveInt = Field(description="side of the square images, pixels; others are resized")
    sets: dict[Name, RealSet] = Field(min_length=1)
    real: Path = Field(description="folder of HQ photos: FID's reference, and the discriminator's real images")


Dataset = Annotated[Portraits | Folders | RealPhotos, Field(discriminator="kind")]


class DrawnPhotos(Strict):
    """Procedural faces to train on."""

    kind: Literal["portraits"]
    size: PositiveInt = Field(description="side of the square images, pixels")
    count: PositiveInt
    flawed: float = Field(default=0.0, ge=0, le=1, description="share with slight flaws of its own")


class FolderPhotos(Strict):
    """A folder of aligned HQ photos to train on; the last 64 by name are held out for the card's scores."""

    kind: Literal["folder"]
    size: PositiveInt = Field(description="side of the square images, pixels; others are resized")
    path: Path
