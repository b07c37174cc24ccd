"""The published places of results: where an experiment's, and where a user's go."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tasks.basics import ROOT, BadInput, Strict, checked_name
from tasks.running.stage import Source, Stage, default_store
from tasks.store.artifact import ImageFolder
from tasks.store.publish import publish

Run = Callable[..., ImageFolder]


TRAINED = "model.safetensors"  # what a stage that trains writes


OWN_FOLDERS = {"demo", "demo_store", "experiments", "published", "raw", "weights"}  # of data/, not for results of users


def run_here(stage: Stage, params: Strict, **inputs: Source) -> ImageFolder:
    """The plain driver: call the stage."""
    return stage(params, **inputs)


def folder_of(experiment: str) -> Path:
    """Where an experiment's results go: the demo's to data/demo, others' to the DVC project data/experiments."""
    return ROOT / "data" / "demo" if experiment == "demo" else ROOT / "data" / "experiments" / experiment


def user_folder(name: str) -> Path:
    """data/<name>, for the results of a user's photos. Raises BadInput for a name that leads elsewhere or is taken."""
    try:
        checked_name(name)
    except ValueError as error:
        raise BadInput(f"name: {error} (found: {name!r:.80})") from error
    if name in OWN_FOLDERS:
        raise BadInput(f"name: {name!r} is taken, as are {', '.join(sorted(OWN_FOLDERS - {name}))}. Choose another.")
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

    def __getitem__(self, name: str) -> ImageFolder:
        """An earlier result: of this run, else of the workspace folder (its copy in the store where there is one)."""
        if name not in self.results:
            published = ImageFolder(self.root / name)
            manifest = published.manifest
            stored = default_store().path(manifest.stage, manifest.key)
            self.results[name] = ImageFolder(stored) if default_store().has(manifest.stage, manifest.key) else published
        return self.results[name]
