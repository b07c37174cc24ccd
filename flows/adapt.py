"""Adapt the restorer to your own LQ photos, without ground truth, and restore them with the result."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from flows import cost
from flows.preflight import check, photo_folders
from flows.restore import say_what_is_known
from flows.rows import Row, reported, rows_of, run_prior, run_restorer
from flows.steps import reference_sets, score
from flows.whole_photos import Options, Outcome, Whole, check_named, check_usable, outcome, root_for
from flows.workspace import TRAINED, Drafts, Run, Workspace, results_folder, run_here, say_set_aside
from tasks.basics import ROOT, BadInput, suggestion
from tasks.data.chosen import ChosenPhotos
from tasks.data.ingest import PhotoFolder
from tasks.metrics.registry import DEFAULT, REAL, column, find
from tasks.params.experiment import Experiment, MethodName, given
from tasks.params.load import load_experiment
from tasks.report.inputs import ReportInputs
from tasks.stages.finetune import FineTuneParams, finetune
from tasks.stages.ingest import IngestParams, ingest
from tasks.stages.paste_faces import names_of
from tasks.stages.photos import PhotosParams, photos
from tasks.stages.report import ReportParams, report
from tasks.store.artifact import ImageFolder

LOG = logging.getLogger(__name__)

PLACES: dict[MethodName, str] = {
    "lq": "lq",
    "pretrained": "restored",
    "pseudo_target": "pseudo_targets",
    "adapted": "adapted",
}
"""Where the images of each row are, below `details`."""
PART = "photos"  # the one part of the tables


METHODS = {"swinir": "dt_bfr_swinir", "codeformer": "dt_bfr_codeformer", "demo": "demo"}
"""What can be adapted, and the experiment that has its models and settings."""
DEFAULT_METHOD = "swinir"

METRICS = (
    *("psnr_input", "lpips_input", "lpips_seeded_input", "id_input"),
    *("niqe", "brisque", "piqe", "sharpness", f"fid@{REAL}", f"fid_seeded@{REAL}"),
)
"""What can be said of restored photos without ground truth."""


def adapt(
    folder: str,
    hq: str | None = None,
    experiment: str = "demo",
    out: str | None = None,
    fit: Literal["aligned", "crop"] = "crop",
    run_stage: Run = run_here,
    iterations: int | None = None,
    is_dry: bool = False,
) -> Workspace:
    """Aligned face crops in; adapted checkpoint, restored crops and report out.

    The photos lie in <out>/photos, by their own names and in their sub-folders, as PNG; the checkpoint is
    <out>/model/model.safetensors, the page <out>/report/report.html; the rest is in <out>/details, by image id:
    lq (quarantine.csv lists what was set aside), restored, pseudo_targets, adapted, hq, real, references, scores.
    All of it appears at the end.

    All paths are absolute. folder: your LQ photos, aligned face crops; nothing is written there. out: where the results
    go, by default <folder>_adapted; a folder that holds anything but earlier results of bfr is refused. hq: ground
    truth by the same names, if you have it: it is used to score the results and for nothing else; experiment: the entry
    whose models and settings to use; fit: "crop" takes the centre of photos that are not square,
    "aligned" sets them aside; iterations: steps of the fine-tuning, by default the experiment's; is_dry: say what would
    be done, and stop.
    """
    settings = adaptable(experiment, iterations)
    root, paths = results_folder(out, "adapted", {"folder": folder, "hq": hq}, finetune.name)
    work, details = Drafts(root, run_stage), Drafts(root / "details", run_stage)
    folders = {name: PhotoFolder(path) for name, path in paths.items()}
    intake = IngestParams(size=settings.dataset.size, fit=fit)
    lq = details.make("lq", ingest, intake, **folders)
    say_set_aside(lq)
    say_plan(settings, root, lq, len(lq.ids))
    if is_dry:
        return work
    truth = details.make("hq", ingest, intake.model_copy(update={"side": "hq"}), **folders) if hq else None
    adapted = adapt_restorer(settings, work, details)
    write_report(settings, work, details, truth, f"Adapted to {paths['folder'].name}")
    work.publish_photos(adapted, paths["folder"])
    work.publish_with(details)
    LOG.info("Restored %d photos.", len(adapted.ids))
    return work


def adapt_photos(
    given: Sequence[Path],
    out: str | None,
    experiment: str,
    options: Options,
    *,
    iterations: int | None = None,
    is_dry: bool = False,
) -> Outcome:
    """The same for whole photos: their faces are found and aligned, and pasted back as the adapted restorer has them.

    given, options, <out>/photos and <out>/faces: as in `flows.whole_photos.restore_photos`; all else as in `adapt`.
    """
    check_named(given)
    options.check()
    settings, chosen = adaptable(experiment, iterations), ChosenPhotos(given)
    root = root_for(chosen, out, "adapted", finetune.name)
    work, details = Drafts(root), Drafts(root / "details")
    whole = Whole(
        chosen, names_of(chosen, options.max_megapixels), rows(settings)[-1].label, options, settings.dataset.size
    )
    part = whole.found(chosen)
    check_usable([part])
    details.results["lq"] = part.faces
    if not part.faces.ids:
        raise BadInput(f"No face was found in the {len(part.photo_faces)} photos. If they are crops: --aligned.")
    say_plan(settings, root, part.faces, len(part.photo_faces))
    if not is_dry:
        part.restored = adapt_restorer(settings, work, details)
        write_report(settings, work, details, None, f"Adapted to {chosen.given[0].name}")
        work.results |= {"photos": whole.pasted(part), "faces": whole.told([part])}
        work.publish_with(details)
    return outcome(root, [part])


def named(method: str | None, experiment: str | None) -> str:
    """The experiment of what a user asks for. Raises BadInput for an unknown method."""
    if experiment:
        return experiment
    name = method or DEFAULT_METHOD
    if name not in METHODS:
        near = suggestion(name, METHODS)
        raise BadInput(f"There is no restorer {name!r} to adapt.{near} Valid: {', '.join(METHODS)}; or --experiment.")
    return METHODS[name]


def adaptable(experiment: str, iterations: int | None) -> Experiment:
    """Its settings. Raises BadInput where it adapts nothing, and where weights or photos that it needs are missing."""
    settings = load_experiment(experiment)
    if (recipe := settings.finetune) is None:
        raise BadInput(f"The experiment {experiment!r} has no section `finetune`. Choose another one.")
    if iterations:
        settings = settings.model_copy(update={"finetune": recipe.model_copy(update={"iterations": iterations})})
    settings = settings.model_copy(update={"metrics": without_named_sets(settings.metrics)})
    check(settings, splits=["real"], rows=rows(settings))
    say_what_is_known(settings)
    return settings


def rows(settings: Experiment) -> list[Row]:
    """Of the report; the last one is the adapted restorer's."""
    return [*rows_of(settings.model_copy(update={"methods": tuple(PLACES), "compare": {}})).values()]


