"""Stage `faces_report`: what was done to each face of a user's photos, and its crops before and after."""

from __future__ import annotations

from pathlib import Path

from tasks.basics import Strict
from tasks.running.stage import stage
from tasks.stages.find_faces import FACES, FoundFace, read_found
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import write_json, write_quarantine
from tasks.store.publish import link_file


class FacesReportParams(Strict):
    """Stage `faces_report`. method: as it was asked for; labels, names: of photos and results, by image id."""

    method: str
    labels: dict[str, str]
    names: dict[str, str]
    keep_crops: bool


@stage
def faces_report(
    out: Path, params: FacesReportParams, record: Manifest, faces: ImageFolder, restored: ImageFolder | None = None
) -> None:
    """faces.json (by the photos' names), quarantine.csv, and the crops as <id>_before.png and <id>_after.png."""
    done = set(restored.ids) if restored else set()
    reasons = {row.file: row.reason for row in restored.quarantine} if restored else {}

    def told(face: FoundFace) -> dict[str, object]:
        what = f"restored by {params.method}" if face.crop in done else "left as it is"
        why = face.why or reasons.get(str(face.crop), "")
        return face.model_dump(mode="json", exclude={"why"}) | {"done": f"{what}: {why}" if why else what}

    listed = {
        params.labels[image_id]: {
            "result": params.names[image_id],
            "width": photo.width,
            "height": photo.height,
            "faces": [told(face) for face in photo.faces],
        }
        for image_id, photo in read_found(faces).items()
    }
    write_json(out / FACES, {"method": params.method, "photos": listed})
    write_quarantine(out, faces.quarantine)
    if params.keep_crops and restored:
        for crop in restored.ids:
            link_file(faces.path(f"{crop}.png"), out / f"{crop}_before.png")
            link_file(restored.path(f"{crop}.png"), out / f"{crop}_after.png")
