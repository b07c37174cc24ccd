"""Fine-tune the prior on an album of one subject, and restore photos of that subject with it (gen2res)."""

from pathlib import Path
from typing import Literal

from prefect import flow
from prefect.logging import get_run_logger

from flows.steps import TRAINED, Workspace, run_comparison, user_folder
from tasks import nodes
from tasks.data.ingest import PhotoFolder
from tasks.methods import Gen2Res
from tasks.params import Comparison, IngestParams, PersonalizeParams, given, load_experiment
from tasks.stages.ingest import ingest
from tasks.stages.personalize import personalize as personalize_stage
from tasks.store import ROOT
from tasks.weights import required


@flow(name="personalize", flow_run_name="{folder} by {album}", log_prints=True)
def personalize(
    album: str,
    folder: str,
    experiment: str = "demo",
    iterations: int = 5000,
    batch: int = 4,
    lr: float = 1e-5,
    start_t: int = 200,
    respacing: int = 1000,
    name: str = "personal",
    fit: Literal["aligned", "crop"] = "crop",
) -> None:
    """Restored photos and the personal prior below data/<name>/.

    album: about 20 clean photos of the subject; folder: degraded photos of the same one, aligned alike;
    experiment: whose prior; iterations, batch, lr: of the fine-tuning; start_t: K, the noise level of 1000 to restore
    from: more is more realistic and less faithful; respacing: how many of the 1000 steps to keep. The defaults are the
    published values.
    """
    settings = load_experiment(experiment)
    prior = given(settings.prior, "prior")
    weights = required(ROOT / prior.weights, "the prior")
    work = Workspace(user_folder(name), nodes.run)
    intake = IngestParams(size=settings.dataset.size, fit=fit)
    photos = {
        at: work.make(at, ingest, intake, folder=PhotoFolder(Path(path).expanduser().resolve()))
        for at, path in (("album", album), ("lq", folder))
    }
    training = PersonalizeParams(seed=settings.seed, arch=prior.arch, iterations=iterations, batch=batch, lr=lr)
    model = work.make("model", personalize_stage, training, album=photos["album"], weights=weights)
    method = Gen2Res(
        kind="gen2res",
        respacing=str(respacing),
        start_t=start_t,
        album=0,
        skip=0,
        guided_t=0,
        scale=0,
        iterations=0,
        batch=batch,
        lr=lr,
    )
    other = Comparison(method=method, weights=model.path(TRAINED))
    restored = run_comparison(other, settings, work, photos["lq"], "restored")
    log = get_run_logger()
    for at, intaken in photos.items():
        for file, reason in intaken.quarantine:
            log.warning("Set aside (%s): %s: %s", at, file, reason)
    log.info("Restored %d photos: %s", len(restored.ids), work.root / "restored")