def adapt_restorer(settings: Experiment, work: Workspace, details: Workspace) -> ImageFolder:
    """What the adapted restorer makes of details["lq"]; its checkpoint is work["model"]."""
    restorer, recipe, lq = given(settings.restorer, "restorer"), settings.finetune, details["lq"]
    assert recipe is not None  # see `adaptable`
    restored = run_restorer(settings, details, lq, "restored")
    targets = run_prior(settings, details, restored, PART, "pseudo_targets")
    real = details.make(
        "real",
        photos,
        PhotosParams(seed=settings.seed, dataset=settings.dataset, split="real"),
        **photo_folders(settings.dataset)["real"],
    )
    model = work.make(
        "model",
        finetune,
        FineTuneParams(seed=settings.seed, arch=restorer.arch, settings=recipe),
        lq=lq,
        targets=targets,
        real=real,
        weights=ROOT / restorer.weights,
    )
    return run_restorer(settings, details, lq, "adapted", model.path(TRAINED))


def say_plan(settings: Experiment, root: Path, lq: ImageFolder, count: int) -> None:
    """What will be done to how much, and how long that takes here."""

    def make(run: Run) -> None:
        details = Drafts(root / "details", run)
        details.results["lq"] = lq
        adapt_restorer(settings, Drafts(root, run), details)

    faces, label = len(lq.ids), rows(settings)[-1].label
    LOG.info("%d faces in %d photos. %s on their pseudo-targets, without ground truth:", faces, count, label)
    LOG.info("%s", cost.table([] if cost.is_made(make) else [*cost.adaptation(settings, faces)]))


def without_named_sets(metrics: Sequence[str]) -> tuple[str, ...]:
    """The metrics that compare with no reference set of the experiment's own: that is of other photos than these."""
    return tuple(metric for metric in metrics if column(metric)[1] in (DEFAULT, REAL))


def write_report(
    settings: Experiment, work: Workspace, details: Workspace, truth: ImageFolder | None, title: str
) -> None:
    """Score the images of every row, and publish the report. truth: the ground truth, if there is any."""
    metrics = (*(settings.metrics if truth else ()), *METRICS)
    sets = reference_sets(settings.model_copy(update={"metrics": metrics}), details, truth, details["real"])
    inputs = ReportInputs(photos={"test": "hq"} if truth else {})
    for method, at in PLACES.items():
        is_input = method == "lq"  # which is infinitely near to itself
        some = [metric for metric in metrics if not (is_input and find(metric).needs_input)]
        score(some, details, f"scores/{method}", details[at], truth, sets, lq=None if is_input else details["lq"])
        inputs.images[PART, method] = at
        inputs.scores[PART, method] = f"scores/{method}"
    places = inputs.named()
    params = ReportParams(
        name=work.root.name,
        title=title,
        settings=settings.model_dump(mode="json", include={"seed", "prior", "restorer", "pseudo_targets", "finetune"}),
        degradations=(PART,),
        methods=reported(rows(settings)),
        metrics=metrics,
        published=(),
        places={name: f"details/{place}" for name, place in places.items()},
    )
    work.make("report", report, params, **{name: details[place] for name, place in places.items()})
