"""Fine-tune the prior on an album of one subject, and restore photos of that subject with it (gen2res)."""

import logging
from typing import Literal

from flows.rows import run_comparison
from flows.workspace import TRAINED, Run, Workspace, results_folder, run_here, say_set_aside
from tasks.basics import ROOT
from tasks.data.ingest import PhotoFolder
from tasks.methods.gen2res import NoiseDenoise
from tasks.params.experiment import Comparison, given
from tasks.params.load import load_experiment
from tasks.stages.ingest import IngestParams, ingest
from tasks.stages.personalize import PersonalizeParams
from tasks.stages.personalize import personalize as personalize_stage
from tasks.weights.fetch import required

LOG = logging.getLogger(__name__)


def personalize(
    album: str,
    folder: str,
    experiment: str = "demo",
    iterations: int = 5000,
    batch: int = 4,
    lr: float = 1e-5,
    start_t: int = 200,
    respacing: int = 1000,
    out: str | None = None,
    fit: Literal["aligned", "crop"] = "crop",
    run_stage: Run = run_here,
) -> Workspace:
    """Restored photos in <out>/photos, by the photos' own names and in their sub-folders, as PNG; the personal prior in
    <out>/model/model.safetensors; the rest in <out>/details, by image id: album, lq (each with a quarantine.csv),
    restored.

    All paths are absolute. out: where the results go, by default <folder>_personal; a folder that holds anything but
    earlier results of bfr is refused.
    album: about 20 clean photos of the subject; folder: degraded photos of the same one, aligned alike;
    experiment: whose prior; iterations, batch, lr: of the fine-tuning; start_t: K, the noise level of 1000 to restore
    from: more is more realistic and less faithful; respacing: how many of the 1000 steps to keep. The defaults are the
    published values.
    """
    settings = load_experiment(experiment)
    prior = given(settings.prior, "prior")
    weights = required(ROOT / prior.weights, "the prior")
    root, paths = results_folder(out, "personal", {"folder": folder, "album": album})
    work, details = Workspace(root, run_stage), Workspace(root / "details", run_stage)
    intake = IngestParams(size=settings.dataset.size, fit=fit)
    photos, lq = (
        details.make(at, ingest, intake, folder=PhotoFolder(paths[name]))
        for at, name in (("album", "album"), ("lq", "folder"))
    )
    say_set_aside(photos, lq)
    training = PersonalizeParams(seed=settings.seed, arch=prior.arch, iterations=iterations, batch=batch, lr=lr)
    model = work.make("model", personalize_stage, training, album=photos, weights=weights)
    method = NoiseDenoise(kind="noise_denoise", respacing=str(respacing), start_t=start_t)
    other = Comparison(method=method, weights=model.path(TRAINED))
    restored = run_comparison(other, settings, details, lq, "restored")
    work.publish_photos(restored, paths["folder"])
    LOG.info("Restored %d photos.", len(restored.ids))
    return work
