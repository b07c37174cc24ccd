"""Restore the faces in whole photos: find them, restore them all together by one method, paste them back."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from flows.restore import check_weights, chosen, for_photos
from flows.rows import Row, rows_of
from flows.workspace import Workspace, results_folder
from tasks.basics import WEIGHTS, BadInput, Strict, suggestion
from tasks.data.chosen import ChosenPhotos, expanded
from tasks.params.experiment import Comparison, Experiment
from tasks.params.load import load_experiment
from tasks.running.stage import Source, Stage
from tasks.stages.faces_report import FacesReportParams, faces_report
from tasks.stages.find_faces import FindFacesParams, FoundPhoto, find_faces, read_found
from tasks.stages.paste_faces import PasteFacesParams, names_of, paste_faces
from tasks.store.artifact import ImageFolder
from tasks.store.files import Quarantined
from tasks.store.ownership import manifest_of
from tasks.weights.fetch import known, required
from tasks.weights.file import WeightFile
from tasks.weights.official import PARSENET, REALESRGAN_X2, RETINAFACE

LOG = logging.getLogger(__name__)

METHODS = {  # what the official models are called, and where params.yaml has them: experiment and row of its table
    "gfpgan": ("difface_celeba_test", "gfpgan"),
    "codeformer": ("difface_celeba_test", "codeformer"),
    "restoreformer": ("difface_celeba_test", "restoreformer"),
    "swinir": ("difface_celeba_test", "pretrained"),
    "difface": ("difface_celeba_test", "difface"),
    "dt_bfr_swinir": ("dt_bfr_swinir", "pretrained"),
    "pseudo_target": ("dt_bfr_swinir", "pseudo_target"),
    "gen2res": ("gen2res", "gen2res"),
    "difbfsr": ("difbfsr", "difbfsr"),
    "demo": ("demo", "pretrained"),
}
DEFAULT = "gfpgan"
LANCZOS, REALESRGAN = "lanczos", "realesrgan"  # how the background is enlarged


class Options(Strict):
    """How a user wants whole photos restored; what is not said here is as in `FindFacesParams`."""

    min_face: float = 20
    max_faces: int | None = None
    only_center: bool = False
    max_megapixels: float = 64
    strength: float = 1.0
    upscale: Literal[1, 2, 4] = 1
    keep_crops: bool = False
    detector: Literal["mtcnn", "retinaface"] = "mtcnn"
    background: str = LANCZOS
    parsing: bool = False

    @property
    def finders(self) -> dict[str, Path]:
        """The weights that `find_faces` needs, by its inputs."""
        return {"retinaface": WEIGHTS / RETINAFACE.place} if self.detector == "retinaface" else {}

    @property
    def pasters(self) -> dict[str, Path]:
        """The weights that `paste_faces` needs, by its inputs."""
        found = {"parsenet": WEIGHTS / PARSENET.place} if self.parsing else {}
        if self.background != LANCZOS:
            is_ours = self.background == REALESRGAN
            found["background"] = WEIGHTS / REALESRGAN_X2.place if is_ours else Path(self.background)
        return found

    def check(self) -> None:
        """Raises BadInput where weights of these are missing or changed."""
        for name, path in (self.finders | self.pasters).items():
            required(path, name)


AS_USUAL = Options()


@dataclass(frozen=True)
class Outcome:
    """What became of the photos. set_aside: with the reasons; faces: restored ones; root: where the results are."""

    root: Path
    found: dict[str, FoundPhoto]
    restored: dict[str, int]
    set_aside: list[Quarantined]

    @property
    def line(self) -> str:
        """All of it in a line: "54 photos restored, 71 faces, 2 set aside (reasons) → OUT"."""
        done = [count for count in self.restored.values() if count]
        parts = [counted(len(done), "photo") + " restored", counted(sum(done), "face")]
        if untouched := len(self.restored) - len(done):
            parts.append(f"{untouched} without a face to restore (kept as they are)")
        if self.set_aside:
            reasons = sorted({row.reason.partition(":")[0].partition(",")[0] for row in self.set_aside})
            parts.append(f"{len(self.set_aside)} set aside ({'; '.join(reasons[:3])}{'; …' if reasons[3:] else ''})")
        return f"{', '.join(parts)} → {self.root}"

    @property
    def data(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "photos": str(self.root / "photos"),
            "faces": str(self.root / "faces" / "faces.json"),
            "restored": {"photos": sum(map(bool, self.restored.values())), "faces": sum(self.restored.values())},
            "set_aside": {row.file: row.reason for row in self.set_aside},
        }


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def named(method: str | None, experiment: str | None) -> tuple[str, str]:
    """(experiment, row of its table) of what a user asks for. Raises BadInput for an unknown method."""
    if experiment:
        return experiment, method or "pretrained"
    name = method or DEFAULT
    if name not in METHODS:
        raise BadInput(
            f"There is no method {name!r}.{suggestion(name, METHODS)} Valid: {', '.join(METHODS)};"
            " or a row of an experiment's table, with --experiment."
        )
    return METHODS[name]


def files_of(experiment: str, method: str, options: Options = AS_USUAL) -> list[WeightFile]:
    """The registered weight files that a row of an experiment's table and the options need."""
    checks = rows_of(for_photos(load_experiment(experiment)))[method].checks()
    needed = [check.args[0] for check in checks if isinstance(check, partial) and check.func is required]
    needed += [*options.finders.values(), *options.pasters.values()]
    return [file for path in needed if (file := known(path))]


