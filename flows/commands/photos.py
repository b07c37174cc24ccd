"""Commands for a user's own photos. They need no server: the same functions run as Prefect flows, too."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter, Token
from cyclopts.types import PositiveFloat, PositiveInt
from cyclopts.validators import Number

from flows.command import PHOTOS, PLAIN, Output, Result, app
from flows.commands.experiments import report_of
from tasks.basics import BadInput, with_home

if TYPE_CHECKING:
    from flows.plan import Plan
    from flows.whole_photos import Options
    from tasks.weights.file import WeightFile

Fit = Literal["aligned", "crop"]
OUT = Parameter(name=["--out", "-o"])
Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Level = Annotated[int, Parameter(validator=Number(gte=1, lte=1000))]


def _path(_: object, tokens: Sequence[Token]) -> Path:
    """A path as it is typed; an empty one, as of a variable that is not set, would be the folder that one is in."""
    if not tokens[0].value.strip():
        raise ValueError("a path is empty; expected a file or a folder")
    return Path(tokens[0].value)


Given = Annotated[Path, Parameter(converter=_path)]


@Parameter(name="*", group=Group("Whole photos", sort_key=1))
@dataclass(frozen=True)
class Faces:
    """What is done to whole photos."""

    min_face: PositiveFloat = 20
    "Leave faces smaller than so many pixels as they are."
    max_faces: PositiveInt | None = None
    "Restore the largest of each photo only."
    only_center: Flag = False
    "Restore the face nearest to the middle only."
    max_megapixels: PositiveFloat = 64
    "Larger photos are set aside."
    strength: Share = 1.0
    "How much of the change to make, 0 to 1."
    upscale: Literal[1, 2, 4] = 1
    "Enlarge the photo."
    background: str = "lanczos"
    "lanczos (nothing but enlarged), realesrgan, or the file of another ESRGAN network: the whole photo is enhanced."
    detector: Literal["mtcnn", "retinaface"] = "mtcnn"
    "mtcnn needs no download; retinaface (GFPGAN's) finds more turned and hidden faces, and is slower."
    parsing: Flag = False
    "Change nothing but faces and their hair, as ParseNet sees them."
    keep_crops: Flag = False
    "Keep the aligned faces before and after in OUT/faces."


FACES = Faces()


@app.command(group=PHOTOS)
def restore(
    *photos: Given,
    out: Annotated[Given | None, OUT] = None,
    method: str | None = None,
    experiment: str | None = None,
    weights: Given | None = None,
    yes: Flag = False,
    fidelity: Share | None = None,
    seed: int | None = None,
    fast: Flag = False,
    aligned: Flag = False,
    masks: Given | None = None,
    fit: Fit = "crop",
    faces: Faces = FACES,
    output: Output = PLAIN,
) -> Result:
    """Restore the faces in photos: files, folders with all below them, patterns.

    Every face is found, restored and pasted back; the photos keep their names, kinds, bits, profiles and EXIF.

    Parameters
    ----------
    photos
        Your photos; nothing is written there.
    out
        Where the results go: photos/ and faces/faces.json; default: FIRST_restored_METHOD.
    method
        gfpgan (the default), codeformer, restoreformer, swinir, difface, dt_bfr_swinir, pseudo_target, gen2res,
        difbfsr: they need official weights; demo, which comes with bfr, is soft and has seen rendered faces only. With
        --experiment: a row of its table.
    experiment
        The experiment (demo, or data/experiments/NAME.yaml) whose models and settings to use.
    weights
        Another checkpoint for the method, like OUT/model/model.safetensors of `bfr adapt`.
    yes
        Agree with the terms of the weights that the method needs, and fetch those that are missing.
    fidelity
        CodeFormer's w, 0 (quality) to 1 (fidelity).
    seed
        Another one gives other samples of a diffusion method.
    fast
        Of pseudo_target and difface: fewer evaluations of the prior.
    aligned
        The photos are aligned face crops: nothing is searched, PNGs of the model's size come out.
    masks
        With --aligned: a folder with a mask for each photo, by the same name, white where it is to be filled.
    fit
        With --aligned: take the centre of photos that are not square, or set them aside (aligned).
    """
    from flows import whole_photos

    found, options = whole_photos.named(method, experiment), _options(faces)
    whole_photos.check_kind(options, is_aligned=aligned, fit=fit, masks=masks)
    if yes:
        _fetch(lambda: whole_photos.files_of(*found, options), photos)
    if aligned:
        return _restore_aligned(photos, found, weights, seed, fidelity, fast, masks, out, fit, output)
    done = whole_photos.restore_photos(
        _all(photos),
        _given(out),
        *found,
        options,
        weights=_given(weights),
        seed=seed,
        fidelity=fidelity,
        is_fast=fast,
    )
    return Result(done.line, done.data, output=output)


def _fetch(files: "Callable[[], Sequence[WeightFile]]", *photos: Sequence[Path]) -> None:
    """`bfr fetch` of these files. Raises BadInput, before anything is fetched, where photos are not there."""
    from tasks import basics
    from tasks.data.chosen import ChosenPhotos
    from tasks.weights.fetch import fetch

    for some in photos:
        ChosenPhotos(_all(some))
    for file in files():
        fetch(file, basics.WEIGHTS)


def _options(faces: Faces) -> "Options":
    from flows.whole_photos import LANCZOS, REALESRGAN, Options

    is_own = faces.background not in (LANCZOS, REALESRGAN)
    background = str(_given(Path(faces.background))) if is_own else faces.background
    return Options(**asdict(faces) | {"background": background})


def _restore_aligned(
    photos: Sequence[Path],
    named: tuple[str, str],
    weights: Path | None,
    seed: int | None,
    fidelity: float | None,
    fast: bool,
    masks: Path | None,
    out: Path | None,
    fit: Fit,
    output: Output,
) -> Result:
    """Aligned face crops, each path by itself."""
    from flows.restore import restore as restore_photos

    made = []
    experiment, method = named
    for each, place in zip(photos, _places(photos, out), strict=True):
        chosen = (str(_given(each)), method, experiment, _given(weights), seed, _given(masks), _given(place), fit)
        made.append(restore_photos(*chosen, is_fast=fast, fidelity=fidelity).root / "photos")
    return _made(made, output)


def _places(photos: Sequence[Path], out: Path | None) -> list[Path | None]:
    """Where the results of each go. Raises BadInput where two would go to one folder."""
    if not photos:
        raise BadInput("Which photos? Name photos, or folders of them.")
    names = [path.with_suffix("") if path.is_file() else path for path in map(Path.absolute, photos)]
    places = names if out is None or len(photos) == 1 else [out / path.name for path in names]
    if len(set(places)) < len(places):
        raise BadInput("Two of the photos have one name: restore them one by one, or give the folder that holds them.")
    return [out] * len(photos) if places is names else list(places)


@app.command(group=PHOTOS)
def adapt(
    *photos: Given,
    out: Annotated[Given | None, OUT] = None,
    method: str | None = None,
    experiment: str | None = None,
    iterations: PositiveInt | None = None,
    fast: Flag = False,
    real: Given | None = None,
    yes: Flag = False,
    dry_run: Flag = False,
    aligned: Flag = False,
    hq: Given | None = None,
    fit: Fit = "crop",
    faces: Faces = FACES,
    output: Output = PLAIN,
) -> Result:
    """Adapt a restorer to your photos, without ground truth, and restore them with the result.

    It says what it will do and how long that takes. An interrupted adaptation goes on when it is started again.

    Parameters
    ----------
    photos
        Your photos: files, folders with all below them, patterns; nothing is written there.
    out
        Where photos, the checkpoint (model/) and the report go; default: FIRST_adapted.
    method
        What to adapt: swinir (the default) or codeformer, which need official weights; demo knows rendered faces only.
    experiment
        The experiment (demo, or data/experiments/NAME.yaml) whose models and settings to use, in place of a method.
    iterations
        Steps of the fine-tuning; default: as published.
    fast
        Make the pseudo-targets by fewer evaluations of the prior.
    real
        A folder of clean photos of your own, in place of the experiment's clean faces: FID compares with them, and
        swinir's adaptation learns from them what real faces look like.
    yes
        Agree with the terms of the weights that it needs, and fetch those that are missing.
    dry_run
        Say what would be done and how long it would take, and stop.
    aligned
        The photos are aligned face crops: nothing is searched, PNGs of the model's size come out.
    hq
        With --aligned: a folder of ground truth by the same names; it scores the results and is used for nothing else.
    fit
        With --aligned: take the centre of photos that are not square, or set them aside (aligned).
    """
    from flows import adapt as adapting
    from flows.whole_photos import check_kind

    chosen, options = adapting.named(method, experiment), _options(faces)
    changes = adapting.Changes(iterations, fast)
    check_kind(options, is_aligned=aligned, fit=fit, hq=hq)
    if yes:
        clean = [] if real is None else [[real]]
        _fetch(lambda: adapting.files_of(chosen, options, has_real=bool(clean)), photos, *clean)
    if not aligned:
        whole = (_all(photos), _given(out), chosen, options)
        more: dict[str, Any] = {"changes": changes, "real": [] if real is None else _all([real])}
        if dry_run:
            return _planned(adapting.ready_photos(*whole, **more)[0].plan, output)
        done = adapting.adapt_photos(*whole, **more)
        return _adapted(done.root, done.line, done.data, output)
    if len(photos) != 1:
        raise BadInput("Which photos? Name one folder of aligned face crops.")
    folder = str(_given(photos[0]))
    ready = adapting.ready_crops(folder, _given(hq), chosen, _given(out), fit, changes=changes, real=_given(real))
    if dry_run:
        return _planned(ready.plan, output)
    root = adapting.adapt(ready, folder).root
    return _adapted(root, f"Photos: {root / 'photos'}", {"photos": str(root / "photos")}, output)


def _planned(plan: "Plan", output: Output) -> Result:
    """What would be done; its words have been said already."""
    return Result("Nothing was done yet.", plan.data, output=output)


def _adapted(root: Path, line: str, data: dict[str, Any], output: Output) -> Result:
    """What the report says, where the checkpoint is, and what became of the photos."""
    found, model = report_of(root / "report", output), root / "model" / "model.safetensors"
    text = f"{found.text}\nCheckpoint, for `bfr restore --weights`: {model}\n{line}"
    return replace(found, text=text, data=found.data | data | {"model": str(model)})


@app.command(group=PHOTOS)
def personalize(
    *photos: Given,
    album: Given,
    out: Annotated[Given | None, OUT] = None,
    method: str | None = None,
    experiment: str | None = None,
    iterations: PositiveInt = 300,
    batch: PositiveInt = 4,
    lr: PositiveFloat = 1e-5,
    start_t: Level = 200,
    respacing: Level = 250,
    yes: Flag = False,
    dry_run: Flag = False,
    aligned: Flag = False,
    beside: Given | None = None,
    fit: Fit = "crop",
    faces: Faces = FACES,
    output: Output = PLAIN,
) -> Result:
    """Restore photos of one person, whom the prior learns from an album first (gen2res).

    It says how long it takes, and what longer brings. An interrupted one goes on when it is started again.

    Parameters
    ----------
    photos
        Degraded photos of the person: files, folders, patterns; nothing is written there.
    album
        About 20 clean photos of the same person: the largest face of each is taken.
    out
        Where photos, the personal prior (model/) and the report go; default: FIRST_personal.
    method
        Whose prior: gen2res (the default) needs official weights; demo knows rendered faces only.
    experiment
        The experiment (demo, or data/experiments/NAME.yaml) whose prior to use, in place of a method.
    iterations, batch, lr
        Of the fine-tuning; published: 5000, 4, 1e-5.
    start_t
        K, the noise level of 1000 to restore from: more is more realistic and less faithful.
    respacing
        How many of the 1000 steps to keep; published: all.
    yes
        Agree with the terms of the weights that it needs, and fetch those that are missing.
    dry_run
        Say what would be done and how long it would take, and stop.
    aligned
        Photos and album are aligned face crops, each path by itself: nothing is searched.
    beside
        With --aligned: what another method made of the same photos, by the same names, for the report.
    fit
        With --aligned: take the centre of photos that are not square, or set them aside (aligned).
    """
    from flows import personalize as personal
    from flows.whole_photos import check_kind

    chosen, options = personal.named(method, experiment), _options(faces)
    check_kind(options, is_aligned=aligned, fit=fit, beside=beside)
    tuning = personal.Tuning(iterations=iterations, batch=batch, lr=lr, start_t=start_t, respacing=respacing)
    if yes:
        _fetch(lambda: personal.files_of(chosen, options), photos, [album])
    if aligned:
        made = []
        for each, place in zip(photos, _places(photos, out), strict=True):
            folders, others = (str(_given(album)), str(_given(each))), (_given(beside), _given(place))
            ready, plan = personal.ready_crops(*folders, chosen, tuning, *others, fit)
            done = _planned(plan, output) if dry_run else _found(personal.personalize(ready, folders[1]).root, output)
            made.append(done)
        return Result("\n".join(one.text for one in made), {"results": [one.data for one in made]}, output=output)
    whole = (_all([album]), _all(photos), _given(out), chosen, tuning, options)
    if dry_run:
        return _planned(personal.ready_photos(*whole)[-1], output)
    outcome = personal.personalize_photos(*whole)
    return _adapted(outcome.root, outcome.line, outcome.data, output)


def _made(photos: Sequence[Path], output: Output) -> Result:
    """Where the restored photos are."""
    return Result("\n".join(f"Photos: {path}" for path in photos), {"photos": list(map(str, photos))}, output=output)


def _found(root: Path, output: Output) -> Result:
    """The findings of a personalisation, and where its photos are."""
    report, photos = report_of(root / "report", output), root / "photos"
    return replace(report, text=f"{report.text}\nPhotos: {photos}", data=report.data | {"photos": str(photos)})


def _all(photos: Sequence[Path]) -> list[Path]:
    return [Path(str(_given(each))) for each in photos]


def _given(path: Path | None) -> str | None:
    """A path of the command line, as seen from where the command was typed."""
    return None if path is None else str(with_home(path).absolute())
