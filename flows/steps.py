"""The wiring of the pipeline, once: which stage reads which results. Prefect flows and DVC stages both run these steps.

photos → degrade → restore → pseudo_targets → finetune → clean → compare → authenticity → references → evaluate →
report. Results are named by where they are published below the experiment's folder: "lq/raw_x4_severe/test" is the LQ
photos of the test split.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path

from flows.preflight import photo_folders
from flows.rounds import Adaptation, adapt_in_rounds
from flows.rows import Adapted, authentic_rows, reported, rows_of, run_prior, run_restorer
from flows.workspace import TRAINED, Workspace
from tasks.basics import ROOT, WEIGHTS, BadInput
from tasks.data.ingest import PhotoFolder
from tasks.degradation.presets import PRESETS
from tasks.durations import whole_duration
from tasks.metrics.registry import DEFAULT, METRICS, REAL, column
from tasks.metrics.registry import find as find_metric
from tasks.params.experiment import Downstream, Experiment, given
from tasks.report.inputs import ReportInputs, step_of
from tasks.report.plots import COLUMNS
from tasks.running.stage import Source, default_store
from tasks.stages.degrade import DegradeParams
from tasks.stages.degrade import degrade as degrade_stage
from tasks.stages.evaluate import EvaluateParams
from tasks.stages.evaluate import evaluate as evaluate_stage
from tasks.stages.evaluate import measure as measure_stage
from tasks.stages.generate import GenerateParams
from tasks.stages.generate import generate as generate_stage
from tasks.stages.ingest import IngestParams
from tasks.stages.ingest import ingest as ingest_stage
from tasks.stages.photos import PhotosParams
from tasks.stages.photos import photos as photos_stage
from tasks.stages.reference import ReferenceParams
from tasks.stages.reference import reference as reference_stage
from tasks.stages.report import ReportParams
from tasks.stages.report import report as report_stage
from tasks.stages.restore import RestoreParams
from tasks.stages.restore import restore as restore_stage
from tasks.stages.train import TrainParams
from tasks.stages.train import train as train_stage
from tasks.store.artifact import ImageFolder
from tasks.store.files import copy_file, read_json
from tasks.store.md5 import dvc_digest

LOG = logging.getLogger(__name__)
Step = Callable[[Experiment, Workspace], None]
FOLDERS = {
    "photos": "photos",
    "degrade": "lq",
    "restore": "restored",
    "pseudo_targets": "pseudo_targets",
    "finetune": "adapted_models",
    "clean": "cleaning",
    "compare": "compared",
    "authenticity": "authenticity",
    "references": "references",
    "evaluate": "scores",
}
"""Where each step's results go, but for the report, which is one. DVC expects it also if there is nothing to do."""


def step(make: Step) -> Step:
    """A step that makes its folder, and says what it made and how long that took."""

    @wraps(make)
    def run(experiment: Experiment, work: Workspace) -> None:
        started, before = time.monotonic(), len(work.results)
        if name := FOLDERS.get(make.__name__):
            work.folder(name)
        make(experiment, work)
        count, seconds = len(work.results) - before, time.monotonic() - started
        LOG.info("%-16s%4d results %14s", make.__name__, count, whole_duration(seconds))

    return run


@step
def photos(experiment: Experiment, work: Workspace) -> None:
    for split, folder in photo_folders(experiment.dataset).items():
        if (split == "train" and not experiment.cleaning) or (split == "finetune" and split not in experiment.splits):
            continue
        params = PhotosParams(seed=experiment.seed, dataset=experiment.dataset.only(split), split=split)
        work.make(f"photos/{split}", photos_stage, params, **folder)


@step
def degrade(experiment: Experiment, work: Workspace) -> None:
    """The LQ photos: made from the HQ ones, or taken in as they are."""
    dataset = experiment.dataset
    intake = IngestParams(size=dataset.size, fit="aligned")
    for name, photos in dataset.lq.items():
        for split in experiment.splits:
            work.make(f"lq/{name}/{split}", ingest_stage, intake, folder=PhotoFolder(ROOT / photos.folder(split)))
    for name, degradation in experiment.degradations.items():
        params = DegradeParams(seed=experiment.seed, name=name, preset=degradation.preset, iso=degradation.iso)
        camera = {"camera": ROOT / degradation.camera} if degradation.camera else {}
        for split in experiment.splits:
            work.make(f"lq/{name}/{split}", degrade_stage, params, hq=work[f"photos/{split}"], **camera)


