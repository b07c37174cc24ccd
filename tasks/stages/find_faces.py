"""Stage `find_faces`: whole photos to aligned crops of their faces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from tasks.basics import BadInput, Strict
from tasks.data.chosen import ChosenPhotos
from tasks.data.original import Original, read_original
from tasks.data.photo import MAX_MEGAPIXELS
from tasks.faces.align import cut_out, similarity
from tasks.faces.detector import Detector, Faces
from tasks.faces.mtcnn import LEAST, Mtcnn
from tasks.faces.retinaface import RetinaFace
from tasks.running.shards import shards
from tasks.running.stage import shared_stage
from tasks.store.artifact import Artifact, Manifest
from tasks.store.files import Quarantined, read_json, write_json, write_png, write_quarantine
from tasks.store.publish import link_files

FACES = "faces.json"
SURE = 0.85  # score below which a box may be no face: true ones in real photos have 0.91 and more
SLACK = 0.7  # of min_face: from where on faces are searched, for their sizes are known only then
AT_ONCE = (
    1  # photos in a shard: a killed run loses none that is finished, and a grown folder searches the new ones alone
)


class FindFacesParams(Strict):
    """Stage `find_faces`: which faces of a photo are cut out."""

    size: PositiveInt = Field(description="side of the crops, in pixels")
    min_face: PositiveFloat = Field(default=LEAST, description="pixels: smaller faces are left as they are")
    max_faces: PositiveInt | None = Field(default=None, description="the largest of a photo; None: all")
    only_center: bool = Field(default=False, description="the face that is nearest to the middle of the photo")
    max_megapixels: PositiveFloat = MAX_MEGAPIXELS


class FoundFace(Strict):
    """A face of a photo. crop: the id of its crop; None for one that is left as it is, `why` then says why."""

    box: tuple[float, float, float, float]
    points: tuple[tuple[float, float], ...]
    score: float
    crop: str | None = None
    why: str = ""

    def matrix(self, size: int) -> np.ndarray:
        """From the photo to the crop [2, 3]."""
        return similarity(np.array(self.points), size)


class FoundPhoto(Strict):
    """A photo that could be read, and its faces, the largest first. kind: of the file that its result goes to."""

    width: int
    height: int
    kind: str
    faces: tuple[FoundFace, ...]


@shared_stage
def find_faces(
    out: Path, params: FindFacesParams, record: Manifest, photos: ChosenPhotos, retinaface: Path | None = None
) -> None:
    """A PNG for each face, faces.json (`FoundPhoto` by image id), quarantine.csv with what cannot be used.

    retinaface: its weights, to search with it in place of the embedded detector.
    """
    detector = RetinaFace(retinaface) if retinaface else Mtcnn()

    def make(folder: Path, ids: list[str]) -> None:
        found: dict[str, Any] = {}
        aside: list[Quarantined] = []
        for image_id in ids:
            try:
                original = read_own(photos.paths[image_id], params.max_megapixels)
            except BadInput as reason:
                aside.append(Quarantined(photos.labels[image_id], str(reason)))
                continue
            photo = searched(original, image_id, params, detector)
            for crop_id, crop in crops_of(original, photo, params.size):
                write_png(folder / f"{crop_id}.png", crop)
            found[image_id] = photo.model_dump(mode="json")
        write_json(folder / FACES, found)
        write_quarantine(folder, aside)

    made = [Artifact(folder) for _, folder in shards(record, photos, AT_ONCE, make)]
    found = {image_id: photo for part in made for image_id, photo in read_json(part.path(FACES)).items()}
    aside = [row for part in made for row in part.quarantine]
    for part in made:
        link_files(part.root, out, [name for name in part.manifest.files if name.endswith(".png")])
    write_json(out / FACES, found)
    write_quarantine(out, aside)


def read_own(path: Path, max_megapixels: float) -> Original:
    """A user's photo. Raises BadInput for what cannot be read, and for hidden files."""
    original = read_original(path, max_megapixels=max_megapixels)
    if path.name.startswith("."):
        raise BadInput("hidden file (its name starts with a dot): rename it if it is one of your photos")
    return original


def searched(original: Original, image_id: str, params: FindFacesParams, detector: Detector) -> FoundPhoto:
    """What there is to be seen in a photo, and which faces get a crop."""
    height, width = original.shown.shape[:2]
    faces = detector.detect(original.shown, max(LEAST, SLACK * params.min_face))
    listed = []
    for n, why in enumerate(reasons_against(faces, width, height, params), start=1):
        listed.append(
            FoundFace(
                box=rounded(faces.boxes[n - 1]),
                points=tuple(map(rounded, faces.points[n - 1])),
                score=round(float(faces.scores[n - 1]), 4),
                crop=None if why else f"{image_id}__face{n:02d}",
                why=why,
            )
        )
    return FoundPhoto(width=width, height=height, kind=original.kind, faces=tuple(listed))


def rounded(numbers: np.ndarray) -> Any:
    """To hundredths of a pixel, so that the last bits of another processor do not matter."""
    return tuple(round(float(x), 2) for x in numbers)


def reasons_against(faces: Faces, width: int, height: int, params: FindFacesParams) -> list[str]:
    """Why each face is left as it is; "" for those that get a crop."""
    middles = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 - np.array([width, height]) / 2
    away = np.hypot(*middles.T) + np.where(faces.scores < SURE, np.inf, 0)
    nearest = int(np.argmin(away)) if len(faces) else -1
    reasons = []
    for n, size in enumerate(faces.sizes):
        if faces.scores[n] < SURE:
            reasons.append("perhaps no face")
        elif params.only_center and n != nearest:
            reasons.append("not the face nearest to the middle")
        elif size < params.min_face:
            reasons.append(f"smaller than {params.min_face:g} pixels")
        elif params.max_faces and reasons.count("") >= params.max_faces:
            reasons.append(f"not among the {params.max_faces} largest")
        else:
            reasons.append("")
    return reasons


def crops_of(original: Original, photo: FoundPhoto, size: int) -> Iterator[tuple[str, np.ndarray]]:
    """(id, uint8 [size, size, 3]) of each face that is to be restored."""
    for face in photo.faces:
        if face.crop:
            yield face.crop, cut_out(original.shown, face.matrix(size), size)


def read_found(folder: Artifact) -> dict[str, FoundPhoto]:
    """What `find_faces` found, by image id."""
    return {image_id: FoundPhoto(**photo) for image_id, photo in read_json(folder.path(FACES)).items()}
