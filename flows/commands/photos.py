"""Commands for a user's own photos. They need no server: the same functions run as Prefect flows, too."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.types import PositiveFloat, PositiveInt
from cyclopts.validators import Number

from flows.command import PHOTOS, PLAIN, Output, Result, app
from flows.commands.experiments import report_of
from tasks.basics import BadInput

Fit = Literal["aligned", "crop"]
Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Level = Annotated[int, Parameter(validator=Number(gte=1, lte=1000))]


@app.command(group=PHOTOS)
def restore(
    *photos: Path,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    method: str | None = None,
    experiment: str | None = None,
    weights: Path | None = None,
    yes: Flag = False,
    fidelity: Share | None = None,
    strength: Share = 1.0,
    upscale: Literal[1, 2, 4] = 1,
    min_face: PositiveFloat = 20,
    max_faces: PositiveInt | None = None,
    only_center: Flag = False,
    background: str = "lanczos",
    detector: Literal["mtcnn", "retinaface"] = "mtcnn",
    parsing: Flag = False,
    keep_crops: Flag = False,
    max_megapixels: PositiveFloat = 64,
    seed: int | None = None,
    aligned: Flag = False,
    masks: Path | None = None,
    fit: Fit = "crop",
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
        difbfsr: they need official weights; demo knows rendered faces only. With --experiment: a row of its table.
    experiment
        An entry of params.yaml whose models and settings to use.
    weights
        Another checkpoint for the method, like OUT/model/model.safetensors of `bfr adapt`.
    yes
        Agree with the terms of the weights that the method needs, and fetch those that are missing.
    fidelity
        CodeFormer's w, 0 (quality) to 1 (fidelity).
    strength
        How much of the change to make, 0 to 1.
    upscale
        Enlarge the photo.
    background
        lanczos (nothing but enlarged), realesrgan, or the file of another ESRGAN network: the whole photo is enhanced.
    detector
        mtcnn needs no download; retinaface (GFPGAN's) finds more turned and hidden faces, and is slower.
    parsing
        Change nothing but faces and their hair, as ParseNet sees them.
    min_face
        Leave faces smaller than so many pixels as they are.
    max_faces
        Restore the largest of each photo only.
    only_center
        Restore the face nearest to the middle only.
    keep_crops
        Keep the aligned faces before and after in OUT/faces.
    max_megapixels
        Larger photos are set aside.
    seed
        Another one gives other samples of a diffusion method.
    aligned
        The photos are aligned face crops: nothing is searched, PNGs of the model's size come out.
    masks
        With --aligned: a folder with a mask for each photo, by the same name, white where it is to be filled.
    fit
        With --aligned: take the centre of photos that are not square, or set them aside (aligned).
    """
    from flows import whole_photos

    found = whole_photos.named(method, experiment)
    if aligned:
        if yes:
            _fetch(*found)
        return _restore_aligned(photos, found, weights, seed, masks, out, fit, output)
    if masks:
        raise BadInput("masks: only aligned face crops can be filled. Say --aligned.")
    options = whole_photos.Options(
        min_face=min_face,
        max_faces=max_faces,
        only_center=only_center,
        max_megapixels=max_megapixels,
        strength=strength,
        upscale=upscale,
        keep_crops=keep_crops,
        background=background
        if background in (whole_photos.LANCZOS, whole_photos.REALESRGAN)
        else str(_given(Path(background))),
        detector=detector,
        parsing=parsing,
    )
    if yes:
        _fetch(*found, options)
    places = [Path(str(_given(each))) for each in photos]
    done = whole_photos.restore_photos(
        places, _given(out), *found, options, weights=_given(weights), seed=seed, fidelity=fidelity
    )
    return Result(done.line, done.data, output=output)


def _fetch(*needed: Any) -> None:
    """`bfr fetch` of what `files_of` names."""
    from flows.whole_photos import files_of
    from tasks.basics import WEIGHTS
    from tasks.weights.fetch import fetch

    for file in files_of(*needed):
        fetch(file, WEIGHTS)


def _restore_aligned(
    photos: Sequence[Path],
    named: tuple[str, str],
    weights: Path | None,
    seed: int | None,
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
        made.append(restore_photos(*chosen).root / "photos")
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
    folder: Path,
    *,
    hq: Path | None = None,
    experiment: str = "demo",
    out: Path | None = None,
    fit: Fit = "crop",
    output: Output = PLAIN,
) -> Result:
    """Adapt the restorer to a folder of LQ photos, without ground truth, and restore them with the result.

    Parameters
    ----------
    folder
        Your LQ photos, aligned face crops; nothing is written there.
    hq
        Ground truth by the same names, if you have it: it scores the results and is used for nothing else.
    experiment
        The entry of params.yaml whose models and settings to use.
    out
        Where checkpoint, restored photos and report go; default: FOLDER_adapted.
    fit
        What to do with photos that are not square: take their centre, or set them aside (aligned).
    """
    from flows.adapt import adapt as adapt_to

    work = adapt_to(str(_given(folder)), _given(hq), experiment, _given(out), fit)
    found = report_of(work.root / "report", output)
    photos = work.root / "photos"
    return replace(found, text=f"{found.text}\nPhotos: {photos}", data=found.data | {"photos": str(photos)})


@app.command(group=PHOTOS)
def personalize(
    *photos: Path,
    album: Path,
    experiment: str = "demo",
    iterations: PositiveInt = 5000,
    batch: PositiveInt = 4,
    lr: PositiveFloat = 1e-5,
    start_t: Level = 200,
    respacing: Level = 1000,
    beside: Path | None = None,
    out: Path | None = None,
    fit: Fit = "crop",
    output: Output = PLAIN,
) -> Result:
    """Fine-tune the prior on an album of one subject, and restore photos of that subject with it (gen2res).

    Parameters
    ----------
    photos
        Degraded photos of the subject or folders of them, aligned face crops; nothing is written there.
    album
        Folder of about 20 clean photos of the same subject, aligned alike.
    experiment
        The entry of params.yaml whose prior to use.
    iterations, batch, lr
        Of the fine-tuning; the defaults are the published values.
    start_t
        K, the noise level of 1000 to restore from: more is more realistic and less faithful.
    respacing
        How many of the 1000 steps to keep.
    beside
        What another method made of the same photos, by the same names (CodeFormer's, by `bfr restore`), for the report.
    out
        Where the results go, with a folder for each where several are given; default: FOLDER_personal.
    fit
        What to do with photos that are not square: take their centre, or set them aside (aligned).
    """
    from flows.personalize import personalize as personalize_on

    made = []
    for each, place in zip(photos, _places(photos, out), strict=True):
        folders, others = (str(_given(album)), str(_given(each))), (_given(beside), _given(place))
        work = personalize_on(*folders, experiment, iterations, batch, lr, start_t, respacing, *others, fit)
        made.append(_found(work.root, output))
    return Result("\n".join(one.text for one in made), {"results": [one.data for one in made]}, output=output)


def _made(photos: Sequence[Path], output: Output) -> Result:
    """Where the restored photos are."""
    return Result("\n".join(f"Photos: {path}" for path in photos), {"photos": list(map(str, photos))}, output=output)


def _found(root: Path, output: Output) -> Result:
    """The findings of a personalisation, and where its photos are."""
    report, photos = report_of(root / "report", output), root / "photos"
    return replace(report, text=f"{report.text}\nPhotos: {photos}", data=report.data | {"photos": str(photos)})


def _given(path: Path | None) -> str | None:
    """A path of the command line, as seen from where the command was typed."""
    return None if path is None else str(path.expanduser().absolute())