@step
def restore(experiment: Experiment, work: Workspace) -> None:
    if experiment.restorer:
        for name in experiment.parts:
            for split in experiment.splits:
                run_restorer(experiment, work, work[f"lq/{name}/{split}"], f"restored/{name}/{split}")


@step
def pseudo_targets(experiment: Experiment, work: Workspace) -> None:
    wanted = {"finetune": "adapted", "test": "pseudo_target"}
    for name in experiment.parts:
        for split, method in wanted.items():
            if method in experiment.methods:
                run_prior(experiment, work, work[f"restored/{name}/{split}"], name, f"pseudo_targets/{name}/{split}")


@step
def finetune(experiment: Experiment, work: Workspace) -> None:
    """No ground truth comes in here: LQ photos, their pseudo-targets, and unpaired HQ photos for the discriminator."""
    if "adapted" not in experiment.methods or experiment.finetune is None:
        return
    weights = ROOT / given(experiment.restorer, "restorer").weights
    adaptations = [
        Adaptation(
            part=name,
            at=f"adapted_models/{name}",
            rounds=f"adapted_models/{name}.rounds",  # no part has a dot in its name
            lq=work[f"lq/{name}/finetune"],
            targets=work[f"pseudo_targets/{name}/finetune"],
            real=work["photos/real"],
            weights=weights,
        )
        for name in experiment.parts
    ]
    adapt_in_rounds(experiment, work, adaptations)


@step
def clean(experiment: Experiment, work: Workspace) -> None:
    """IDM's extrinsic iteration: the first model cleans the training photos, the second learns from these."""
    if not (settings := experiment.cleaning):
        return
    photos = work["photos/train"]
    training = TrainParams(training=settings.training(experiment.seed))
    if settings.weights:
        first = ROOT / settings.weights
    else:
        first = work.make("cleaning/first", train_stage, training, photos=photos, targets=photos).path(TRAINED)
    params = RestoreParams(method=settings.method, seed=experiment.seed)
    cleaned = work.make("cleaning/cleaned", restore_stage, params, lq=photos, weights=first)
    work.make("cleaning/model", train_stage, training, photos=photos, targets=cleaned, weights=first)
    for name, images in (("before", photos), ("after", cleaned)):
        score(settings.metrics, work, f"cleaning/scores/{name}", images)
        if settings.downstream:
            downstream(experiment, settings.downstream, work, name, images)


def downstream(experiment: Experiment, settings: Downstream, work: Workspace, name: str, photos: ImageFolder) -> None:
    """What a generator learns from the photos: faces that it draws, scored as a set."""
    prior = given(experiment.prior, "prior")
    inputs: dict[str, Source] = {} if settings.from_scratch else {"weights": ROOT / prior.weights}
    generator = work.make(
        f"cleaning/generators/{name}",
        train_stage,
        TrainParams(training=settings.training(prior.arch, experiment.seed)),
        photos=photos,
        held_out=work["photos/real"],
        **inputs,
    )
    drawing = GenerateParams(
        seed=experiment.seed,
        arch=prior.arch,
        respacing=settings.respacing,
        count=settings.count,
        size=experiment.dataset.size,
    )
    drawn = work.make(f"cleaning/drawn/{name}", generate_stage, drawing, weights=generator.path(TRAINED))
    compared = describe(settings.metrics, work, "cleaning/real", "real photos", work["photos/real"])
    score(settings.metrics, work, f"cleaning/downstream/{name}", drawn, references={DEFAULT: compared})


@step
def compare(experiment: Experiment, work: Workspace) -> None:
    """The images of every method of the table that the steps before have not made."""
    for part in experiment.parts:
        for row in rows_of(experiment).values():
            if row.place(part).startswith("compared/"):
                row.run(work, work[f"lq/{part}/test"], part, row.place(part))


