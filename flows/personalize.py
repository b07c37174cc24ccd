"""Fine-tune the prior on an album of one subject, and restore photos of that subject with it (gen2res)."""

import logging
from typing import Literal

from flows.rows import run_comparison
from flows.workspace import TRAINED, Run, Workspace, results_folder, run_here, say_set_aside
from tasks.basics import ROOT
from tasks.data.ingest import PhotoFolder, discover
from tasks.methods.gen2res import NoiseDenoise
from tasks.params.experiment import Comparison, Experiment, given
from tasks.params.load import load_experiment
from tasks.report.content import Method
from tasks.report.inputs import ReportInputs
from tasks.stages.external import ExternalParams, external
from tasks.stages.identify import METRIC, IdentifyParams, identify
from tasks.stages.ingest import IngestParams, ingest
from tasks.stages.personalize import PersonalizeParams
from tasks.stages.personalize import personalize as personalize_stage
from tasks.stages.report import ReportParams, report
from tasks.weights.fetch import required

LOG = logging.getLogger(__name__)
PART = "photos"  # the one part of the tables


def personalize(
    album: str,
    folder: str,
    experiment: str = "demo",
    iterations: int = 5000,
    batch: int = 4,
    lr: float = 1e-5,
    start_t: int = 200,
    respacing: int = 1000,
    beside: str | None = None,
    out: str | None = None,
    fit: Literal["aligned", "crop"] = "crop",
    run_stage: Run = run_here,
) -> Workspace:
    """Restored photos in <out>/photos, by the photos' own names and in their sub-folders, as PNG; the personal prior in
    <out>/model/model.safetensors; <out>/report/report.html: how much the photos look like the person of the album
    before, by the prior as it was, and after; the rest in <out>/details, by image id: album, lq (each with a
    quarantine.csv), prior, restored, beside, scores.

    All paths are absolute. out: where the results go, by default <folder>_personal; a folder that holds anything but
    earlier results of bfr is refused.
    album: about 20 clean photos of the subject; folder: degraded photos of the same one, aligned alike;
    experiment: whose prior; iterations, batch, lr: of the fine-tuning; start_t: K, the noise level of 1000 to restore
    from: more is more realistic and less faithful; respacing: how many of the 1000 steps to keep. The defaults are the
    published values. beside: what another method made of the same photos (say CodeFormer, by `bfr restore`), by the
    same names: it enters the report.
    """
    settings = load_experiment(experiment)
    prior = given(settings.prior, "prior")
    weights = required(ROOT / prior.weights, "the prior")
    root, paths = results_folder(out, "personal", {"folder": folder, "album": album, "beside": beside})
    work, details = Workspace(root, run_stage), Workspace(root / "details", run_stage)
    intake = IngestParams(size=settings.dataset.size, fit=fit)
    photos, lq = (
        details.make(at, ingest, intake, folder=PhotoFolder(paths[name]))
        for at, name in (("album", "album"), ("lq", "folder"))
    )
    say_set_aside(photos, lq)
    training = PersonalizeParams(seed=settings.seed, arch=prior.arch, iterations=iterations, batch=batch, lr=lr)
    others = PhotoFolder(paths["beside"]) if beside else None
    if others:
        discover(others.path)  # now: the fine-tuning takes hours
    model = work.make("model", personalize_stage, training, album=photos, weights=weights)
    method = NoiseDenoise(kind="noise_denoise", respacing=str(respacing), start_t=start_t)
    run_comparison(Comparison(method=method), settings, details, lq, "prior")
    personal = Comparison(method=method, weights=model.path(TRAINED))
    restored = run_comparison(personal, settings, details, lq, "restored")
    if others:
        details.make("beside", external, ExternalParams(size=settings.dataset.size), folder=others, lq=lq)
    write_report(settings, method, training, work, details, f"{paths['folder'].name}, restored for one person")
    work.publish_photos(restored, paths["folder"])
    LOG.info("Restored %d photos.", len(restored.ids))
    return work


def write_report(
    settings: Experiment,
    method: NoiseDenoise,
    training: PersonalizeParams,
    work: Workspace,
    details: Workspace,
    title: str,
) -> None:
    """How much the photos look like the person of the album, by every row that there is."""
    once = method.evaluations
    rows = [
        Method(name="lq", label="LQ input", kind="input", role="LQ", evaluations=0),
        Method(name="prior", label="The prior as it was", kind="baseline", role="prior", evaluations=once),
        Method(name="restored", label="The personal prior", kind="adapted", role="personal", evaluations=once),
        Method(name="beside", label="The other method", kind="other", role="other"),
    ]
    rows = [row for row in rows if row.name in details.results]
    inputs = ReportInputs[str]()
    for row in rows:
        at = f"scores/{row.name}"
        details.make(at, identify, IdentifyParams(), images=details[row.name], album=details["album"])
        inputs.images[PART, row.name], inputs.scores[PART, row.name] = row.name, at
    places = inputs.named()
    params = ReportParams(
        name=work.root.name,
        title=title,
        settings={"prior": settings.model_dump(mode="json")["prior"], "tuning": training.model_dump(mode="json")},
        degradations=(PART,),
        methods=tuple(rows),
        metrics=(METRIC,),
        published=(),
        places={name: f"details/{place}" for name, place in places.items()},
    )
    work.make("report", report, params, **{name: details[place] for name, place in places.items()})