def restore_photos(
    given: Sequence[Path],
    out: str | None,
    experiment: str,
    method: str,
    options: Options,
    *,
    weights: str | None = None,
    seed: int | None = None,
    fidelity: float | None = None,
) -> Outcome:
    """Whole photos in <out>/photos by their own names and kinds; <out>/faces/faces.json says what was done.

    given: files, folders, patterns; nothing is written there. out: by default <first>_restored_<method>, beside it.
    experiment, method: a row of a table of params.yaml, see `METHODS`. fidelity: CodeFormer's w. All else is as in
    `flows.restore.restore`. A killed run goes on with the photos that it has not finished.
    """
    paths = [path for each in given for path in expanded(each)]
    if not paths:
        raise BadInput("Which photos? Name photos, or folders of them.")
    settings = with_fidelity(chosen(experiment, method, weights, seed), method, fidelity)
    row = checked_row(settings, experiment, method)
    options.check()
    suffix = "restored" if method == "pretrained" else f"restored_{method}"
    root, _ = results_folder(out, suffix, {f"photo {n}": str(path) for n, path in enumerate(paths, start=1)})
    photos = ChosenPhotos(paths)
    faces = found_faces(photos, settings.dataset.size, options)
    for file, reason in faces.quarantine:
        LOG.warning("Set aside: %s: %s", file, reason)
    crops: dict[str, Source] = {"faces": faces}
    if faces.ids:
        crops["restored"] = row.run(InStore(root), faces, "", "restored")
    return written(Workspace(root), photos, crops, options, row.label)


def found_faces(photos: ChosenPhotos, size: int, options: Options) -> ImageFolder:
    """The faces of photos, their crops of `size` pixels, see `find_faces`."""
    params = FindFacesParams(size=size, **options.model_dump(include=set(FindFacesParams.model_fields)))
    return find_faces(params, photos=photos, **options.finders)


def written(work: Workspace, photos: ChosenPhotos, crops: dict[str, Source], options: Options, method: str) -> Outcome:
    """The photos with their restored faces, and what was done to them, published."""
    faces, restored = crops["faces"], crops.get("restored")
    assert isinstance(faces, ImageFolder)
    found = read_found(faces)
    names = names_of(photos, found)
    pasting = PasteFacesParams(names=names, **options.model_dump(include=set(PasteFacesParams.model_fields)))
    telling = FacesReportParams(method=method, labels=photos.labels, names=names, keep_crops=options.keep_crops)
    earlier = manifest_of(work.root / "faces")
    work.make("photos", paste_faces, pasting, photos=photos, **crops, **options.pasters)
    now = work.make("faces", faces_report, telling, **crops)
    if earlier and earlier.params != now.manifest.params:
        LOG.warning("The earlier results in %s, of other photos or settings, were replaced.", work.root)
    done = set(restored.ids) if isinstance(restored, ImageFolder) else set()
    counts = {image_id: sum(face.crop in done for face in photo.faces) for image_id, photo in found.items()}
    for image_id, photo in found.items():
        if not photo.faces:
            LOG.info("No face found: %s", photos.labels[image_id])
    return Outcome(work.root, found, counts, faces.quarantine)


class InStore(Workspace):
    """A workspace whose results stay in the store: crops of faces are of no use to a user."""

    def make(self, at: str, stage: Stage, params: Strict, **inputs: Source) -> ImageFolder:
        """Make a result."""
        self.results[at] = self.run_stage(stage, params, **inputs)
        return self.results[at]


def with_fidelity(experiment: Experiment, method: str, fidelity: float | None) -> Experiment:
    """The experiment with another w of CodeFormer. Raises BadInput for a method that has none."""
    if fidelity is None:
        return experiment
    entry = experiment.compare.get(method)
    if isinstance(entry, Comparison) and getattr(entry.method, "arch", "") == "codeformer":
        changed = entry.model_copy(update={"method": entry.method.model_copy(update={"fidelity": fidelity})})
        return experiment.model_copy(update={"compare": {**experiment.compare, method: changed}})
    if method == "pretrained" and experiment.restorer and experiment.restorer.arch == "codeformer":
        restorer = experiment.restorer.model_copy(update={"fidelity": fidelity})
        return experiment.model_copy(update={"restorer": restorer})
    raise BadInput(f"fidelity: {method!r} has no such setting, only CodeFormer has. Leave it out.")


def checked_row(settings: Experiment, experiment: str, method: str) -> Row:
    """The row of a method, with its weights there and verified. Raises BadInput, and says what demo models know."""
    row = rows_of(settings)[method]
    if row.fills:
        raise BadInput(f"{method!r} of {experiment!r} fills holes and needs masks: --aligned --masks FOLDER.")
    check_weights(settings, row)
    return row
