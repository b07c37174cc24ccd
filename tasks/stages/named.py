"""Stage `named`: images by the names that their photos have."""

from __future__ import annotations

from pathlib import Path

from tasks.basics import Strict
from tasks.running.stage import stage
from tasks.store.artifact import FileName, ImageFolder, Manifest
from tasks.store.files import write_quarantine
from tasks.store.publish import link_file


class NamedParams(Strict):
    """Stage `named`: the name of each image's file, by image id."""

    names: dict[str, FileName]


@stage
def named(out: Path, params: NamedParams, record: Manifest, images: ImageFolder) -> None:
    """The same PNGs as `<sub-folder>/<name>.png`; quarantine.csv where images were set aside."""
    for image_id in images.ids:
        name = params.names[image_id]
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        link_file(images.path(f"{image_id}.png"), out / name)
    if images.quarantine:
        write_quarantine(out, images.quarantine)
