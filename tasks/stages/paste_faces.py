"""Stage `paste_faces`: restored crops back into their whole photos, which keep their kind, depth, profile and EXIF."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from tasks.basics import Strict
from tasks.data.chosen import ChosenPhotos
from tasks.data.original import SUFFIXES, Original, kind_of, write_original
from tasks.faces.paste import Restored, paste
from tasks.running.shards import shards
from tasks.running.stage import shared_stage
from tasks.stages.find_faces import FoundFace, FoundPhoto, read_found, read_own
from tasks.store.artifact import Artifact, FileName, ImageFolder, Manifest
from tasks.store.publish import link_files

AT_ONCE = 1  # photos in a shard

Crops = tuple[np.ndarray, np.ndarray]
"""A face's crop before and after, uint8 [S, S, 3]."""


class PasteFacesParams(Strict):
    """Stage `paste_faces`. names: of the results, by image id."""

    names: dict[str, FileName]
    strength: float = Field(default=1.0, ge=0, le=1, description="share of the change that is made")
    upscale: Literal[1, 2, 4] = 1
    max_megapixels: float


@shared_stage
def paste_faces(
    out: Path,
    params: PasteFacesParams,
    record: Manifest,
    photos: ChosenPhotos,
    faces: ImageFolder,
    restored: ImageFolder | None = None,
) -> None:
    """Every photo that could be read, by its name. Photos without a restored face are copied, byte by byte."""
    found, done = read_found(faces), set(restored.ids) if restored else set()

    def make(folder: Path, ids: list[str]) -> None:
        for image_id in found.keys() & set(ids):
            path = folder / params.names[image_id]
            path.parent.mkdir(parents=True, exist_ok=True)
            write_result(path, photos.paths[image_id], found[image_id], params, crops)

    def crops(face: FoundFace) -> Crops | None:
        if restored is None or face.crop is None or face.crop not in done:
            return None
        return faces.read(face.crop), restored.read(face.crop)

    for part in [Artifact(folder) for _, folder in shards(record, photos, AT_ONCE, make)]:
        for name in part.manifest.files:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
        link_files(part.root, out, part.manifest.files)


def write_result(
    path: Path,
    source: Path,
    photo: FoundPhoto,
    params: PasteFacesParams,
    crops: Callable[[FoundFace], Crops | None],
) -> None:
    """The photo with its restored faces."""
    pairs = [(face, both) for face in photo.faces if (both := crops(face))]
    if not pairs and params.upscale == 1 and path.suffix.lower() == source.suffix.lower():
        shutil.copyfile(source, path)
        return
    original = read_own(source, params.max_megapixels)
    parts = [
        Restored(enlarged_matrix(face.matrix(len(before)), params.upscale), original.own(before), original.own(after))
        for face, (before, after) in pairs
    ]
    write_original(original, with_faces(original, parts, params.upscale, params.strength), path)


def with_faces(original: Original, faces: list[Restored], upscale: int, strength: float) -> np.ndarray:
    """Its pixels [H, W, C], enlarged by `upscale` (Lanczos), with the faces."""
    pixels = enlarged(original.pixels, upscale)
    colours = original.colours.shape[2]
    pixels[..., :colours] = paste(np.ascontiguousarray(pixels[..., :colours]), faces, strength)
    return pixels


def enlarged(pixels: np.ndarray, factor: int) -> np.ndarray:
    """A copy, `factor` times as large; Lanczos."""
    if factor == 1:
        return pixels.copy()
    height, width = pixels.shape[:2]
    large = cv2.resize(pixels, (width * factor, height * factor), interpolation=cv2.INTER_LANCZOS4)
    return large if large.ndim == 3 else large[..., None]


def enlarged_matrix(matrix: np.ndarray, factor: int) -> np.ndarray:
    """From the enlarged photo to the crop [2, 3], given that from the photo."""
    shift = matrix[:, 2] + matrix[:, :2] @ np.full(2, (1 - factor) / (2 * factor))
    return np.column_stack([matrix[:, :2] / factor, shift])


def names_of(photos: ChosenPhotos, max_megapixels: float) -> dict[str, str]:
    """What the results of the photos are called, by id: their own names, or with the suffix of another kind."""
    kinds = {image_id: kind_of(path, max_megapixels) for image_id, path in photos.paths.items()}
    return photos.result_names({image_id: SUFFIXES[kind] for image_id, kind in kinds.items() if kind})
