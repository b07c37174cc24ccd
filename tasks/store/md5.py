"""The digests that DVC records. Those of a result's files are taken once, and noted in the store."""

import hashlib
import json
from pathlib import Path

from tasks.store.files import read_note, write_json
from tasks.store.ownership import manifest_of, names_below, published_below
from tasks.store.store import Store


def dvc_digest(folder: Path, store: Store) -> str:
    """What dvc.lock has, or will have, as the md5 of a folder with results: of the list of its files' digests."""
    results, others = published_below(folder) if folder.exists() else ([], [])
    found = {name: md5(folder / name) for name in others if (folder / name).is_file()}
    for result in results:
        place = result.relative_to(folder)
        found |= {(place / name).as_posix(): digest for name, digest in digests_of(result, store).items()}
    files = [{"md5": found[name], "relpath": name} for name in sorted(found)]
    return md5_of(json.dumps(files, sort_keys=True).encode()) + ".dir"


def digests_of(result: Path, store: Store) -> dict[str, str]:
    """The md5 of every file of a published result, by name."""
    manifest = manifest_of(result)
    assert manifest is not None
    note = store.root / "md5" / f"{manifest.digest}.json"
    known: dict[str, str] = read_note(note)
    if not known:
        known = {name: md5(result / name) for name in manifest.files}
        note.parent.mkdir(parents=True, exist_ok=True)
        write_json(note, known)
    others = {name: md5(result / name) for name in names_below(result) if name not in manifest.files}
    return known | others


def md5(path: Path) -> str:
    return md5_of(path.read_bytes())


def md5_of(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
