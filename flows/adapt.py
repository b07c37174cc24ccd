"""Adapt the restorer to a folder of your own LQ photos, without ground truth, and restore them with the result."""

from pathlib import Path
from typing import Literal

from prefect import flow
from prefect.logging import get_run_logger

from flows.preflight import check, photo_folders
from flows.publishing import show_report
from flows.rows import reported, rows_of, run_prior, run_restorer
from flows.steps import reference_sets, score
from flows.workspace import TRAINED, Workspace, user_folder
from tasks import nodes
from tasks.basics import ROOT, BadInput
from tasks.data.ingest import PhotoFolder
from tasks.params.experiment import MethodName, given
from tasks.params.load import load_experiment
from tasks.report.inputs import ReportInputs
from tasks.stages.finetune import FineTuneParams, finetune
from tasks.stages.ingest import IngestParams, ingest
from tasks.stages.photos import PhotosParams, photos
from tasks.stages.report import ReportParams, report

ROWS: tuple[MethodName, ...] = ("lq", "pretrained", "pseudo_target", "adapted")
PART = "photos"  # the one part of the tables


@flow(name="adapt", flow_run_name="{folder}", log_prints=True)
def adapt(
    folder: str,
    hq: str | None = None,
    experiment: str = "demo",
    name: str = "my_photos",
    fit: Literal["aligned", "crop"] = "crop",
) -> None:
    """Photos in; adapted checkpoint, restored photos and report out, below data/<name>/.

    folder: your LQ photos, aligned face crops; hq: ground truth by the same names, if you have it: it is used to score
    the results and for nothing else; experiment: the entry of params.yaml whose models and settings to use;
    fit: "crop" takes the centre of photos that are not square, "aligned" sets them aside.
    """
    settings = load_experiment(experiment)
    if (recipe := settings.finetune) is None:
        raise BadInput(f"The experiment {experiment!r} has no section `finetune`. Choose another one.")
    rows = [*rows_of(settings.model_copy(update={"methods": ROWS, "compare": {}})).values()]
    check(settings, splits=["real"], rows=rows)
    restorer = given(settings.restorer, "restorer")
    work = Workspace(user_folder(name), nodes.run)

    folders = {"folder": PhotoFolder(Path(folder).expanduser().resolve())}
    if hq:
        folders["hq"] = PhotoFolder(Path(hq).expanduser().resolve())
    intake = IngestParams(size=settings.dataset.size, fit=fit)
    lq = work.make("lq", ingest, intake, **folders)
    restored = run_restorer(settings, work, lq, "restored")
    targets = run_prior(settings, work, restored, "pseudo_targets")
    real = work.make(
        "real",
        photos,
        PhotosParams(seed=settings.seed, dataset=settings.dataset, split="real"),
        **photo_folders(settings.dataset)["real"],
    )
    model = work.make(
        "adapted_model",
        finetune,
        FineTuneParams(seed=settings.seed, arch=restorer.arch, settings=recipe),
        lq=lq,
        targets=targets,
        real=real,
        weights=ROOT / restorer.weights,
    )
    truth = work.make("hq", ingest, intake.model_copy(update={"side": "hq"}), **folders) if hq else None
    sets = reference_sets(settings, work, truth, real)
    adapted = run_restorer(settings, work, lq, "adapted", model.path(TRAINED))

    inputs = ReportInputs(photos={"test": "hq"} if truth else {})
    for method, at in zip(ROWS, ("lq", "restored", "pseudo_targets", "adapted"), strict=True):
        score(settings.metrics, work, f"scores/{method}", work[at], truth, sets)
        inputs.images[PART, method] = at
        inputs.scores[PART, method] = f"scores/{method}"
    places = inputs.named()
    params = ReportParams(
        name=name,
        title=f"Adapted to {Path(folder).name}",
        settings=settings.model_dump(mode="json", include={"seed", "prior", "restorer", "pseudo_targets", "finetune"}),
        degradations=(PART,),
        methods=reported(rows),
        metrics=settings.metrics,
        published=(),
        places=places,
    )
    work.make("report", report, params, **{name: work[place] for name, place in places.items()})
    log = get_run_logger()
    for file, reason in lq.quarantine:
        log.warning("Set aside: %s: %s", file, reason)
    log.info("Restored %d photos: %s", len(adapted.ids), work.root / "adapted")
    show_report(work)
