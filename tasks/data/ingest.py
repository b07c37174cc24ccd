"""Intake of a user's folder of aligned face photos, or of two folders with the same faces.

One bad file never stops the others: it goes to quarantine with its reason. How a file is read: `tasks.data.photo`.
"""

import hashlib
import logging
import os
import re
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from tasks.basics import RESERVED, BadInput
from tasks.data.masks import hole_of, read_mask, refuse_black
from tasks.data.photo import EXTENSIONS, FORMATS, MAX_MEGAPIXELS, has_image_signature, read_photo
from tasks.data.registration import check_aspects, check_registered
from tasks.store.artifact import MANIFEST
from tasks.store.files import QUARANTINE, Quarantined
from tasks.store.keys import digest, file_digest
from tasks.store.ownership import published_manifest

Fit = Literal["aligned", "crop"]
Role = Literal["HQ", "mask"]
Job = TypeVar("Job")
Result = TypeVar("Result")

SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"}
LONGEST_ID = 160  # bytes; file systems allow 255, and the store adds to the name
WORKERS = min(4, os.cpu_count() or 1)


class Cropped(NamedTuple):
    """A photo that is not square, of which the centre was taken: its file, and its size in pixels."""

    file: str
    width: int
    height: int


class PhotoFolder:
    """A folder of photos, or one photo, as the input of a stage: its digest covers names and contents, not its place.

    Raises BadInput, when the digest is taken, if the folder is missing or a part of it cannot be listed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def digest(self) -> str:
        return digest({str(_relative(path, self.path)): content_of(path) for path in discover(self.path)})


def content_of(path: Path) -> str:
    """Digest of a file; of one that cannot be read, the reason, which it will be quarantined for."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            return "not a regular file"
        return file_digest(path)
    except OSError as error:
        return str(error.strerror)


# ---------------------------------------------------------------------------------------------- streams


@dataclass
class Ingest:
    """A folder of aligned face photos as a stream of (id, uint8 [size, size, 3]), in the order of the ids.

    Every file is decoded once, in a few threads that stay a few photos ahead, so memory does not grow with the folder.
    `paths` has the files by id before any is read; `photos[:-500]` and `photos[-500:]` are the folder in two parts.
    When the stream has ended, `quarantine` lists the files that could not be used, and why, and `cropped` those that
    were not square and of which the centre was taken.
    Raises BadInput if the folder is missing or has no images at all.

    size: side in pixels. fit: what to do with photos that are not square, see `to_square`.
    max_megapixels: photos with more are refused unread; a thread needs about 12 bytes for each pixel of its photo.
    is_lq: they are to be restored, so those that are black nearly everywhere are set aside.
    """

    folder: Path
    size: int
    fit: Fit = "aligned"
    max_megapixels: float = MAX_MEGAPIXELS
    is_lq: bool = False
    paths: dict[str, Path] = field(init=False)
    quarantine: list[Quarantined] = field(init=False, default_factory=list)
    cropped: list[Cropped] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.paths = _images_of(self.folder)

    def __len__(self) -> int:
        """How many files there are, broken ones included."""
        return len(self.paths)

    def __getitem__(self, part: slice) -> "Ingest":
        some = copy(self)
        some.paths = dict(list(self.paths.items())[part])
        some.quarantine, some.cropped = [], []
        return some

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        self.quarantine.clear()
        self.cropped.clear()
        for (image_id, path), read in _in_order(self._read, self.paths.items()):
            if isinstance(read, BadInput):
                self.quarantine.append(Quarantined(_shown(path, self.folder), str(read)))
                continue
            face, (height, width) = read
            if height != width:
                self.cropped.append(Cropped(_shown(path, self.folder), width, height))
            yield image_id, face

    def _read(self, item: tuple[str, Path]) -> tuple[np.ndarray, tuple[int, ...]] | BadInput:
        try:
            photo = _read_own(item[1], read_photo, self.max_megapixels)
            face = to_square(photo, self.size, self.fit)
            if self.is_lq:
                refuse_black(face)
            return face, photo.shape[:2]
        except BadInput as reason:
            return reason


