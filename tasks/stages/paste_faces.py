"""Stage `paste_faces`: restored crops back into their whole photos, which keep their kind, depth, profile and EXIF."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import nn

from tasks.basics import Strict
from tasks.data.chosen import ChosenPhotos
from tasks.data.original import SUFFIXES, Original, kind_of, write_original
from tasks.faces.parsing import Region, load
from tasks.faces.paste import Restored, paste
from tasks.restorers import enlarge
from tasks.running.device import held_device
from tasks.running.shards import shards
from tasks.running.stage import shared_stage
from tasks.stages.find_faces import FoundFace, FoundPhoto, read_found, read_own
from tasks.store.artifact import Artifact, FileName, ImageFolder, Manifest
from tasks.store.publish import link_files

AT_ONCE = 1  # photos in a shard
CPU = torch.device("cpu")

Crops = tuple[np.ndarray, np.ndarray]
"""A face's crop before and after, uint8 [S, S, 3]."""


Enlarge = Callable[[np.ndarray, int], np.ndarray]
"""Pixels [H, W, C] and a factor to pixels that are so many times as large."""


class PasteFacesParams(Strict):
    """Stage `paste_faces`. names: of the results, by image id."""

    names: dict[str, FileName]
    strength: float = Field(default=1.0, ge=0, le=1, description="share of the change that is made")
    upscale: Literal[1, 2, 4] = 1
    max_megapixels: float


@dataclass(frozen=True)
class How:
    """enlarged: what makes the whole photo larger, or enhances it; region: where a restored crop shows the face."""

    params: PasteFacesParams
    enlarged: Enlarge
    region: Region | None = None


@shared_stage
def paste_faces(
    out: Path,
    params: PasteFacesParams,
    record: Manifest,
    photos: ChosenPhotos,
    faces: ImageFolder,
    restored: ImageFolder | None = None,
    background: Path | None = None,
    parsenet: Path | None = None,
) -> None:
    """Every photo that could be read, by its name. Photos in which nothing changes are copied, byte by byte.

    background: weights of a network that enhances the whole photo; parsenet: weights of the network that keeps changes
    to the face and its hair.
    """
    with held_device() if background or parsenet else nullcontext(CPU) as device:
        how = How(
            params,
            enhancer(background, device) if background else enlarged,
            load(parsenet, device) if parsenet else None,
        )
        _paste(out, how, record, photos, faces, restored)


def _paste(
    out: Path, how: How, record: Manifest, photos: ChosenPhotos, faces: ImageFolder, restored: ImageFolder | None
) -> None:
    found, done = read_found(faces), set(restored.ids) if restored else set()

    def make(folder: Path, ids: list[str]) -> None:
        for image_id in found.keys() & set(ids):
            path = folder / how.params.names[image_id]
            path.parent.mkdir(parents=True, exist_ok=True)
            write_result(path, photos.paths[image_id], found[image_id], how, crops)

    def crops(face: FoundFace) -> Crops | None:
        if restored is None or face.crop is None or face.crop not in done:
            return None
        before, after = faces.read(face.crop), restored.read(face.crop)
        return (before, inside(how.region(after), before, after)) if how.region else (before, after)

    for part in [Artifact(folder) for _, folder in shards(record, photos, AT_ONCE, make)]:
        for name in part.manifest.files:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
        link_files(part.root, out, part.manifest.files)


def write_result(
    path: Path,
    source: Path,
    photo: FoundPhoto,
    how: How,
    crops: Callable[[FoundFace], Crops | None],
) -> None:
    """The photo with its restored faces."""
    pairs, params = [(face, both) for face in photo.faces if (both := crops(face))], how.params
    if not pairs and params.upscale == 1 and how.enlarged is enlarged and path.suffix.lower() == source.suffix.lower():
        shutil.copyfile(source, path)
        return
    original = read_own(source, params.max_megapixels)
    parts = [
        Restored(enlarged_matrix(face.matrix(len(before)), params.upscale), original.own(before), original.own(after))
        for face, (before, after) in pairs
    ]
    write_original(original, with_faces(original, parts, how), path)


def with_faces(original: Original, faces: list[Restored], how: How) -> np.ndarray:
    """Its pixels [H, W, C], enlarged or enhanced, with the faces."""
    pixels = how.enlarged(original.pixels, how.params.upscale)
    colours = original.colours.shape[2]
    pixels[..., :colours] = paste(np.ascontiguousarray(pixels[..., :colours]), faces, how.params.strength)
    return pixels


def inside(region: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The crop after, uint8 [S, S, 3], as far as the region [S, S, 1] reaches."""
    return np.rint(before + region * (after.astype(np.float32) - before)).astype(np.uint8)


def enhancer(weights: Path, device: torch.device) -> Enlarge:
    """`enhanced` by the network of a weights file."""
    return partial(enhanced, enlarge.load(weights, device), device)


def enhanced(network: nn.Module, device: torch.device, pixels: np.ndarray, factor: int) -> np.ndarray:
    """The same as `enlarged`, but what is no transparency comes from a network, at whatever factor that has."""
    large, colours = enlarged(pixels, factor), 1 if pixels.shape[2] < 3 else 3
    most = np.iinfo(pixels.dtype).max
    rgb = np.broadcast_to(pixels[..., :colours].astype(np.float32) / most, (*pixels.shape[:2], 3))
    found = enlarge.enlarged(network, rgb, device)
    if found.shape[:2] != large.shape[:2]:
        kind = cv2.INTER_AREA if len(found) > len(large) else cv2.INTER_LANCZOS4
        found = cv2.resize(found, large.shape[1::-1], interpolation=kind)
    found = found if colours == 3 else found.mean(2, keepdims=True)
    large[..., :colours] = np.rint(found.clip(0, 1) * most).astype(pixels.dtype)
    return large


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
