"""The wiring of the pipeline, once: which stage reads which results. Prefect flows and DVC stages both run these steps.

photos → degrade → restore → pseudo_targets → finetune → clean → compare → authenticity → references → evaluate →
report. Results are named by where they are published below the experiment's folder: "lq/raw_x4_severe/test" is the LQ
photos of the test split.
"""

import logging
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tasks.data.ingest import PhotoFolder, discover
from tasks.diffusion.schedule import Schedule
from tasks.methods import DifFace, DifFaceInpaint, FeedForward, Idm, evaluations
from tasks.metrics.registry import DEFAULT, METRICS, column
from tasks.metrics.registry import find as find_metric
from tasks.params import (
    REAL,
    Cleaning,
    Comparison,
    Dataset,
    DegradeParams,
    Downstream,
    EvaluateParams,
    Experiment,
    External,
    ExternalParams,
    FineTuneParams,
    GenerateParams,
    IdmTraining,
    IngestParams,
    PhotosParams,
    Portraits,
    PriorTraining,
    PseudoTargetParams,
    ReferenceParams,
    ReportParams,
    RestoreParams,
    Split,
    TrainParams,
    given,
    load_model,
)
from tasks.provenance import dvc_digest
from tasks.pseudo_targets import step_indices
from tasks.restorers.checkpoint import read_state_dict, write_state_dict
from tasks.stage import Source, Stage, default_store
from tasks.stages.degrade import degrade as degrade_stage
from tasks.stages.evaluate import evaluate as evaluate_stage
from tasks.stages.evaluate import measure as measure_stage
from tasks.stages.external import external as external_stage
from tasks.stages.finetune import finetune as finetune_stage
from tasks.stages.generate import generate as generate_stage
from tasks.stages.ingest import ingest as ingest_stage
from tasks.stages.photos import photos as photos_stage
from tasks.stages.pseudo_targets import pseudo_targets as pseudo_targets_stage
from tasks.stages.reference import reference as reference_stage
from tasks.stages.report import environment
from tasks.stages.report import report as report_stage
from tasks.stages.restore import restore as restore_stage
from tasks.stages.train import HELD_OUT
from tasks.stages.train import train as train_stage
from tasks.store import ROOT, WEIGHTS, BadInput, ImageFolder, Strict, publish, read_json, write_json
from tasks.weights import required

Run = Callable[..., ImageFolder]
TRAINED = "model.safetensors"  # what a stage that trains writes
OWN_FOLDERS = {"demo", "demo_store", "experiments", "raw", "weights"}  # of data/, not for results of users
RESTORER_LABELS = {"swinir": "SwinIR", "srcnn": "SRCNN", "codeformer": "CodeFormer", "lama": "LaMa"}


def run_here(stage: Stage, params: Strict, **inputs: Source) -> ImageFolder:
    """The plain driver: call the stage."""
    return stage(params, **inputs)


def folder_of(experiment: str) -> Path:
    """Where an experiment's results go: the demo's to data/demo, others' to the DVC project data/experiments."""
    return ROOT / "data" / "demo" if experiment == "demo" else ROOT / "data" / "experiments" / experiment


def user_folder(name: str) -> Path:
    """data/<name>, for the results of a user's photos. Raises BadInput for a name that leads elsewhere or is taken."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name) or name in OWN_FOLDERS:
        raise BadInput(
            f"name: expected letters, digits, '_', '-' and '.', and none of {', '.join(sorted(OWN_FOLDERS))}; "
            f"found {name!r}."
        )
    return ROOT / "data" / name


@dataclass
class Workspace:
    """The named results of one experiment, published below `root`; `run_stage` is the driver that makes them."""

    root: Path
    run_stage: Run = run_here
    results: dict[str, ImageFolder] = field(default_factory=dict)

    def make(self, at: str, stage: Stage, params: Strict, **inputs: Source) -> ImageFolder:
        """Make a result and publish it under its name."""
        result = self.run_stage(stage, params, **inputs)
        destination = self.root / at
        destination.parent.mkdir(parents=True, exist_ok=True)
        publish(result.root, destination)
        self.results[at] = result
        return result

    def folder(self, name: str) -> None:
        """Make a step's folder, which DVC expects also where the step has nothing to do."""
        (self.root / name).mkdir(parents=True, exist_ok=True)

    def places(self, results: Mapping[str, Source]) -> dict[str, str]:
        """Where each result was published; the report has its own names for them."""
        at = {id(result): name for name, result in self.results.items()}
        return {name: at[id(result)] for name, result in results.items()}

    def __getitem__(self, name: str) -> ImageFolder:
        """An earlier result: of this run, else of the workspace folder (its copy in the store where there is one)."""
        if name not in self.results:
            published = ImageFolder(self.root / name)
            manifest = published.manifest
            stored = default_store().path(manifest.stage, manifest.key)
            self.results[name] = ImageFolder(stored) if default_store().has(manifest.stage, manifest.key) else published
        return self.results[name]