@step
def authenticity(experiment: Experiment, work: Workspace) -> None:
    """IDM's check: every method restores its restored photos once more ("again"), and the clean photos ("clean")."""
    if not (settings := experiment.authenticity):
        return
    degradation, hq = settings.degradation, work["photos/test"]
    for row in authentic_rows(experiment):
        first = work[row.place(degradation)]
        for run, source, reference in (("again", first, first), ("clean", hq, hq)):
            images = row.run(work, source, degradation, f"authenticity/{run}/{row.name}")
            score(settings.metrics, work, f"authenticity/scores/{run}/{row.name}", images, hq=reference)
        again = work[f"authenticity/again/{row.name}"]
        score(settings.metrics, work, f"authenticity/scores/second/{row.name}", again, hq=hq)
        score(settings.metrics, work, f"authenticity/scores/first/{row.name}", first, hq=hq)


@step
def references(experiment: Experiment, work: Workspace) -> None:
    """What metrics of whole sets need to know of the sets that they compare with."""
    truth = work["photos/test"] if experiment.dataset.has_truth else None
    reference_sets(experiment, work, truth, work["photos/real"])


def reference_sets(
    experiment: Experiment, work: Workspace, truth: ImageFolder | None, real: ImageFolder
) -> dict[str, ImageFolder]:
    """By name, the described sets that the experiment's metrics compare with; by default the ground truth, if any."""
    found = {}
    for name, metrics in reference_metrics(experiment.metrics).items():
        at, other = f"references/{name}", experiment.references.get(name)
        if other is None:
            label, images = (real_label(experiment), real) if name == REAL or truth is None else ("ground truth", truth)
            found[name] = describe(metrics, work, at, label, images)
        elif other.statistics:
            params = ReferenceParams(label=other.label, metrics=metrics, count=other.count)
            found[name] = work.make(at, reference_stage, params, statistics=ROOT / other.statistics)
        else:
            intake = IngestParams(size=experiment.dataset.size, fit="aligned")
            folder = PhotoFolder(ROOT / given(other.images, "images"))
            images = work.run_stage(ingest_stage, intake, at, folder=folder)
            found[name] = describe(metrics, work, at, other.label, images)
    return found


def real_label(experiment: Experiment) -> str:
    """What the unpaired HQ photos are."""
    return "rendered heads" if experiment.dataset.kind == "heads" else "real photos"


