"""Restore the faces in whole photos: find them, restore them all together by one method, paste them back."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from flows.preflight import registered
from flows.restore import METHODS, OWN_FILE, check_needs, chosen, name_of, row_named, suffix_of
from flows.rows import Check, Row, rows_of
from flows.workspace import Drafts, Run, alone_in, counted, hide_from_git, remove_results, results_folder, run_here
from tasks.basics import WEIGHTS, BadInput, Strict, suggestion
from tasks.data.chosen import ChosenPhotos
from tasks.params.experiment import Experiment
from tasks.running.stage import Source
from tasks.stages.faces_report import FacesReportParams, faces_report
from tasks.stages.find_faces import FindFacesParams, FoundPhoto, find_faces, read_found
from tasks.stages.paste_faces import PasteFacesParams, names_of, paste_faces
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import Quarantined, none_usable
from tasks.store.keys import digest
from tasks.store.ownership import manifest_of
from tasks.store.publish import Growing, publish
from tasks.weights.fetch import required
from tasks.weights.file import WeightFile
from tasks.weights.official import PARSENET, REALESRGAN_X2, RETINAFACE

LOG = logging.getLogger(__name__)

DEFAULT = "gfpgan"
LANCZOS, REALESRGAN = "lanczos", "realesrgan"  # how the background is enlarged
WHAT = {  # what weights of these options are for
    "retinaface": "the detector",
    "parsenet": "the parsing network",
    "background": "the network for backgrounds",
}
AT_ONCE = 32  # photos that are worked on together


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

    @property
    def checks(self) -> list[Check]:
        """That the weights of these are there."""
        return [partial(required, path, WHAT[name]) for name, path in (self.finders | self.pasters).items()]


AS_USUAL = Options()


def check_kind(options: Options, *, is_aligned: bool, fit: str, **of_crops: object) -> None:
    """Raises BadInput for what whole photos have and aligned face crops have not, or the other way round."""
    if is_aligned:
        only = [name for name in Options.model_fields if getattr(options, name) != getattr(AS_USUAL, name)]
        other, advice = "whole photos", "leave it out, or leave --aligned out"
    else:
        only = [name for name, value in {"fit": fit != "crop", **of_crops}.items() if value]
        other, advice = "aligned face crops", "say --aligned, or leave it out"
    if only:
        raise BadInput(f"{', '.join(only)}: only {other} have this; {advice}.")


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
    """The registered weight files that a row of an experiment's table and the options need. Raises BadInput for an
    unknown row.
    """
    row = row_named(experiment, method)
    return [*registered([*row.checks(), *options.checks])]


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
    is_fast: bool = False,
    run_stage: Run = run_here,
) -> Outcome:
    """Whole photos in <out>/photos by their own names and kinds; <out>/faces/faces.json says what was done.

    given: files, folders, patterns; nothing is written there. out: by default <first>_restored_<method>, beside it;
    <method> is its name in `METHODS`, if it has one.
    experiment, method: a row of its table, see `METHODS`. fidelity: CodeFormer's w. All else is as in
    `flows.restore.restore`. Photos appear in <out>/photos group by group. A killed run goes on with the photos that it
    has not finished.
    """
    settings = chosen(experiment, method, weights, seed, fidelity, is_fast=is_fast)
    row = row_of(settings, experiment, method)
    photos = ChosenPhotos(given)
    check_needs(settings, [*row.checks(), *options.checks], advice=OWN_FILE)
    root = root_for(photos, out, suffix_of(name_of(experiment, method), seed, is_fast=is_fast))
    whole = Whole(photos, names_of(photos, options.max_megapixels), row.label, options, settings.dataset.size)
    about = whole.about({"experiment": settings.model_dump(mode="json", exclude={"title", "published", "claims"})})
    with alone_in(root):
        return outcome(root, grown(whole, row, root, about, run_stage))


def groups(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Photos that are worked on together: the first one alone, so that it is soon there, then more and more."""
    first, count = 0, 1
    while first < len(ids):
        yield ids[first : first + count]
        first, count = first + count, min(2 * count, AT_ONCE)


@dataclass
class Part:
    """Some of the photos: what `find_faces` found, and the restored crops if there is a face."""

    photos: ChosenPhotos
    faces: ImageFolder
    restored: ImageFolder | None = None

    @cached_property
    def photo_faces(self) -> dict[str, FoundPhoto]:
        return read_found(self.faces)

    @property
    def inputs(self) -> dict[str, Source]:
        """Of the stages that make use of the crops."""
        return {"faces": self.faces, **({"restored": self.restored} if self.restored else {})}


