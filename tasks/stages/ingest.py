"""Stage `ingest`: a user's folder of photos, as upright square sRGB PNGs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.data.ingest import Ingest
from tasks.stage import stage
from tasks.store import BadInput, Manifest, write_png, write_quarantine

if TYPE_CHECKING:
    from tasks.params import IngestParams


@stage
def ingest(out: Path, params: IngestParams, record: Manifest) -> None:
    """Write every usable photo; the others go to quarantine.csv. Raises BadInput if none is usable."""
    write_photos(out, Ingest(params.folder, params.size, params.fit))


def write_photos(out: Path, source: Ingest) -> None:
    """Write every usable photo of a folder, and quarantine.csv with the others."""
    count = 0
    for image_id, image in source:
        write_png(out / f"{image_id}.png", image)
        count += 1
    if not count:
        reasons = "\n".join(f"  {file}: {reason}" for file, reason in source.quarantine[:10])
        raise BadInput(f"{source.folder}: none of its {len(source)} photos can be used:\n{reasons}")
    write_quarantine(out, source.quarantine)
