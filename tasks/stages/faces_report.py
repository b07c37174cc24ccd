"""Stage `faces_report`: what was done to each face of a user's photos, and its crops before and after."""

from __future__ import annotations

from pathlib import Path

from tasks.basics import Strict
from tasks.running.stage import stage
from tasks.stages.find_faces import FACES, FoundFace, read_found
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import Quarantined, write_json, write_quarantine
from tasks.store.publish import link_file


class FacesReportParams(Strict):
    """Stage `faces_report`. method: as it was asked for; labels, names: of photos and results, by image id."""

    method: str
    labels: dict[str, str]
    names: dict[str, str]
    keep_crops: bool


@stage
def faces_report(out: Path, params: FacesReportParams, record: Manifest, **parts: ImageFolder) -> None:
    """faces.json (by the photos' names), quarantine.csv, and the crops as <id>_before.png and <id>_after.png.

    parts: results of `find_faces` as "faces/…", and of what restored their crops, if anything did, as "restored/…".
    """
    listed: dict[str, object] = {}
    aside: list[Quarantined] = []
    for name, faces in parts.items():
        kind, _, part = name.partition("/")
        if kind == "faces":
            restored = parts.get(f"restored/{part}")
            listed |= told(params, faces, restored)
            aside += faces.quarantine
            if params.keep_crops and restored:
                keep(faces, restored, out)
    write_json(out / FACES, {"method": params.method, "photos": listed})
    write_quarantine(out, aside)


def told(params: FacesReportParams, faces: ImageFolder, restored: ImageFolder | None) -> dict[str, object]:
    """What was done to each face of each photo."""
    done = set(restored.ids) if restored else set()
    reasons = {row.file: row.reason for row in restored.quarantine} if restored else {}

    def told_of(face: FoundFace) -> dict[str, object]:
        what = f"restored by {params.method}" if face.crop in done else "left as it is"
        why = face.why or reasons.get(str(face.crop), "")
        return face.model_dump(mode="json", exclude={"why"}) | {"done": f"{what}: {why}" if why else what}

    return {
        params.labels[image_id]: {
            "result": params.names[image_id],
            "width": photo.width,
            "height": photo.height,
            "faces": [told_of(face) for face in photo.faces],
        }
        for image_id, photo in read_found(faces).items()
    }


def keep(faces: ImageFolder, restored: ImageFolder, out: Path) -> None:
    """The crops before and after."""
    for crop in restored.ids:
        link_file(faces.path(f"{crop}.png"), out / f"{crop}_before.png")
        link_file(restored.path(f"{crop}.png"), out / f"{crop}_after.png")