def check(experiment: Experiment, splits: Iterable[Split] = ("test", "real")) -> None:
    """Raises BadInput, before any work starts, that lists all weights and photos (of the splits) that are not there."""
    needs: list[Callable[[], object]] = []
    if experiment.prior:
        needs.append(partial(required, ROOT / experiment.prior.weights, "the prior"))
    if experiment.restorer:
        needs.append(partial(required, ROOT / experiment.restorer.weights, "the restorer"))
    if experiment.finetune and experiment.finetune.recipe == "swinir_gan":
        perceptual = experiment.finetune.perceptual
        loss = f"the loss finetune.perceptual = {perceptual}"
        needs += [partial(file.find, WEIGHTS, loss) for file in METRICS[perceptual].needs]
    if experiment.cleaning and experiment.cleaning.weights:
        needs.append(partial(required, ROOT / experiment.cleaning.weights, "the first model of cleaning"))
    for name, other in experiment.compare.items():
        if isinstance(other, External):
            needs += [partial(discover, external_folder(other, part)) for part in experiment.parts]
            continue
        if other.weights:
            needs.append(partial(required, ROOT / other.weights, f"the method {name!r}"))
        if other.estimator:
            needs.append(partial(required, ROOT / other.estimator.weights, f"the estimator of {name!r}"))
    for name, reference in experiment.references.items():
        if reference.images:
            needs.append(partial(discover, ROOT / reference.images))
        elif reference.statistics:
            needs.append(partial(required, ROOT / reference.statistics, f"the reference set {name!r}"))
    dataset = experiment.dataset
    if dataset.kind == "real":
        needs += [partial(photo_count_is, ROOT / lq.test, lq.expected) for lq in dataset.sets.values()]
        needs += [partial(discover, ROOT / lq.finetune) for lq in dataset.sets.values() if lq.finetune]
    folders = photo_folders(dataset)
    needs += [partial(discover, folder.path) for split in splits for folder in folders.get(split, {}).values()]
    missing: list[str] = []
    for need in needs:
        try:
            need()
        except BadInput as error:
            missing.append(str(error))
    if missing:
        raise BadInput("\n".join(missing))


def photo_count_is(folder: Path, expected: int | None) -> None:
    """Raises BadInput if the folder is missing, or warns where it has not as many photos as the published set."""
    try:
        found = len(discover(folder))
    except BadInput as error:
        raise BadInput(f"{error} The published set has {expected} photos." if expected else str(error)) from error
    if expected and found != expected:
        logging.getLogger(__name__).warning("%s has %d photos, the published set %d.", folder, found, expected)


def photos(experiment: Experiment, work: Workspace) -> None:
    for split, folder in photo_folders(experiment.dataset).items():
        if (split == "train" and not experiment.cleaning) or (split == "finetune" and split not in experiment.splits):
            continue
        params = PhotosParams(seed=experiment.seed, dataset=experiment.dataset, split=split)
        work.make(f"photos/{split}", photos_stage, params, **folder)


def photo_folders(dataset: Dataset) -> dict[Split, dict[str, PhotoFolder]]:
    """What the stage `photos` reads for each split; nothing for procedural faces."""
    if dataset.kind == "portraits":
        return {"finetune": {}, "test": {}, "real": {}, "train": {}}
    real = {"folder": PhotoFolder(ROOT / dataset.real)}
    if dataset.kind == "real":
        return {"real": real, "train": real}
    hq = {"folder": PhotoFolder(ROOT / dataset.hq)}
    return {"finetune": hq, "test": hq, "real": real, "train": real}


