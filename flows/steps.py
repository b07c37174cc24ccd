"""The wiring of the pipeline, once: which stage reads which results. Prefect flows and DVC stages both run these steps.

photos → degrade → restore → pseudo_targets → finetune → evaluate → report. Results are named by where they are
published below the experiment's folder: "lq/raw_x4_severe/test" is the LQ photos of the test split.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tasks.data.ingest import PhotoFolder, discover
from tasks.metrics.registry import METRICS
from tasks.params import (
    Dataset,
    DegradeParams,
    EvaluateParams,
    Experiment,
    FineTuneParams,
    PhotosParams,
    PseudoTargetParams,
    ReportParams,
    RestoreParams,
    Split,
)
from tasks.stage import Source, Stage, default_store
from tasks.stages.degrade import degrade as degrade_stage
from tasks.stages.evaluate import evaluate as evaluate_stage
from tasks.stages.finetune import finetune as finetune_stage
from tasks.stages.photos import photos as photos_stage
from tasks.stages.pseudo_targets import pseudo_targets as pseudo_targets_stage
from tasks.stages.report import report as report_stage
from tasks.stages.restore import restore as restore_stage
from tasks.store import ROOT, WEIGHTS, BadInput, ImageFolder, Strict, publish
from tasks.weights import required

Run = Callable[..., ImageFolder]
ADAPTED_WEIGHTS = "model.safetensors"


def run_here(stage: Stage, params: Strict, **inputs: Source) -> ImageFolder:
    """The plain driver: call the stage."""
    return stage(params, **inputs)


def folder_of(experiment: str) -> Path:
    """Where an experiment's results go: the demo's to data/demo, others' to the DVC project data/experiments."""
    return ROOT / "data" / "demo" if experiment == "demo" else ROOT / "data" / "experiments" / experiment


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
    loss = f"the loss finetune.perceptual = {experiment.finetune.perceptual}"
    needs: list[Callable[[], object]] = [
        partial(required, ROOT / experiment.prior.weights, "the prior"),
        partial(required, ROOT / experiment.restorer.weights, "the restorer"),
        *(partial(file.find, WEIGHTS, loss) for file in METRICS[experiment.finetune.perceptual].needs),
    ]
    folders = photo_folders(experiment.dataset)
    needs += [partial(discover, folder.path) for split in splits for folder in folders[split].values()]
    missing: list[str] = []
    if experiment.restorer.arch != "swinir":
        missing.append(
            f"restorer.arch is {experiment.restorer.arch!r}: it restores, but fine-tuning knows only 'swinir'."
        )
    for need in needs:
        try:
            need()
        except BadInput as error:
            missing.append(str(error))
    if missing:
        raise BadInput("\n".join(missing))


def photos(experiment: Experiment, work: Workspace) -> None:
    for split, folder in photo_folders(experiment.dataset).items():
        params = PhotosParams(seed=experiment.seed, dataset=experiment.dataset, split=split)
        work.make(f"photos/{split}", photos_stage, params, **folder)


def photo_folders(dataset: Dataset) -> dict[Split, dict[str, PhotoFolder]]:
    """What the stage `photos` reads for each split; nothing for procedural faces."""
    if dataset.kind == "portraits":
        return {"finetune": {}, "test": {}, "real": {}}
    hq, real = PhotoFolder(ROOT / dataset.hq), PhotoFolder(ROOT / dataset.real)
    return {"finetune": {"folder": hq}, "test": {"folder": hq}, "real": {"folder": real}}


def degrade(experiment: Experiment, work: Workspace) -> None:
    for name, degradation in experiment.degradations.items():
        params = DegradeParams(seed=experiment.seed, name=name, preset=degradation.preset, iso=degradation.iso)
        camera = {"camera": ROOT / degradation.camera} if degradation.camera else {}
        for split in ("finetune", "test"):
            work.make(f"lq/{name}/{split}", degrade_stage, params, hq=work[f"photos/{split}"], **camera)


