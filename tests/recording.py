"""What the steps of an experiment ask for, without making it."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flows.steps import STEPS
from flows.workspace import Workspace
from tasks.params.experiment import Experiment
from tasks.params.load import load_experiment


class Anything(SimpleNamespace):
    """In place of a result: where its files would be."""

    def path(self, name: str) -> Path:
        return Path(__file__)


@dataclass
class Recording(Workspace):
    """A workspace that notes which stages are asked for, and makes none."""

    calls: list[tuple[Any, Any]] = field(default_factory=list)

    def make(self, at: str, stage: Any, params: Any, **inputs: Any) -> Any:
        self.calls.append((stage, params))
        return Anything()

    def finds(self, at: str, stage: Any, params: Any, **inputs: Any) -> bool:
        return False

    def __getitem__(self, name: str) -> Any:
        return Anything()


def calls_of(experiment: str, step: str, root: Path) -> list[tuple[Any, Any]]:
    """(stage, parameters) of everything that a step of an experiment asks for."""
    return asked_by(load_experiment(experiment), step, root)


def asked_by(experiment: Experiment, step: str, root: Path) -> list[tuple[Any, Any]]:
    """The same of settings."""
    work = Recording(root)
    work.run_stage = lambda stage, params, at, **inputs: work.make(at, stage, params)
    STEPS[step](experiment, work)
    return work.calls