@dataclass(frozen=True)
class Whole:
    """How whole photos are searched, and written with their faces.

    names: of the results, by image id; method: as the report calls it; size: of the crops.
    """

    photos: ChosenPhotos
    names: dict[str, str]
    method: str
    options: Options
    size: int

    def found(self, photos: ChosenPhotos) -> Part:
        """The faces of some of the photos; says which were set aside."""
        part = Part(photos, found_faces(photos, self.size, self.options))
        for file, reason in part.faces.quarantine:
            LOG.warning("Set aside: %s: %s", file, reason)
        for image_id, photo in part.photo_faces.items():
            if not photo.faces:
                LOG.info("No face found: %s", photos.labels[image_id])
        return part

    def with_faces(self) -> Part:
        """All photos, searched. Raises BadInput where no face is found in them."""
        part, count = self.found(self.photos), len(self.photos.ids)
        check_usable([part])
        if not part.faces.ids:
            rest = ", …" if len(self.photos.given) > 1 else ""
            raise BadInput(
                f"No face of {self.options.min_face:g} pixels or more was found in {counted(count, 'photo')}: "
                f"{self.photos.given[0]}{rest}. Name other photos, or say --min-face; if they are crops of faces: "
                "--aligned."
            )
        return part

    def pasted(self, part: Part) -> ImageFolder:
        """The photos of a part with their restored faces."""
        names = {image_id: self.names[image_id] for image_id in part.photo_faces}
        how = self.options.model_dump(include=set(PasteFacesParams.model_fields))
        return paste_faces(
            PasteFacesParams(names=names, **how), photos=part.photos, **part.inputs, **self.options.pasters
        )

    def told(self, parts: Sequence[Part]) -> ImageFolder:
        """What was done to each face."""
        ids = [image_id for part in parts for image_id in part.photo_faces]
        params = FacesReportParams(
            method=self.method,
            labels={image_id: self.photos.labels[image_id] for image_id in ids},
            names={image_id: self.names[image_id] for image_id in ids},
            keep_crops=self.options.keep_crops,
        )
        named = {f"{kind}/{n:06d}": made for n, part in enumerate(parts) for kind, made in part.inputs.items()}
        return faces_report(params, **named)

    def about(self, settings: dict[str, object]) -> Manifest:
        """What all photos together are made from: of these alone, parts may lie side by side."""
        described = {"method": self.method, "options": self.options.model_dump(mode="json"), **settings}
        inputs = {"photos": digest({self.photos.labels[i]: str(path) for i, path in self.photos.paths.items()})}
        key = digest([paste_faces.name, described, inputs])
        return Manifest(stage=paste_faces.name, key=key, params=described, inputs=inputs, code="", files={})


def grown(whole: Whole, row: Row, root: Path, about: Manifest, run_stage: Run) -> list[Part]:
    """Restore the photos group by group, each of which is then there."""
    growing, parts, photos = Growing(root / "photos", about), list[Part](), whole.photos
    replaced = other_results(root, about)
    try:
        for ids in groups(photos.ids):
            part = whole.found(photos.some(ids))
            if part.faces.ids:
                part.restored = row.run(Drafts(root, run_stage), part.faces, "", "restored")
            if part.photo_faces:
                pasted = whole.pasted(part)
                hide_from_git(root)
                growing.add(pasted)
            parts.append(part)
            LOG.info("%d of %d photos are done: %s", sum(len(each.photos.ids) for each in parts), len(photos.ids), root)
        check_usable(parts)
        growing.finish()
        remove_results(root, {"photos", "faces"})
    finally:
        if any(part.photo_faces for part in parts):
            publish(whole.told(parts).root, root / "faces")
    if replaced:
        LOG.warning("The earlier results in %s, of other photos or settings, were replaced.", root)
    return parts


def found_faces(photos: ChosenPhotos, size: int, options: Options) -> ImageFolder:
    """The faces of photos, their crops of `size` pixels, see `find_faces`."""
    params = FindFacesParams(size=size, **options.model_dump(include=set(FindFacesParams.model_fields)))
    return find_faces(params, photos=photos, **options.finders)


def root_for(photos: ChosenPhotos, out: str | None, suffix: str, trains: str = "") -> Path:
    """Where the results go, see `results_folder`."""
    given = {f"photo {n}": str(path) for n, path in enumerate(photos.given, start=1)}
    return results_folder(out, suffix, given, trains)[0]


def other_results(root: Path, about: Manifest) -> bool:
    """Whether there are earlier results, of something else."""
    earlier = manifest_of(root / "photos")
    return earlier is not None and earlier.key != about.key


def check_usable(parts: Sequence[Part]) -> None:
    """Raises BadInput if no photo at all can be used."""
    if not any(part.photo_faces for part in parts):
        raise none_usable([row for part in parts for row in part.faces.quarantine])


def outcome(root: Path, parts: Sequence[Part]) -> Outcome:
    """What became of the photos."""
    found = {image_id: photo for part in parts for image_id, photo in part.photo_faces.items()}
    done = {crop for part in parts if part.restored for crop in part.restored.ids}
    counts = {image_id: sum(face.crop in done for face in photo.faces) for image_id, photo in found.items()}
    return Outcome(root, found, counts, [row for part in parts for row in part.faces.quarantine])


def row_of(settings: Experiment, experiment: str, method: str) -> Row:
    """The row of a method. Raises BadInput for one that fills holes."""
    row = rows_of(settings)[method]
    if row.fills:
        raise BadInput(f"{name_of(experiment, method)!r} fills holes and needs masks: --aligned --masks FOLDER.")
    return row