def restore(experiment: Experiment, work: Workspace) -> None:
    params = RestoreParams(arch=experiment.restorer.arch, fidelity=experiment.restorer.fidelity)
    weights = ROOT / experiment.restorer.weights
    for name in experiment.degradations:
        for split in ("finetune", "test"):
            work.make(f"restored/{name}/{split}", restore_stage, params, lq=work[f"lq/{name}/{split}"], weights=weights)


def pseudo_targets(experiment: Experiment, work: Workspace) -> None:
    params = PseudoTargetParams(seed=experiment.seed, arch=experiment.prior.arch, settings=experiment.pseudo_targets)
    weights = ROOT / experiment.prior.weights
    splits = ("finetune", "test") if "pseudo_target" in experiment.methods else ("finetune",)
    for name in experiment.degradations:
        for split in splits:
            restored = work[f"restored/{name}/{split}"]
            work.make(
                f"pseudo_targets/{name}/{split}", pseudo_targets_stage, params, restored=restored, weights=weights
            )


def finetune(experiment: Experiment, work: Workspace) -> None:
    """No ground truth comes in here: LQ photos, their pseudo-targets, and unpaired HQ photos for the discriminator."""
    params = FineTuneParams(seed=experiment.seed, arch=experiment.restorer.arch, settings=experiment.finetune)
    for name in experiment.degradations:
        work.make(
            f"adapted_models/{name}",
            finetune_stage,
            params,
            lq=work[f"lq/{name}/finetune"],
            targets=work[f"pseudo_targets/{name}/finetune"],
            real=work["photos/real"],
            weights=ROOT / experiment.restorer.weights,
        )


def evaluate(experiment: Experiment, work: Workspace) -> None:
    params = RestoreParams(arch=experiment.restorer.arch, fidelity=experiment.restorer.fidelity)
    for name in experiment.degradations:
        weights = work[f"adapted_models/{name}"].path(ADAPTED_WEIGHTS)
        work.make(f"adapted/{name}", restore_stage, params, lq=work[f"lq/{name}/test"], weights=weights)
        for method in experiment.methods:
            work.make(
                f"scores/{name}/{method}",
                evaluate_stage,
                EvaluateParams(metrics=experiment.metrics),
                images=work[images_of(method, name)],
                hq=work["photos/test"],
                **metric_weights(experiment.metrics),
            )


def report(experiment: Experiment, work: Workspace) -> None:
    inputs: dict[str, Source] = {f"photos/{split}": work[f"photos/{split}"] for split in ("finetune", "test", "real")}
    for name in experiment.degradations:
        inputs[f"adapted_models/{name}"] = work[f"adapted_models/{name}"]
        for method in experiment.methods:
            inputs[f"images/{name}/{method}"] = work[images_of(method, name)]
            inputs[f"scores/{name}/{method}"] = work[f"scores/{name}/{method}"]
    params = ReportParams(
        name=work.root.name,
        title=experiment.title,
        settings=experiment.model_dump(mode="json", exclude={"published", "title"}),
        degradations=tuple(experiment.degradations),
        methods=experiment.methods,
        metrics=experiment.metrics,
        published=experiment.published,
    )
    made = work.make("report", report_stage, params, **inputs)
    shutil.copyfile(made.path("metrics.json"), work.root / "metrics.json")  # for `dvc metrics show`


def metric_weights(metrics: Iterable[str]) -> dict[str, Source]:
    """The weight files of the metrics that are there, as inputs: a file that appears or changes evaluates anew."""
    paths = {need.place: WEIGHTS / need.place for name in metrics for need in METRICS[name].needs}
    return {place: path for place, path in paths.items() if path.is_file()}


def images_of(method: str, degradation: str) -> str:
    """Name of the result that holds a method's images of the test split."""
    return {
        "lq": f"lq/{degradation}/test",
        "pretrained": f"restored/{degradation}/test",
        "pseudo_target": f"pseudo_targets/{degradation}/test",
        "adapted": f"adapted/{degradation}",
    }[method]


STEPS: Mapping[str, Callable[[Experiment, Workspace], None]] = {
    step.__name__: step for step in (photos, degrade, restore, pseudo_targets, finetune, evaluate, report)
}
