"""Adapt the restorer to a folder of your own LQ photos, without ground truth, and restore them with the result."""

from pathlib import Path
from typing import Literal

from prefect import flow
from prefect.logging import get_run_logger

from flows.publishing import show_report
from flows.steps import ADAPTED_WEIGHTS, Workspace, check, metric_weights, photo_folders
from tasks import nodes
from tasks.data.ingest import PhotoFolder
from tasks.params import (
    EvaluateParams,
    FineTuneParams,
    IngestParams,
    MethodName,
    PhotosParams,
    PseudoTargetParams,
    ReportParams,
    RestoreParams,
    load_experiment,
)
from tasks.stage import Source
from tasks.stages.evaluate import evaluate
from tasks.stages.finetune import finetune
from tasks.stages.ingest import ingest
from tasks.stages.photos import photos
from tasks.stages.pseudo_targets import pseudo_targets
from tasks.stages.report import report
from tasks.stages.restore import restore
from tasks.store import ROOT

METHODS: tuple[MethodName, ...] = ("lq", "pretrained", "pseudo_target", "adapted")


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
    check(settings, splits=["real"])
    weights = ROOT / settings.restorer.weights
    work = Workspace(ROOT / "data" / name, nodes.run)
    by_arch = RestoreParams(arch=settings.restorer.arch, fidelity=settings.restorer.fidelity)

    folders = {"folder": PhotoFolder(Path(folder).expanduser().resolve())}
    if hq:
        folders["hq"] = PhotoFolder(Path(hq).expanduser().resolve())
    intake = IngestParams(size=settings.dataset.size, fit=fit)
    lq = work.make("lq", ingest, intake, **folders)
    restored = work.make("restored", restore, by_arch, lq=lq, weights=weights)
    targets = work.make(
        "pseudo_targets",
        pseudo_targets,
        PseudoTargetParams(seed=settings.seed, arch=settings.prior.arch, settings=settings.pseudo_targets),
        restored=restored,
        weights=ROOT / settings.prior.weights,
    )
    real = work.make(
        "real",
        photos,
        PhotosParams(seed=settings.seed, dataset=settings.dataset, split="real"),
        **photo_folders(settings.dataset)["real"],
    )
    model = work.make(
        "adapted_model",
        finetune,
        FineTuneParams(seed=settings.seed, arch=settings.restorer.arch, settings=settings.finetune),
        lq=lq,
        targets=targets,
        real=real,
        weights=weights,
    )
    reference = {"real": real}
    if hq:
        reference = {"hq": work.make("hq", ingest, intake.model_copy(update={"side": "hq"}), **folders)}
    adapted = work.make("adapted", restore, by_arch, lq=lq, weights=model.path(ADAPTED_WEIGHTS))

    results: dict[str, Source] = {"photos/test": reference["hq"]} if hq else {}
    for method, images in zip(METHODS, (lq, restored, targets, adapted), strict=True):
        scores = work.make(
            f"scores/{method}",
            evaluate,
            EvaluateParams(metrics=settings.metrics),
            images=images,
            **reference,
            **metric_weights(settings.metrics),
        )
        results |= {f"images/photos/{method}": images, f"scores/photos/{method}": scores}
    params = ReportParams(
        name=name,
        title=f"Adapted to {Path(folder).name}",
        settings=settings.model_dump(mode="json", include={"seed", "prior", "restorer", "pseudo_targets", "finetune"}),
        degradations=("photos",),
        methods=METHODS,
        metrics=settings.metrics,
        published=(),
    )
    work.make("report", report, params, **results)
    log = get_run_logger()
    for file, reason in lq.quarantine:
        log.warning("Set aside: %s: %s", file, reason)
    log.info("Restored %d photos: %s", len(adapted.ids), work.root / "adapted")
    show_report(work)
