"""Where photos come from: the settings of each kind of data set."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt

from tasks.basics import Name, Strict

Split = Literal["finetune", "test", "real", "train"]


class RealSet(Strict):
    """LQ photos without ground truth."""

    test: Path = Field(description="folder of aligned LQ photos that the methods restore")
    expected: PositiveInt | None = Field(default=None, description="how many photos the published set has")
    finetune: Path | None = Field(default=None, description="LQ photos to adapt on; default: `test`")
    expected_finetune: PositiveInt | None = Field(default=None, description="how many of these the published set has")

    def folder(self, split: Split) -> Path:
        """Where the LQ photos of a split are."""
        return self.finetune or self.test if split == "finetune" else self.test


class DataSet(Strict):
    """What every data set declares. has_truth: whether its LQ photos are made here, from photos that are then known."""

    size: PositiveInt = Field(description="side of the square images, pixels; others are resized")
    has_truth: ClassVar[bool] = True

    @property
    def sources(self) -> Mapping[Split, Path | None]:
        """The splits of HQ photos, and the folder that each is read from; None: drawn."""
        raise NotImplementedError

    def only(self, split: Split) -> Self:
        """The data set as far as it decides on the photos of a split, so that what changes another makes none anew.

        Its folder is the stage's input, and does not count by its path.
        """
        raise NotImplementedError

    @property
    def lq(self) -> Mapping[str, RealSet]:
        """Sets of LQ photos that are taken in as they are."""
        return {}

    @property
    def expectations(self) -> Iterator[tuple[Path, int | None]]:
        """Folders of photos that make up published sets, and how many photos these have, where that is known."""
        for photos in self.lq.values():
            yield photos.test, photos.expected
            if photos.finetune:
                yield photos.finetune, photos.expected_finetune

    @property
    def counts(self) -> tuple[int, int]:
        """Photos of the test set, and those to adapt on, of each part; unknown counts are DT-BFR's 500 and 2500."""
        raise NotImplementedError


class Heads(DataSet):
    """Rendered heads, made on the spot. Each split is drawn from seeds of its own, so no person is in two splits."""

    kind: Literal["heads"]
    size: PositiveInt = Field(description="side of the square images, pixels")
    finetune: PositiveInt = Field(description="heads whose LQ photos the restorer is adapted on")
    test: PositiveInt = Field(description="heads that the methods are compared on")
    real: PositiveInt = Field(description="unpaired HQ heads: the discriminator's real images")
    train: PositiveInt = Field(default=128, description="HQ heads that IDM cleans and trains on")
    flawed: float = Field(default=0.15, ge=0, le=1, description="share of `train` with slight flaws of its own")

    @property
    def sources(self) -> Mapping[Split, Path | None]:
        return {"finetune": None, "test": None, "real": None, "train": None}

    def only(self, split: Split) -> Self:
        others: dict[str, float] = dict.fromkeys(self.sources.keys() - {split}, 1)
        return self.model_copy(update=others if split == "train" else {**others, "flawed": 0.0})

    @property
    def counts(self) -> tuple[int, int]:
        return self.test, self.finetune


class Folders(DataSet):
    """Aligned HQ photos on disk; file names sorted, the last `test` of them are the test set (DT-BFR: 2500 and 500)."""

    kind: Literal["folders"]
    hq: Path = Field(description="folder of HQ photos, degraded to make LQ photos and used as test ground truth")
    expected: PositiveInt | None = Field(default=None, description="how many photos the published set in `hq` has")
    test: PositiveInt | None = Field(
        default=None, description="how many of `hq`, from the end of the sorted list, are the test set; default: all"
    )
    real: Path = Field(
        description="folder of unpaired HQ photos: the discriminator's real images, and what IDM cleans (FFHQ at 512)"
    )
    finetune: PositiveInt | None = Field(default=None, description="use only the first so many photos to adapt on")

    @property
    def sources(self) -> Mapping[Split, Path | None]:
        return {"finetune": self.hq, "test": self.hq, "real": self.real, "train": self.real}

    def only(self, split: Split) -> Self:
        counts = {"finetune": ("expected",), "test": ("expected", "finetune")}
        others = counts.get(split, ("expected", "finetune", "test"))
        return self.model_copy(update=dict.fromkeys(others) | {"hq": Path(), "real": Path()})

    @property
    def expectations(self) -> Iterator[tuple[Path, int | None]]:
        yield self.hq, self.expected

    @property
    def counts(self) -> tuple[int, int]:
        test = self.test or self.expected or 500
        return test, self.finetune or (self.expected or 3000) - test or 2500


class RealPhotos(DataSet):
    """LQ photos as they come; each set is one part of the tables, as a degradation is of the other kinds."""

    kind: Literal["real"]
    sets: dict[Name, RealSet] = Field(min_length=1)
    real: Path = Field(description="folder of HQ photos: FID's reference, and the discriminator's real images")
    has_truth: ClassVar[bool] = False

    @property
    def sources(self) -> Mapping[Split, Path | None]:
        return {"real": self.real, "train": self.real}

    def only(self, split: Split) -> Self:
        return self.model_copy(update={"sets": {}, "real": Path()})

    @property
    def lq(self) -> Mapping[str, RealSet]:
        return self.sets

    @property
    def counts(self) -> tuple[int, int]:
        tests = [photos.expected or 500 for photos in self.sets.values()]
        tuned = [photos.expected_finetune or photos.expected or 500 for photos in self.sets.values()]
        return sum(tests) // len(tests), sum(tuned) // len(tuned)


Dataset = Annotated[Heads | Folders | RealPhotos, Field(discriminator="kind")]


class TrainingPhotos(Strict):
    """What a network of the section `models` is trained on. licence: of what was learned from them."""

    size: PositiveInt = Field(description="side of the square images, pixels; others are resized")
    licence: ClassVar[str]

    def roles(self, held_out: int) -> Mapping[str, tuple[Dataset, Split]]:
        """The split of a data set that serves as "photos" and, unless it is held out of these, as "held_out".

        held_out: how many photos the card's scores are measured on.
        """
        raise NotImplementedError


class DrawnPhotos(TrainingPhotos):
    """Rendered heads to train on."""

    kind: Literal["heads"]
    count: PositiveInt
    flawed: float = Field(default=0.0, ge=0, le=1, description="share with slight flaws of its own")
    licence: ClassVar[str] = "Apache-2.0"

    def roles(self, held_out: int) -> Mapping[str, tuple[Dataset, Split]]:
        counts = {"finetune": 1, "real": 1, "test": held_out, "train": self.count}
        heads = Heads(kind="heads", size=self.size, flawed=self.flawed, **counts)
        return {"photos": (heads, "train"), "held_out": (heads, "test")}


class FolderPhotos(TrainingPhotos):
    """A folder of aligned HQ photos to train on; the last 64 by name are held out for the card's scores."""

    kind: Literal["folder"]
    path: Path
    licence: ClassVar[str] = "that of the photos"

    def roles(self, held_out: int) -> Mapping[str, tuple[Dataset, Split]]:
        return {"photos": (Folders(kind="folders", size=self.size, hq=self.path, real=self.path), "real")}
