"""What the page does: the commands' own functions, and what a browser can show of their results."""

import logging
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from flows import adapt as adapting
from flows import personalize as personalizing
from flows.adapt import Changes, adapt_photos
from flows.personalize import Tuning, personalize_photos
from flows.preflight import registered
from flows.whole_photos import Options, Outcome, files_of, found_faces, named, restore_photos
from flows.workspace import counted
from tasks.basics import WEIGHTS, BadInput
from tasks.data.chosen import ChosenPhotos
from tasks.data.photo import read_photo
from tasks.faces.align import TEMPLATE_SIDE
from tasks.params.fast import chain_of
from tasks.params.load import load_experiment
from tasks.running.progress import listener
from tasks.stages.find_faces import FACES, FoundPhoto, read_found
from tasks.store.files import read_json
from tasks.weights.fetch import fetch
from tasks.weights.file import WeightFile

SIDE = 1600  # pixels, the longer side of what is shown; what is downloaded is whole
SMALL_SIDE = 480  # of one among many
MOST = 60  # photos shown of many
CHOSEN, LEFT = (52, 211, 153), (160, 160, 160)  # colours of the boxes about faces

Tell = Callable[[str, int, int], None]
"""Called as tell(what, done, total) while work goes on."""


@dataclass(frozen=True)
class Look:
    """A photo and what was found in it. picture: uint8 [H, W, 3], a box about each face."""

    picture: np.ndarray
    text: str


@dataclass(frozen=True)
class One:
    """A restored photo. before, after: uint8 [H, W, 3], as large as one another; faces: before and after side by side;
    file: to download."""

    before: np.ndarray
    after: np.ndarray
    faces: list[np.ndarray]
    file: Path
    text: str


@dataclass(frozen=True)
class Many:
    """Several results. shown: (picture, name); archive: all of them to download; page: the report, if there is one."""

    shown: list[tuple[np.ndarray, str]]
    archive: Path
    text: str
    page: Path | None = None


class Desk:
    """A folder that the results of a page go to, each job's to one of its own.

    stops: of the jobs that wait or are at work, by who has asked for them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stops: dict[str, threading.Event] = {}

    def place(self, what: str) -> Path:
        """A new folder."""
        self.root.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{what}-", dir=self.root))


@contextmanager
def told(tell: Tell) -> Iterator[list[str]]:
    """While the block runs, `tell` hears how far work is; the list collects the warnings of this thread."""
    warnings: list[str] = []
    handler = _Collecting(warnings)
    token = listener.set(tell)
    loggers = [logging.getLogger(name) for name in ("flows", "tasks")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield warnings
    finally:
        listener.reset(token)
        for logger in loggers:
            logger.removeHandler(handler)


class _Collecting(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.messages, self.thread = messages, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread and record.getMessage() not in self.messages:
            self.messages.append(record.getMessage())


# ------------------------------------------------------------------------------------------------- weights
def lacking(method: str) -> list[WeightFile]:
    """The registered files of a method that are not here."""
    return absent(files_of(*named(method, None)))


def lacking_to_adapt(method: str) -> list[WeightFile]:
    """Those that an adaptation needs."""
    settings = load_experiment(adapting.named(method, None))
    return absent(registered(adapting.needs_of(settings, Options())))


def lacking_to_know(prior: str) -> list[WeightFile]:
    """Those that a personalisation needs."""
    return absent(personalizing.files_of(personalizing.named(prior, None), Options()))


def lacking_for(options: Options) -> list[WeightFile]:
    """Those of the options."""
    return absent(registered(options.checks))


def absent(files: Iterable[WeightFile]) -> list[WeightFile]:
    return [file for file in files if not (WEIGHTS / file.place).is_file()]


def size_of(files: Sequence[WeightFile]) -> str:
    """How much there is to download."""
    known = sum(file.size for file in files) / 2**20
    return f"{known:.0f} MiB" if all(file.size for file in files) else "of unknown size"


def get_weights(files: Sequence[WeightFile], tell: Tell) -> None:
    """`bfr fetch` of files that are not here."""
    with told(tell):
        for file in files:
            fetch(file, WEIGHTS)


def has_fast(method: str) -> bool:
    """Whether a method can do with fewer evaluations of the prior."""
    experiment, row = named(method, None)
    return chain_of(load_experiment(experiment), row) is not None


# ------------------------------------------------------------------------------------------------ one photo
def look(photo: Path, method: str, options: Options) -> Look:
    """The faces of a photo, and which of them will be restored. Raises BadInput for a file that is no photo."""
    experiment, _ = named(method, None)
    for check in options.checks:
        check()
    faces = found_faces(ChosenPhotos([photo]), load_experiment(experiment).dataset.size, options)
    for _, reason in faces.quarantine:
        raise BadInput(reason)
    (found,) = read_found(faces).values()
    picture = marked(within(read_photo(photo), SIDE), found)
    return Look(picture, told_faces(found))


def told_faces(photo: FoundPhoto) -> str:
    """How many faces there are, and why some will be left as they are."""
    chosen = [face for face in photo.faces if face.crop]
    if not chosen:
        return "No face was found that can be restored: the photo stays as it is."
    left = sorted({face.why for face in photo.faces if not face.crop})
    rest = f"; {len(photo.faces) - len(chosen)} left as they are ({', '.join(left)})" if left else ""
    return f"{counted(len(chosen), 'face')} found{rest}."


def marked(picture: np.ndarray, photo: FoundPhoto) -> np.ndarray:
    """A photo, shown smaller perhaps, with a box about each face."""
    scale, out = len(picture) / photo.height, picture.copy()
    width = max(2, round(max(picture.shape[:2]) / 400))
    for face in photo.faces:
        left, top, right, bottom = (round(x * scale) for x in face.box)
        for thick, colour in ((width + 2, (0, 0, 0)), (width, CHOSEN if face.crop else LEFT)):
            cv2.rectangle(out, (left, top), (right, bottom), colour, thick, cv2.LINE_AA)
    return out


def within(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture, shrunk so that its longer side has `side` pixels at most."""
    height, width = picture.shape[:2]
    if (share := side / max(height, width)) >= 1:
        return picture
    return cv2.resize(picture, (round(width * share), round(height * share)), interpolation=cv2.INTER_AREA)