@dataclass
class PairedIngest:
    """Two folders of the same faces as a stream of (id, LQ, HQ), both uint8 [size, size, 3], in the order of the ids.

    Files belong together if their ids are equal: `a/01.jpg` of one folder and `a/01.png` of the other. Files without
    a partner, and both files of a pair of which one cannot be used or that do not fit, go to `quarantine`, as `lq/…`
    and `hq/…`. Everything else is as in `Ingest`. role: what the second folder holds: "HQ", or "mask" (then each
    second picture is the hole, bool [size, size], see `tasks.data.masks`).
    """

    lq: Path
    hq: Path
    size: int
    fit: Fit = "aligned"
    role: Role = "HQ"
    max_megapixels: float = MAX_MEGAPIXELS
    paths: dict[str, tuple[Path, Path]] = field(init=False)
    unpaired: list[Quarantined] = field(init=False)
    quarantine: list[Quarantined] = field(init=False, default_factory=list)
    cropped: list[Cropped] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.paths, self.unpaired = pair(self.lq, self.hq, self.role)

    def __len__(self) -> int:
        """How many pairs there are, broken ones included."""
        return len(self.paths)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        self.quarantine[:] = self.unpaired
        self.cropped.clear()
        for (image_id, (lq, hq)), read in _in_order(self._read, self.paths.items()):
            if isinstance(read, BadInput):
                self.quarantine.append(Quarantined(f"lq/{_shown(lq, self.lq)}", str(read)))
                self.quarantine.append(Quarantined(f"{self.role.lower()}/{_shown(hq, self.hq)}", str(read)))
                continue
            face, second, (height, width) = read
            if height != width:
                self.cropped.append(Cropped(f"lq/{_shown(lq, self.lq)}", width, height))
            yield image_id, face, second

    def _read(self, item: tuple[str, tuple[Path, Path]]) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]] | BadInput:
        try:
            with _named("LQ"):
                lq = _read_own(item[1][0], read_photo, self.max_megapixels)
            with _named(self.role):
                second = _read_own(item[1][1], read_mask if self.role == "mask" else read_photo, self.max_megapixels)
            check_aspects(lq, second, self.role)
            return *self._fitted(lq, second), lq.shape[:2]
        except BadInput as reason:
            return reason

    def _fitted(self, lq: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with _named("LQ"):
            face = to_square(lq, self.size, self.fit)
            refuse_black(face)
        with _named(self.role):
            square = to_square(second, self.size, self.fit)
            if self.role == "mask":
                return face, hole_of(square)
        check_registered(face, square)
        return face, square


@contextmanager
def _named(role: str) -> Iterator[None]:
    try:
        yield
    except BadInput as reason:
        raise BadInput(f"the {role}{'' if role == 'mask' else ' photo'} of this pair: {reason}") from reason


def pair(lq: Path, hq: Path, role: str = "HQ") -> tuple[dict[str, tuple[Path, Path]], list[Quarantined]]:
    """Files of two folders by id, {id: (LQ path, HQ path)}, sorted; and those that have no partner.

    Raises BadInput if a folder is missing or has no images, or if no file of one has a partner in the other.
    """
    lq_paths, hq_paths = _images_of(lq), _images_of(hq)
    both = {image_id: (path, hq_paths[image_id]) for image_id, path in lq_paths.items() if image_id in hq_paths}
    if not both:
        raise BadInput(
            f"{lq} and {hq} have no photo in common; expected equal names (extensions aside),"
            f" found {next(iter(lq_paths))!r} in one and {next(iter(hq_paths))!r} in the other. Rename them."
        )
    unpaired = [
        Quarantined(f"{side}/{_shown(path, folder)}", f"no partner: the {other} folder has no {image_id!r}")
        for side, other, folder, paths in (("lq", role, lq, lq_paths), (role.lower(), "LQ", hq, hq_paths))
        for image_id, path in paths.items()
        if image_id not in both
    ]
    return both, unpaired


def _images_of(folder: Path) -> dict[str, Path]:
    paths = image_ids(discover(folder), folder)
    if not paths:
        results = [path.relative_to(folder).as_posix() for path in results_below(folder)]
        but = f" but results of bfr ({', '.join(results[:5])}), which are passed over" if results else ""
        raise BadInput(f"{folder} has no image files{but}; expected photos ({', '.join(FORMATS)}). Correct the path.")
    return paths


def own_names(paths: Mapping[str, Path], folder: Path) -> dict[str, str]:
    """The name of each photo's PNG, by id: its own below `folder` (`sub/face.jpg` is `sub/face.png`).

    Each part is a valid file name on every system, see `image_ids`. Photos whose names would be equal, upper and lower
    case aside, are named by their ids; all are, where a photo would be named like a folder, or a folder like what is
    written beside them.
    """
    names = {image_id: _own_name(_relative(path, folder)) for image_id, path in paths.items()}
    uses = Counter(name.casefold() for name in names.values())
    named = {image_id: name if uses[name.casefold()] == 1 else f"{image_id}.png" for image_id, name in names.items()}
    alike = {name.casefold() for name in named.values()}
    folders = {str(parent).casefold() for name in named.values() for parent in PurePosixPath(name).parents}
    if len(alike) < len(named) or (alike | {MANIFEST, QUARANTINE}) & folders:  # a.jpg beside a folder a.png
        return {image_id: f"{image_id}.png" for image_id in named}
    return named


def named_otherwise(names: Mapping[str, str], paths: Mapping[str, Path], folder: Path) -> list[str]:
    """ "<photo> is photos/<name>" for each photo whose name (see `own_names`) is not its own with `.png`."""
    found = []
    for image_id, path in paths.items():
        shown = unicodedata.normalize("NFC", _shown(path, folder))
        stem = shown.removesuffix(path.suffix) if path.suffix.lower() in EXTENSIONS else shown
        if f"{stem}.png" != names[image_id]:
            found.append(f"{shown} is photos/{names[image_id]}")
    return found


def _own_name(relative: Path) -> str:
    stem = relative.stem if relative.suffix.lower() in EXTENSIONS else relative.name
    return "/".join([*(safe_name(part) for part in relative.parts[:-1]), f"{safe_name(stem)}.png"])


def _in_order(work: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[tuple[Job, Result]]:
    """(job, work(job)) in the order of the jobs, done by threads that are at most 2 * WORKERS jobs ahead."""
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting: deque[tuple[Job, Future[Result]]] = deque()
        for job in jobs:
            waiting.append((job, pool.submit(work, job)))
            if len(waiting) > 2 * WORKERS:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


# --------------------------------------------------------------------------------------- an aligned face


def _read_own(path: Path, read: Callable[..., np.ndarray], max_megapixels: float) -> np.ndarray:
    picture = read(path, max_megapixels=max_megapixels)
    if path.name.startswith("."):
        raise BadInput("hidden file (its name starts with a dot): rename it if it is one of your photos")
    return picture


def to_square(photo: np.ndarray, size: int, fit: Fit) -> np.ndarray:
    """uint8 [H, W, 3] or [H, W] to a square of `size`: as it is, or resized (Lanczos, antialiased).

    Aligned face photos are square. "aligned" refuses all others with BadInput; "crop" takes their centre.
    """
    height, width = photo.shape[:2]
    if height != width and fit == "aligned":
        raise BadInput(
            f"not an aligned face photo: {width} x {height} pixels, expected a square. Align it, or cut it to a square."
        )
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    centre = photo[top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(centre)
    return np.array(Image.fromarray(centre).resize((size, size), Image.Resampling.LANCZOS))


# ---------------------------------------------------------------------------------- the files of a folder


def discover(folder: Path) -> list[Path]:
    """Every file below a folder that is an image by its name or by its first bytes, sorted by path; or the one photo.

    Linked folders are followed. Hidden folders and system folders are passed over, and so are files that do not even
    pretend to be images. Hidden files with an image's name are listed, so that their quarantine is seen. The files of
    results of bfr below the folder are passed over too, which the log says once: they are made of photos that are there
    already. What a user has put beside them is not.
    Raises BadInput if the folder is missing or a part of it cannot be listed.
    """
    photos, results = _walked(folder)
    for result in results:
        _say_passed_over(result)
    return photos


def results_below(folder: Path) -> list[Path]:
    """The results of bfr below a folder, which `discover` passes over. Raises BadInput as `discover` does."""
    return _walked(folder)[1]


@cache
def _say_passed_over(folder: Path) -> None:
    logging.getLogger(__name__).warning("%s is a result of bfr: its files are not taken as photos.", folder)


def _walked(folder: Path) -> tuple[list[Path], list[Path]]:
    """(files that are images, folders with results of bfr), sorted."""
    if folder.is_file():
        return [folder], []
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder; expected a folder of photos, or one photo. Correct the path.")
    found: list[Path] = []
    results: list[Path] = []
    made: set[Path] = set()
    seen: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, onerror=_cannot_list, followlinks=True):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in seen:  # links can lead in circles
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        if Path(root) != folder and MANIFEST in files and (manifest := published_manifest(Path(root))):
            results.append(Path(root))
            made.update(Path(root, name) for name in manifest.files)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SYSTEM_FOLDERS)
        found += [path for name in files if _looks_like_image(path := Path(root, name))]
    return sorted(path for path in found if path not in made), sorted(results)


def _cannot_list(error: OSError) -> None:
    raise BadInput(f"{error.filename} cannot be listed: {error.strerror}. Make it readable or move it away.") from error


def _looks_like_image(path: Path) -> bool:
    if path.suffix.lower() in EXTENSIONS:
        return True
    return not path.name.startswith(".") and os.access(path, os.R_OK) and path.is_file() and has_image_signature(path)


def image_ids(paths: Iterable[Path], folder: Path) -> dict[str, Path]:
    """A unique id for every file, sorted: its path below `folder` without extension (`sub/face.png` is `sub__face`).

    Ids are valid file names on every system: letters of all scripts stay, what some system forbids becomes `_`. Files
    whose ids would be equal but for upper and lower case all get their extension (`face_png`, `face_jpg`), and where
    that is not enough, a digest of their path. So an id depends on the file's own path and on files named alike, and
    other photos may come and go. Very long names are cut and get a digest.
    """
    waiting = {path: _relative(path, folder) for path in paths}
    ids: dict[str, Path] = {}
    for name_of in (_plain_id, _id_with_extension, _id_with_digest):
        names = {path: name_of(relative) for path, relative in waiting.items()}
        uses = Counter(name.casefold() for name in [*names.values(), *ids])
        ids |= {name: path for path, name in names.items() if uses[name.casefold()] == 1}
        waiting = {path: waiting[path] for path, name in names.items() if uses[name.casefold()] > 1}
    assert not waiting, waiting
    return dict(sorted(ids.items()))


def _plain_id(relative: Path) -> str:
    is_image_name = relative.suffix.lower() in EXTENSIONS  # "john.smith" has no extension to lose
    return safe_name("__".join((relative.with_suffix("") if is_image_name else relative).parts))


def _id_with_extension(relative: Path) -> str:
    return safe_name(f"{_plain_id(relative)}_{relative.suffix[1:]}")


def _id_with_digest(relative: Path) -> str:
    return f"{_plain_id(relative)}-{_short_digest(str(relative))}"


def safe_name(name: str) -> str:
    visible = "".join("_" if unicodedata.category(c)[0] == "C" else c for c in unicodedata.normalize("NFC", name))
    plain = re.sub(r'[<>:"/\\|?*]', "_", visible).strip(" ").rstrip(" .") or "_"
    first, dot, rest = plain.partition(".")
    if RESERVED.fullmatch(first):
        plain = f"{first}_{dot}{rest}"
    if len(plain.encode()) <= LONGEST_ID:
        return plain
    return f"{plain.encode()[:LONGEST_ID].decode(errors='ignore')}-{_short_digest(name)}"


def _short_digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]


def _relative(path: Path, folder: Path) -> Path:
    """A photo's path below the folder that was given; its name, where it was given itself."""
    return Path(path.name) if path == folder else path.relative_to(folder)


def _shown(path: Path, folder: Path) -> str:
    """Path below the folder for a report; bytes of the name that are no text are written as \\xNN."""
    return os.fsencode(_relative(path, folder).as_posix()).decode("utf-8", "backslashreplace")
