"""An artefact: a finished folder and the manifest that says what is in it and what made it."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import AfterValidator, ValidationError
from torch import Tensor

from tasks.basics import BadInput, Strict
from tasks.pixels import to_tensor
from tasks.store.files import Quarantined, read_png, read_quarantine
from tasks.store.keys import digest, file_digest

MANIFEST = "manifest.json"


class FileRecord(Strict):
    """One file of an artefact."""

    sha256: str
    bytes: int


def _inside(name: str) -> str:
    if name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise ValueError(f"{name!r} leads out of the folder")
    return name


FileName = Annotated[str, AfterValidator(_inside)]


class Manifest(Strict):
    """What a folder holds and what made it. It has no dates, so equal work gives equal bytes."""

    stage: str
    key: str
    params: Any
    inputs: dict[str, str]
    code: str
    generator: str | None = None
    files: dict[FileName, FileRecord]

    @property
    def digest(self) -> str:
        """Digest of the contents alone: two stages that write the same files are the same input to the next."""
        return digest({name: record.sha256 for name, record in self.files.items()})


class Artifact:
    """A finished folder with a manifest.

    root: the folder. Raises BadInput if it has no readable manifest.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        try:
            self.manifest = Manifest.model_validate_json((self.root / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BadInput(
                f"{self.root} is not a finished result (it has no {MANIFEST}). Run the stage that makes it first."
            ) from error
        except ValidationError as error:
            raise BadInput(f"{self.root / MANIFEST} is damaged: {error}. Delete the folder and rerun.") from error

    @property
    def digest(self) -> str:
        return self.manifest.digest

    def path(self, name: str) -> Path:
        """Path of one file of the artefact. Raises BadInput if the manifest does not list it."""
        if name not in self.manifest.files:
            raise BadInput(f"{self.root} holds no {name!r}; it holds {', '.join(list(self.manifest.files)[:8])} …")
        return self.root / name

    @property
    def quarantine(self) -> list[Quarantined]:
        return read_quarantine(self.root)


class ImageFolder(Artifact):
    """An artefact of PNGs (uint8 RGB), one per image id."""

    @cached_property
    def ids(self) -> list[str]:
        """Image ids, sorted."""
        return sorted(name.removesuffix(".png") for name in self.manifest.files if name.endswith(".png"))

    def read(self, image_id: str) -> np.ndarray:
        """uint8 [H, W, 3]."""
        return read_png(self.path(f"{image_id}.png"))

    def batch(self, ids: Sequence[str]) -> Tensor:
        """float32 [N, 3, H, W] in [0, 1]. Raises BadInput if the images differ in size."""
        images = [self.read(image_id) for image_id in ids]
        if len({image.shape for image in images}) > 1:
            sizes = {image_id: image.shape[:2] for image_id, image in zip(ids, images, strict=True)}
            raise BadInput(f"{self.root}: images of one batch must have one size, found {sizes}. Set dataset.size.")
        return torch.stack([to_tensor(image) for image in images])

    @cached_property
    def side(self) -> int:
        """The longer side of the first image, in pixels."""
        height, width, _ = self.read(self.ids[0]).shape
        return max(int(height), int(width))

    def sha256(self, image_id: str) -> str:
        return self.manifest.files[f"{image_id}.png"].sha256


def is_whole(folder: Path) -> bool:
    """Whether every file of an artefact is there in its full size."""
    try:
        files = Artifact(folder).manifest.files
        return all((folder / name).stat().st_size == record.bytes for name, record in files.items())
    except (BadInput, OSError):
        return False


def damage(folder: Path, wanted: Mapping[str, FileRecord]) -> str:
    """Which files of an artefact are missing or have other bytes, every one hashed anew; "" for none.

    Raises OSError where reading fails, which proves nothing about a file.
    """
    wrong = [name for name, record in wanted.items() if not _has_bytes(folder / name, record)]
    return f"{wrong[0]} is missing or changed ({len(wrong)} files in all)" if wrong else ""


def _has_bytes(path: Path, record: FileRecord) -> bool:
    try:
        return path.stat().st_size == record.bytes and file_digest(path) == record.sha256
    except (FileNotFoundError, NotADirectoryError):
        return False


def file_records(folder: Path) -> dict[str, FileRecord]:
    """Every file below a folder (the manifest left out), by its relative name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {
        path.relative_to(folder).as_posix(): FileRecord(sha256=file_digest(path), bytes=path.stat().st_size)
        for path in paths
    }