def restore_one(
    desk: Desk, photo: Path, method: str, options: Options, fidelity: float | None, is_fast: bool, tell: Tell
) -> One:
    """`bfr restore` of one photo. Raises BadInput as the command does, and where no face can be restored."""
    out = desk.place("photo")
    with told(tell) as warnings:
        done = restore_photos([photo], str(out), *named(method, None), options, fidelity=fidelity, is_fast=is_fast)
    (found,), (count,) = done.found.values(), done.restored.values()
    if not count:
        raise BadInput("\n".join([told_faces(found), *warnings]))
    (file,) = results_of(done).values()
    after = within(read_photo(file), SIDE)
    before = cv2.resize(read_photo(photo), after.shape[1::-1], interpolation=cv2.INTER_AREA)
    return One(before, after, pairs(out / "faces"), file, "\n".join([f"{counted(count, 'face')} restored.", *warnings]))


def results_of(done: Outcome) -> dict[str, Path]:
    """The restored photos, by the names of their originals."""
    listed = read_json(done.root / "faces" / FACES)["photos"]
    return {name: done.root / "photos" / photo["result"] for name, photo in listed.items()}


def pairs(folder: Path) -> list[np.ndarray]:
    """The kept crops, before and after side by side."""
    shown = []
    for before in sorted(folder.glob("*_before.png")):
        after = before.with_name(before.name.replace("_before", "_after"))
        both = [within(read_photo(path), TEMPLATE_SIDE) for path in (before, after)]
        shown.append(np.concatenate(both, axis=1))
    return shown


# ------------------------------------------------------------------------------------------------ many photos
def restore_many(
    desk: Desk,
    photos: Sequence[Path],
    method: str,
    options: Options,
    fidelity: float | None,
    is_fast: bool,
    tell: Tell,
) -> Many:
    """`bfr restore` of several photos."""
    folder, out = gathered(desk, "photos", photos), desk.place("restored")
    with told(tell) as warnings:
        done = restore_photos([folder], str(out), *named(method, None), options, fidelity=fidelity, is_fast=is_fast)
    text = "\n".join([done.line.partition(" → ")[0] + ".", *warnings])
    return Many(shown_of(out / "photos"), archived(desk, out), text)


def personalize_on(
    desk: Desk, album: Sequence[Path], photos: Sequence[Path], prior: str, iterations: int, tell: Tell
) -> Many:
    """`bfr personalize`."""
    clean, folder = (gathered(desk, *some) for some in (("album", album), ("photos", photos)))
    out, tuning = str(desk.place("personal")), Tuning(iterations=iterations)
    with told(tell) as warnings:
        done = personalize_photos([clean], [folder], out, personalizing.named(prior, None), tuning, Options())
    return _reported(desk, done, warnings)


def adapt_to(desk: Desk, photos: Sequence[Path], real: Sequence[Path], method: str, is_fast: bool, tell: Tell) -> Many:
    """`bfr adapt`."""
    folder, clean = gathered(desk, "photos", photos), [gathered(desk, "real", real)] if real else []
    with told(tell) as warnings:
        out, experiment = str(desk.place("adapted")), adapting.named(method, None)
        done = adapt_photos([folder], out, experiment, Options(), changes=Changes(is_fast=is_fast), real=clean)
    return _reported(desk, done, warnings)


def _reported(desk: Desk, done: Outcome, warnings: Sequence[str]) -> Many:
    """What `adapt` or `personalize` has made."""
    found = read_json(done.root / "report" / "findings.json")
    text = "\n".join([*(f"{part}: {finding}" for part, finding in found.items()), *warnings])
    page = done.root / "report" / "report.html"
    return Many(shown_of(done.root / "photos"), archived(desk, done.root), text, page)


def gathered(desk: Desk, what: str, files: Sequence[Path]) -> Path:
    """Files in one new folder. Raises BadInput where there are none, or two have one name."""
    if not files:
        raise BadInput("Which photos? Drop some first.")
    folder = desk.place(what)
    for file in files:
        if (folder / file.name).exists():
            raise BadInput(f"Two of the photos are called {file.name}. Rename one of them.")
        shutil.copyfile(file, folder / file.name)
    return folder


def shown_of(folder: Path) -> list[tuple[np.ndarray, str]]:
    """The first photos of a folder, small, with their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json")
    return [(within(read_photo(path), SMALL_SIDE), path.relative_to(folder).as_posix()) for path in files[:MOST]]


def archived(desk: Desk, root: Path) -> Path:
    """Results as a ZIP file, without the details."""
    archive = desk.place("archive") / f"{root.name.partition('-')[0]}.zip"
    names = {path.relative_to(root): path for path in sorted(root.rglob("*")) if path.is_file()}
    with zipfile.ZipFile(archive, "w") as out:
        for name, path in names.items():
            if name.parts[0] != "details":
                out.write(path, name)
    return archive
