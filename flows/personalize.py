"""Fine-tune the prior on an album of one subject, and restore photos of that subject with it (gen2res)."""

from pathlib import Path
from typing import Literal

from prefect import flow
from prefect.logging import get_run_logger

from flows.rows import run_comparison
from flows.workspace import TRAINED, Workspace, user_folder
from tasks import nodes
from tasks.basics import ROOT
from tasks.data.ingest import PhotoFolder
from tasks.methods.gen2res import NoiseDenoise
from tasks.params.experiment import Comparison, given
from tasks.params.load import load_experiment
from tasks.stages.ingest import IngestParams, ingest
from tasks.stages.personalize import PersonalizeParams
from tasks.stages.personalize import personalize as personalize_stage
from tasks.weights.fetch import required


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
    method = NoiseDenoise(kind="noise_denoise", respacing=str(respacing), start_t=start_t)
    other = Comparison(method=method, weights=model.path(TRAINED))
    restored = run_comparison(other, settings, work, photos["lq"], "restored")
    log = get_run_logger()
    for at, intaken in photos.items():
        for file, reason in intaken.quarantine:
            log.warning("Set aside (%s): %s: %s", at, file, reason)
    log.info("Restored %d photos: %s", len(restored.ids), work.root / "restored")
