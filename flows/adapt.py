"""Adapt the restorer to a folder of your own LQ photos, without ground truth, and restore them with the result."""

import logging
from collections.abc import Sequence
from typing import Literal

from flows.preflight import check, photo_folders
from flows.rows import Row, reported, rows_of, run_prior, run_restorer
from flows.steps import reference_sets, score
from flows.workspace import TRAINED, Run, Workspace, results_folder, run_here, say_set_aside
from tasks.basics import ROOT, BadInput
from tasks.data.ingest import PhotoFolder
from tasks.metrics.registry import DEFAULT, REAL, column
from tasks.params.experiment import Experiment, MethodName, given
from tasks.params.load import load_experiment
from tasks.report.inputs import ReportInputs
from tasks.stages.finetune import FineTuneParams, finetune
from tasks.stages.ingest import IngestParams, ingest
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


def adapt(
    folder: str,
    hq: str | None = None,
    experiment: str = "demo",
    out: str | None = None,
    fit: Literal["aligned", "crop"] = "crop",
    run_stage: Run = run_here,
) -> Workspace:
    """Photos in; adapted checkpoint, restored photos and report out.

    The photos lie in <out>/photos, by their own names and in their sub-folders, as PNG; the checkpoint is
    <out>/model/model.safetensors, the page <out>/report/report.html; the rest is in <out>/details, by image id:
    lq (quarantine.csv lists what was set aside), restored, pseudo_targets, adapted, hq, real, references, scores.

    All paths are absolute. folder: your LQ photos, aligned face crops; nothing is written there. out: where the results
    go, by default <folder>_adapted; a folder that holds anything but earlier results of bfr is refused. hq: ground
    truth by the same names, if you have it: it is used to score the results and for nothing else; experiment: the entry
    of params.yaml whose models and settings to use; fit: "crop" takes the centre of photos that are not square,
    "aligned" sets them aside.
    """
    settings = load_experiment(experiment)
    if (recipe := settings.finetune) is None:
        raise BadInput(f"The experiment {experiment!r} has no section `finetune`. Choose another one.")
    settings = settings.model_copy(update={"metrics": without_named_sets(settings.metrics)})
    rows = [*rows_of(settings.model_copy(update={"methods": tuple(PLACES), "compare": {}})).values()]
    check(settings, splits=["real"], rows=rows)
    restorer = given(settings.restorer, "restorer")
    root, paths = results_folder(out, "adapted", {"folder": folder, "hq": hq})
    work, details = Workspace(root, run_stage), Workspace(root / "details", run_stage)
    folders = {name: PhotoFolder(path) for name, path in paths.items()}
    intake = IngestParams(size=settings.dataset.size, fit=fit)
    lq = details.make("lq", ingest, intake, **folders)
    say_set_aside(lq)
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
    truth = details.make("hq", ingest, intake.model_copy(update={"side": "hq"}), **folders) if hq else None
    adapted = run_restorer(settings, details, lq, "adapted", model.path(TRAINED))
    write_report(settings, rows, work, details, truth, f"Adapted to {paths['folder'].name}")
    work.publish_photos(adapted, paths["folder"])
    LOG.info("Restored %d photos.", len(adapted.ids))
    return work


def without_named_sets(metrics: Sequence[str]) -> tuple[str, ...]:
    """The metrics that compare with no reference set of the experiment's own: that is of other photos than these."""
    return tuple(metric for metric in metrics if column(metric)[1] in (DEFAULT, REAL))


def write_report(
    settings: Experiment,
    rows: Sequence[Row],
    work: Workspace,
    details: Workspace,
    truth: ImageFolder | None,
    title: str,
) -> None:
    """Score the images of every row, and publish the report. truth: the ground truth, if there is any."""
    sets = reference_sets(settings, details, truth, details["real"])
    inputs = ReportInputs(photos={"test": "hq"} if truth else {})
    for method, at in PLACES.items():
        score(settings.metrics, details, f"scores/{method}", details[at], truth, sets)
        inputs.images[PART, method] = at
        inputs.scores[PART, method] = f"scores/{method}"
    places = inputs.named()
    params = ReportParams(
        name=work.root.name,
        title=title,
        settings=settings.model_dump(mode="json", include={"seed", "prior", "restorer", "pseudo_targets", "finetune"}),
        degradations=(PART,),
        methods=reported(rows),
        metrics=settings.metrics,
        published=(),
        places={name: f"details/{place}" for name, place in places.items()},
    )
    work.make("report", report, params, **{name: details[place] for name, place in places.items()})
