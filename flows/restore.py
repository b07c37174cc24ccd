"""Restore a folder of photos with a named method."""

from pathlib import Path
from typing import Literal

from prefect import flow
from prefect.logging import get_run_logger

from flows.steps import Workspace
from tasks import nodes
from tasks.data.ingest import PhotoFolder
from tasks.params import IngestParams, PseudoTargetParams, RestoreParams, load_experiment
from tasks.stages.ingest import ingest
from tasks.stages.pseudo_targets import pseudo_targets
from tasks.stages.restore import restore as restore_stage
from tasks.store import ROOT
from tasks.weights import required


@flow(name="restore", flow_run_name="{folder} by {method}", log_prints=True)
def restore(
    folder: str,
    method: Literal["restorer", "pseudo_target"] = "restorer",
    experiment: str = "demo",
    weights: str | None = None,
    name: str = "restored",
    fit: Literal["aligned", "crop"] = "crop",
) -> None:
    """Restored photos below data/<name>/<method>/.

    method: "restorer" is one pass of the experiment's restorer; "pseudo_target" also runs the diffusion prior (DT-BFR,
    Algorithm 1). weights: another checkpoint for the restorer, say
    data/my_photos/adapted_model/model.safetensors.
    """
    settings = load_experiment(experiment)
    work = Workspace(ROOT / "data" / name, nodes.run)
    photos = PhotoFolder(Path(folder).expanduser().resolve())
    lq = work.make("lq", ingest, IngestParams(size=settings.dataset.size, fit=fit), folder=photos)
    checkpoint = required(
        Path(weights).expanduser().resolve() if weights else ROOT / settings.restorer.weights, "the restorer"
    )
    restored = work.make(
        "restorer",
        restore_stage,
        RestoreParams(arch=settings.restorer.arch, fidelity=settings.restorer.fidelity),
        lq=lq,
        weights=checkpoint,
    )
    if method == "pseudo_target":
        restored = work.make(
            "pseudo_target",
            pseudo_targets,
            PseudoTargetParams(seed=settings.seed, arch=settings.prior.arch, settings=settings.pseudo_targets),
            restored=restored,
            weights=required(ROOT / settings.prior.weights, "the prior"),
        )
    log = get_run_logger()
    for file, reason in lq.quarantine:
        log.warning("Set aside: %s: %s", file, reason)
    log.info("Restored %d photos: %s", len(restored.ids), work.root / method)