def degrade(experiment: Experiment, work: Workspace) -> None:
    """The LQ photos: made from the HQ ones, or taken in as they are."""
    dataset = experiment.dataset
    if dataset.kind == "real":
        intake = IngestParams(size=dataset.size, fit="aligned")
        for name, photos in dataset.sets.items():
            for split in experiment.splits:
                folder = photos.test if split == "test" else photos.finetune or photos.test
                work.make(f"lq/{name}/{split}", ingest_stage, intake, folder=PhotoFolder(ROOT / folder))
    for name, degradation in experiment.degradations.items():
        params = DegradeParams(seed=experiment.seed, name=name, preset=degradation.preset, iso=degradation.iso)
        camera = {"camera": ROOT / degradation.camera} if degradation.camera else {}
        for split in experiment.splits:
            work.make(f"lq/{name}/{split}", degrade_stage, params, hq=work[f"photos/{split}"], **camera)


def restore(experiment: Experiment, work: Workspace) -> None:
    work.folder("restored")
    if experiment.restorer:
        for name in experiment.parts:
            for split in experiment.splits:
                run_restorer(experiment, work, work[f"lq/{name}/{split}"], f"restored/{name}/{split}")


def pseudo_targets(experiment: Experiment, work: Workspace) -> None:
    work.folder("pseudo_targets")
    wanted = {"finetune": "adapted", "test": "pseudo_target"}
    for name in experiment.parts:
        for split, method in wanted.items():
            if method in experiment.methods:
                run_prior(experiment, work, work[f"restored/{name}/{split}"], f"pseudo_targets/{name}/{split}")


def finetune(experiment: Experiment, work: Workspace) -> None:
    """No ground truth comes in here: LQ photos, their pseudo-targets, and unpaired HQ photos for the discriminator."""
    work.folder("adapted_models")
    if "adapted" not in experiment.methods or (settings := experiment.finetune) is None:
        return
    restorer = given(experiment.restorer, "restorer")
    params = FineTuneParams(seed=experiment.seed, arch=restorer.arch, settings=settings)
    for name in experiment.parts:
        work.make(
            f"adapted_models/{name}",
            finetune_stage,
            params,
            lq=work[f"lq/{name}/finetune"],
            targets=work[f"pseudo_targets/{name}/finetune"],
            real=work["photos/real"],
            weights=ROOT / restorer.weights,
        )


