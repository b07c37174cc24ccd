"""Weights on disk: found, verified by their SHA-256, downloaded. What they are: tasks/weights/official.py."""

import http.client
import logging
import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tasks.basics import WEIGHTS, BadInput
from tasks.running.progress import Amount
from tasks.store.files import read_note, write_json
from tasks.store.keys import contents_digest, file_digest
from tasks.store.locks import locked
from tasks.weights.file import WeightFile
from tasks.weights.official import OFFICIAL

LOG = logging.getLogger(__name__)
MIRROR, OFFLINE = "BFR_MIRROR", ("HF_HUB_OFFLINE", "BFR_OFFLINE")  # of the environment
CHECKSUMS = WEIGHTS / "sha256.json"  # of the registered files, as they were when first used


def known(path: Path) -> WeightFile | None:
    """What is registered about a file; None for a user's own."""
    return OFFICIAL.get(path.relative_to(WEIGHTS).as_posix()) if path.is_relative_to(WEIGHTS) else None


def required(path: Path, needed_by: str) -> Path:
    """The path of a weights file. Raises BadInput if it is not there (it says where to get it), closed, or changed."""
    file = known(path)
    if path.is_file():
        if not os.access(path, os.R_OK):
            raise BadInput(f"{path} may not be read by this user (needed as {needed_by}). Correct its permissions.")
        return verified(path, file) if file else path
    if path.exists():
        raise BadInput(
            f"{path} is a folder, a pipe or a device; expected a file (needed as {needed_by}). Name the file."
        )
    if file:
        advice = file.advice
    elif path.is_relative_to(WEIGHTS / "demo"):
        advice = "It comes with the repository: dvc pull -r demo data/weights/dvc.yaml"
    elif path.is_relative_to(WEIGHTS) and path.with_suffix(".yaml").is_file():  # its recipe
        advice = f"It is trained here: bfr train {path.relative_to(WEIGHTS).with_suffix('').as_posix()}"
    else:
        advice = "Put the file there, or correct its path in the settings."
    raise BadInput(f"{path} is missing (needed as {needed_by}).\n{advice}")


def verified(path: Path, file: WeightFile) -> Path:
    """The path of a registered file, after its SHA-256 was compared with the known one, or with that of its first use.

    At the first use it is written to CHECKSUMS, and the licence is shown. Raises BadInput if the contents differ.
    """
    found = contents_digest(path)
    with locked(CHECKSUMS.with_name(".sha256.lock")):
        recorded = read_note(CHECKSUMS)
        expected = file.sha256 or recorded.get(file.place, "")
        if not found.startswith(expected):
            raise BadInput(
                f"{path} is not the file that it should be: SHA-256 {found}, expected {expected}…\n"
                f"Delete it and fetch it again: bfr fetch {file.place}"
            )
        if file.place not in recorded:
            LOG.warning("%s: %s", file.place, file.licence)
            write_json(CHECKSUMS, recorded | {file.place: found})
    return path


def fetch(file: WeightFile, folder: Path) -> Path:
    """Download a file below `folder`, after saying what it is; a download that broke off goes on where it stopped.

    From the mirror that `BFR_MIRROR` names (an address below which the files are by their places), else from where its
    authors have it. Raises BadInput if the server does not answer, if what came is not the file, and where
    `HF_HUB_OFFLINE` or `BFR_OFFLINE` is set.
    """
    path = folder / file.place
    with locked(path.with_name(f".{path.name}.lock")):
        if not path.is_file():
            url = address_of(file)
            if any(os.environ.get(name, "0") not in ("", "0") for name in OFFLINE):
                raise BadInput(f"{file.place} is missing, and {' or '.join(OFFLINE)} is set. Put the file at {path}.")
            LOG.info("%s: %s, %s, from %s to %s", file.place, file.shown_size, file.licence, url, path)
            part = path.with_name(f"{path.name}.part")
            try:
                download(url, part)
            except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
                raise BadInput(
                    f"{url} cannot be downloaded ({error}). Run this again to go on, put the file at {path},"
                    f" or name a mirror: {MIRROR}=https://…"
                ) from error
            found = file_digest(part)
            if not found.startswith(file.sha256):
                part.unlink()
                raise BadInput(f"{url} gave another file: SHA-256 {found}, expected {file.sha256}…")
            os.replace(part, path)
    return path


def address_of(file: WeightFile) -> str:
    """Where a file is downloaded from."""
    mirror = os.environ.get(MIRROR, "").rstrip("/")
    return f"{mirror}/{urllib.parse.quote(file.place)}" if mirror else file.url


def download(url: str, part: Path) -> None:
    """Add to `part` what it lacks of the file at `url`, telling how far it is."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        reply = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if start and error.code == 416:  # there is nothing beyond what we have
            return
        raise
    with reply:
        is_rest = reply.status == 206
        begun = start if is_rest else 0
        total = int(reply.headers["Content-Length"] or 0) + begun
        with part.open("ab" if is_rest else "wb") as out, Amount(part.stem, total, begun) as amount:
            while block := reply.read(1 << 20):
                out.write(block)
                amount.add(len(block))
            if amount.done < total:
                raise http.client.IncompleteRead(b"", total - amount.done)