def reference_metrics(metrics: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The metrics of whole sets by the name of the reference set that they compare with."""
    found: dict[str, tuple[str, ...]] = {}
    for metric in metrics:
        base, reference = column(metric)
        if find_metric(base).is_of_sets:
            found[reference] = (*found.get(reference, ()), base)
    return found


def describe(metrics: Sequence[str], work: Workspace, at: str, label: str, images: ImageFolder) -> ImageFolder:
    """A reference set, from its images."""
    params = ReferenceParams(label=label, metrics=tuple(metrics))
    return work.make(at, reference_stage, params, images=images, **metric_weights(metrics))


@step
def evaluate(experiment: Experiment, work: Workspace) -> None:
    hq = work["photos/test"] if experiment.dataset.has_truth else None
    compared = {name: work[f"references/{name}"] for name in reference_metrics(experiment.metrics)}
    for name in experiment.parts:
        methods = {row.name: work[row.place(name)] for row in rows_of(experiment).values()}
        params = EvaluateParams(metrics=experiment.metrics)
        scores = {
            f"scores/{name}/{method}": scored(experiment.metrics, images, hq, compared)
            for method, images in methods.items()
        }
        if hq is not None and not all(work.finds(at, evaluate_stage, params, **of) for at, of in scores.items()):
            inputs: dict[str, Source] = {f"images/{method}": images for method, images in methods.items()}
            inputs |= metric_weights(experiment.metrics)
            work.run_stage(measure_stage, params, f"scores/{name}", hq=hq, **inputs)
        for at, of in scores.items():
            work.make(at, evaluate_stage, params, **of)


def score(
    metrics: Sequence[str],
    work: Workspace,
    at: str,
    images: ImageFolder,
    hq: ImageFolder | None = None,
    references: Mapping[str, ImageFolder] | None = None,
    lq: ImageFolder | None = None,
) -> None:
    """Every metric of the images. hq, lq: ground truth and what was restored, by the same ids; references: what whole
    sets are compared with."""
    params, taken = EvaluateParams(metrics=tuple(metrics)), {} if lq is None else {"lq": lq}
    work.make(at, evaluate_stage, params, **scored(metrics, images, hq, references or {}), **taken)


def scored(
    metrics: Iterable[str], images: ImageFolder, hq: ImageFolder | None, references: Mapping[str, ImageFolder]
) -> dict[str, Source]:
    """What an evaluation reads."""
    truth = {} if hq is None else {"hq": hq}
    return {"images": images, **references, **truth, **metric_weights(metrics)}


@step
def report(experiment: Experiment, work: Workspace) -> None:
    places = report_places(experiment).named()
    params = ReportParams(
        name=work.root.name,
        title=experiment.title,
        settings=experiment.model_dump(mode="json", exclude={"published", "title"}),
        degradations=experiment.parts,
        means=experiment.means,
        sweeps={name: d.preset for name, d in experiment.degradations.items() if PRESETS[d.preset].needs_position},
        methods=reported([*rows_of(experiment).values()]),
        metrics=experiment.metrics,
        fills=any(row.fills for row in rows_of(experiment).values()),
        authenticity_metrics=experiment.authenticity.metrics if experiment.authenticity else (),
        claims=experiment.claims,
        published=experiment.published,
        places=places,
        dvc={
            step: dvc_digest(work.root / step, default_store()) for step in sorted(set(map(step_of, places.values())))
        },
    )
    made = work.make("report", report_stage, params, **{name: work[place] for name, place in places.items()})
    write_numbers(made, work.root)


def write_numbers(report: ImageFolder, folder: Path) -> None:
    """Copy the report's numbers for `dvc metrics show` and `dvc plots show`. Raises BadInput if files there, of these
    names, hold anything else.
    """
    check_numbers(folder)
    for name in NUMBERS:
        copy_file(report.path(name), folder / name)


def check_numbers(folder: Path) -> None:
    """Raises BadInput if something else than an experiment's numbers has their names there."""
    for name, is_ours in NUMBERS.items():
        path = folder / name
        if os.path.lexists(path) and not (path.is_file() and is_ours(path)):
            raise BadInput(f"{path} is not a file of bfr, which writes its numbers there. Move it away and run again.")


def _holds_metrics(path: Path) -> bool:
    """Means of metrics by method and degradation, and nothing else."""
    try:
        parts = read_json(path)
    except ValueError:
        return False
    if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
        return False
    rows = [row for part in parts.values() for row in part.values()]
    return all(isinstance(row, dict) and all(column(name)[0] in METRICS for name in row) for row in rows)


def _holds_plots(path: Path) -> bool:
    with path.open("rb") as file:
        return file.readline().strip() == ",".join(COLUMNS).encode()


NUMBERS: Mapping[str, Callable[[Path], bool]] = {"metrics.json": _holds_metrics, "plots.csv": _holds_plots}


def report_places(experiment: Experiment) -> ReportInputs[str]:
    """What the report reads, by where the steps before published it."""
    splits = [split for split in experiment.dataset.sources if split in (*experiment.splits, "real")]
    table = [(part, row) for part in experiment.parts for row in rows_of(experiment).values()]
    places = ReportInputs(
        images={(part, row.name): row.place(part) for part, row in table},
        scores={(part, row.name): f"scores/{part}/{row.name}" for part, row in table},
        models={(part, row.name): f"adapted_models/{part}" for part, row in table if isinstance(row, Adapted)},
        photos={split: f"photos/{split}" for split in splits},
    )
    if experiment.cleaning:
        places.cleaning["model"] = "cleaning/model"
        for name in ("before", "after"):
            places.cleaning[name] = f"cleaning/scores/{name}"
            if experiment.cleaning.downstream:
                places.downstream[name] = f"cleaning/downstream/{name}"
    if experiment.authenticity:
        for row in authentic_rows(experiment):
            for run in ("first", "second", "again", "clean"):
                places.authenticity[run, row.name] = f"authenticity/scores/{run}/{row.name}"
    return places


def metric_weights(metrics: Iterable[str]) -> dict[str, Source]:
    """The weight files of the metrics that are there, as inputs: a file that appears or changes evaluates anew."""
    paths = {need.place: WEIGHTS / need.place for name in metrics for need in find_metric(name).needs}
    return {place: path for place, path in paths.items() if path.is_file()}


STEPS: Mapping[str, Step] = {
    step.__name__: step
    for step in (
        photos,
        degrade,
        restore,
        pseudo_targets,
        finetune,
        clean,
        compare,
        authenticity,
        references,
        evaluate,
        report,
    )
}