def clean(experiment: Experiment, work: Workspace) -> None:
    """IDM's extrinsic iteration: the first model cleans the training photos, the second learns from these."""
    work.folder("cleaning")
    if not (settings := experiment.cleaning):
        return
    photos = work["photos/train"]
    training = TrainParams(training=idm_training(experiment, settings))
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
    training = PriorTraining(
        kind="prior",
        arch=prior.arch,
        seed=experiment.seed,
        iterations=settings.iterations,
        batch=settings.batch,
        lr=settings.lr,
        lr_min=settings.lr,
        ema=settings.ema,
        clip=1.0,
        bf16=settings.bf16,
    )
    inputs: dict[str, Source] = {} if settings.from_scratch else {"weights": ROOT / prior.weights}
    generator = work.make(
        f"cleaning/generators/{name}",
        train_stage,
        TrainParams(training=training),
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


def idm_training(experiment: Experiment, settings: Cleaning) -> IdmTraining:
    """How both models are trained."""
    return IdmTraining(
        kind="idm",
        arch=settings.method.arch,
        seed=experiment.seed,
        degradation=settings.degradation,
        iterations=settings.iterations,
        batch=settings.batch,
        lr=settings.lr,
        lr_min=settings.lr,
        ema=settings.ema,
        bf16=settings.bf16,
    )


def compare(experiment: Experiment, work: Workspace) -> None:
    """The images of every method of the table that the steps before have not made."""
    work.folder("compared")
    for name in experiment.parts:
        for method in experiment.table:
            if images_of(method, name).startswith("compared/"):
                restore_by(method, name, experiment, work, work[f"lq/{name}/test"], images_of(method, name))


def restore_by(
    method: str, degradation: str, experiment: Experiment, work: Workspace, lq: ImageFolder, at: str
) -> ImageFolder:
    """Photos restored by a method of the table, published at `at`. degradation: which adapted model to take."""
    if method == "pretrained":
        return run_restorer(experiment, work, lq, at)
    if method == "adapted":
        return run_restorer(experiment, work, lq, at, work[f"adapted_models/{degradation}"].path(TRAINED))
    if method == "pseudo_target":
        return run_prior(experiment, work, run_restorer(experiment, work, lq, f"{at}_restored"), at)
    other = experiment.compare[method]
    if isinstance(other, External):
        folder = PhotoFolder(external_folder(other, degradation))
        return work.make(at, external_stage, ExternalParams(size=experiment.dataset.size), folder=folder, lq=lq)
    return run_comparison(other, experiment, work, lq, at)


def run_restorer(
    experiment: Experiment, work: Workspace, lq: ImageFolder, at: str, weights: Path | None = None
) -> ImageFolder:
    """The experiment's restorer, pre-trained or with other weights."""
    restorer = given(experiment.restorer, "restorer")
    method = FeedForward(arch=restorer.arch, fidelity=restorer.fidelity)
    weights = weights or ROOT / restorer.weights
    return work.make(at, restore_stage, RestoreParams(method=method), lq=lq, weights=weights)


def run_prior(experiment: Experiment, work: Workspace, restored: ImageFolder, at: str) -> ImageFolder:
    """Algorithm 1 of DT-BFR."""
    prior, settings = given(experiment.prior, "prior"), given(experiment.pseudo_targets, "pseudo_targets")
    params = PseudoTargetParams(seed=experiment.seed, arch=prior.arch, settings=settings)
    return work.make(at, pseudo_targets_stage, params, restored=restored, weights=ROOT / prior.weights)


def run_comparison(other: Comparison, experiment: Experiment, work: Workspace, lq: ImageFolder, at: str) -> ImageFolder:
    """A method of the section `compare`."""
    params = RestoreParams(method=other.method)
    inputs: dict[str, Source] = {}
    if isinstance(other.method, FeedForward | Idm):
        weights = ROOT / other.weights if other.weights else work["cleaning/model"].path(TRAINED)
    else:
        prior = given(experiment.prior, "prior")
        params = params.model_copy(update={"prior": prior.arch})
        weights = ROOT / (other.weights or prior.weights)
    if not isinstance(other.method, FeedForward):
        params = params.model_copy(update={"seed": experiment.seed})
    if isinstance(other.method, DifFace | DifFaceInpaint):
        estimator = other.estimator or given(experiment.restorer, "restorer")
        params = params.model_copy(update={"estimator": estimator.arch, "fidelity": estimator.fidelity})
        inputs["estimator"] = ROOT / estimator.weights
    return work.make(at, restore_stage, params, lq=lq, weights=weights, **inputs)


def external_folder(other: External, degradation: str) -> Path:
    return ROOT / Path(other.images.replace("{degradation}", degradation)).expanduser()


def authenticity(experiment: Experiment, work: Workspace) -> None:
    """IDM's check: every method restores its restored photos once more ("again"), and the clean photos ("clean")."""
    work.folder("authenticity")
    if not (settings := experiment.authenticity):
        return
    degradation, hq = settings.degradation, work["photos/test"]
    for method in checked(experiment):
        first = work[images_of(method, degradation)]
        for run, source, reference in (("again", first, first), ("clean", hq, hq)):
            at = f"authenticity/{run}/{method}"
            images = restore_by(method, degradation, experiment, work, source, at)
            score(settings.metrics, work, f"authenticity/scores/{run}/{method}", images, hq=reference)
        again = work[f"authenticity/again/{method}"]
        score(settings.metrics, work, f"authenticity/scores/second/{method}", again, hq=hq)
        score(settings.metrics, work, f"authenticity/scores/first/{method}", first, hq=hq)


def checked(experiment: Experiment) -> list[str]:
    """The methods that the authenticity check is about: all that can be run on other photos, or those it names."""
    compare, wanted = experiment.compare, experiment.authenticity and experiment.authenticity.methods
    able = [name for name in experiment.table if name != "lq" and not isinstance(compare.get(name), External)]
    return [name for name in able if wanted is None or name in wanted]


def references(experiment: Experiment, work: Workspace) -> None:
    """What metrics of whole sets need to know of the sets that they compare with."""
    work.folder("references")
    truth = None if experiment.dataset.kind == "real" else work["photos/test"]
    reference_sets(experiment, work, truth, work["photos/real"])


def reference_sets(
    experiment: Experiment, work: Workspace, truth: ImageFolder | None, real: ImageFolder
) -> dict[str, ImageFolder]:
    """By name, the described sets that the experiment's metrics compare with; by default the ground truth, if any."""
    found = {}
    for name, metrics in reference_metrics(experiment.metrics).items():
        at, other = f"references/{name}", experiment.references.get(name)
        if other is None:
            label, images = ("real photos", real) if name == REAL or truth is None else ("ground truth", truth)
            found[name] = describe(metrics, work, at, label, images)
        elif other.statistics:
            params = ReferenceParams(label=other.label, metrics=metrics, count=other.count)
            found[name] = work.make(at, reference_stage, params, statistics=ROOT / other.statistics)
        else:
            intake = IngestParams(size=experiment.dataset.size, fit="aligned")
            folder = PhotoFolder(ROOT / given(other.images, "images"))
            images = work.run_stage(ingest_stage, intake, folder=folder)
            found[name] = describe(metrics, work, at, other.label, images)
    return found


def reference_metrics(metrics: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The metrics of whole sets by the name of the reference set that they compare with."""
    found: dict[str, tuple[str, ...]] = {}
    for metric in metrics:
        base, reference = column(metric)
        if METRICS[base].kind == "distribution":
            found[reference] = (*found.get(reference, ()), base)
    return found


def describe(metrics: Sequence[str], work: Workspace, at: str, label: str, images: ImageFolder) -> ImageFolder:
    """A reference set, from its images."""
    params = ReferenceParams(label=label, metrics=tuple(metrics))
    return work.make(at, reference_stage, params, images=images, **metric_weights(metrics))


def evaluate(experiment: Experiment, work: Workspace) -> None:
    hq = None if experiment.dataset.kind == "real" else work["photos/test"]
    compared = {name: work[f"references/{name}"] for name in reference_metrics(experiment.metrics)}
    for name in experiment.parts:
        methods = {method: work[images_of(method, name)] for method in experiment.table}
        if hq is not None:
            inputs = {f"images/{method}": images for method, images in methods.items()}
            params = EvaluateParams(metrics=experiment.metrics)
            work.run_stage(measure_stage, params, hq=hq, **inputs, **metric_weights(experiment.metrics))
        for method, images in methods.items():
            score(experiment.metrics, work, f"scores/{name}/{method}", images, hq, compared)


def score(
    metrics: Sequence[str],
    work: Workspace,
    at: str,
    images: ImageFolder,
    hq: ImageFolder | None = None,
    references: Mapping[str, ImageFolder] | None = None,
) -> None:
    """Every metric of the images. hq: ground truth by the same ids; references: what whole sets are compared with."""
    inputs: dict[str, Source] = {**(references or {})} if hq is None else {**(references or {}), "hq": hq}
    params = EvaluateParams(metrics=tuple(metrics))
    work.make(at, evaluate_stage, params, images=images, **inputs, **metric_weights(metrics))


def report(experiment: Experiment, work: Workspace) -> None:
    splits: tuple[Split, ...] = ("real",) if experiment.dataset.kind == "real" else (*experiment.splits, "real")
    inputs: dict[str, Source] = {f"photos/{split}": work[f"photos/{split}"] for split in splits}
    for name in experiment.parts:
        if "adapted" in experiment.methods:
            inputs[f"adapted_models/{name}"] = work[f"adapted_models/{name}"]
        for method in experiment.table:
            inputs[f"images/{name}/{method}"] = work[images_of(method, name)]
            inputs[f"scores/{name}/{method}"] = work[f"scores/{name}/{method}"]
    if experiment.cleaning:
        inputs |= {f"cleaning/{name}": work[f"cleaning/scores/{name}"] for name in ("before", "after")}
        if experiment.cleaning.downstream:
            inputs |= {f"downstream/{name}": work[f"cleaning/downstream/{name}"] for name in ("before", "after")}
        inputs["cleaning/model"] = work["cleaning/model"]
    if experiment.authenticity:
        for method in checked(experiment):
            for name in ("first", "second", "again", "clean"):
                inputs[f"authenticity/{name}/{method}"] = work[f"authenticity/scores/{name}/{method}"]
    places = work.places(inputs)
    params = ReportParams(
        name=work.root.name,
        title=experiment.title,
        settings=experiment.model_dump(mode="json", exclude={"published", "title"}),
        degradations=experiment.parts,
        methods=labels(experiment),
        evaluations=network_evaluations(experiment),
        metrics=experiment.metrics,
        authenticity_metrics=experiment.authenticity.metrics if experiment.authenticity else (),
        claims=experiment.claims,
        published=experiment.published,
        places=places,
        dvc={out: dvc_digest(work.root / out) for out in sorted({place.split("/")[0] for place in places.values()})},
    )
    made = work.make("report", report_stage, params, **inputs)
    shutil.copyfile(made.path("metrics.json"), work.root / "metrics.json")  # for `dvc metrics show`


def labels(experiment: Experiment) -> dict[str, str]:
    """Names of the methods in the tables."""
    arch = experiment.restorer.arch if experiment.restorer else ""
    restorer = RESTORER_LABELS.get(arch, arch)
    known = {
        "lq": "LQ input",
        "pretrained": f"{restorer}, pre-trained",
        "pseudo_target": "Pseudo-targets (diffusion at test time)",
        "adapted": f"{restorer}, adapted",
    }
    return {name: known[name] for name in experiment.methods} | {
        name: other.label or name for name, other in experiment.compare.items()
    }


def network_evaluations(experiment: Experiment) -> dict[str, int]:
    """Evaluations of a method's networks for one photo; nothing for those that ran elsewhere."""
    start = 0
    if settings := experiment.pseudo_targets:
        schedule = Schedule.linear().respace(settings.respacing)
        start, _ = step_indices(schedule, start_t=settings.start_t, stop_t=settings.stop_t)
    known = {"lq": 0, "pretrained": 1, "pseudo_target": 1 + start, "adapted": 1}
    return {name: known[name] for name in experiment.methods} | {
        name: evaluations(other.method) for name, other in experiment.compare.items() if isinstance(other, Comparison)
    }


def metric_weights(metrics: Iterable[str]) -> dict[str, Source]:
    """The weight files of the metrics that are there, as inputs: a file that appears or changes evaluates anew."""
    paths = {need.place: WEIGHTS / need.place for name in metrics for need in find_metric(name).needs}
    return {place: path for place, path in paths.items() if path.is_file()}


def images_of(method: str, degradation: str) -> str:
    """Name of the result that holds a method's images of the test split."""
    places = {
        "lq": f"lq/{degradation}/test",
        "pretrained": f"restored/{degradation}/test",
        "pseudo_target": f"pseudo_targets/{degradation}/test",
    }
    return places.get(method, f"compared/{degradation}/{method}")


def train_model(name: str, run_stage: Run = run_here) -> Path:
    """Train a model of params.yaml and publish it as data/weights/<name>.safetensors, with its card and its losses."""
    model = load_model(name)
    if model.photos.kind == "folder":
        intake = IngestParams(size=model.photos.size, fit="aligned")
        photos = {"photos": run_stage(ingest_stage, intake, folder=PhotoFolder(ROOT / model.photos.path.expanduser()))}
    else:
        drawn = model.photos
        faces = Portraits(
            kind="portraits", size=drawn.size, finetune=1, real=1, test=HELD_OUT, train=drawn.count, flawed=drawn.flawed
        )
        splits: dict[str, Split] = {"photos": "train", "held_out": "test"}
        photos = {
            role: run_stage(photos_stage, PhotosParams(seed=model.training.seed, dataset=faces, split=split))
            for role, split in splits.items()
        }
    trained = run_stage(train_stage, TrainParams(training=model.training), **photos)
    card = read_json(trained.path("card.json"))
    seconds = default_store().seconds(trained.manifest.key)
    destination = WEIGHTS / f"{name}.safetensors"
    destination.parent.mkdir(parents=True, exist_ok=True)
    tensors = read_state_dict(trained.path(TRAINED))
    if model.is_half:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    write_state_dict(destination, tensors)
    shutil.copyfile(trained.path("losses.csv"), destination.with_suffix(".losses.csv"))
    if model.photos.kind == "portraits":
        card["licence"] = "Apache-2.0"
    about = {"photos": model.photos.model_dump(mode="json"), "seconds": round(seconds or 0), "made_with": environment()}
    write_json(destination.with_suffix(".json"), card | about)
    return destination


STEPS: Mapping[str, Callable[[Experiment, Workspace], None]] = {
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
