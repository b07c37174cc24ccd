"""dvc.yaml names what the steps run: whatever a result's key covers is a dependency of its DVC stage."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from flows.steps import STEPS
from flows.workspace import Workspace
from tasks.basics import ROOT
from tasks.params.load import load_experiment
from tasks.store.keys import code_of, data_of

ALWAYS = {"flows/steps.py", "flows/rows.py", "tasks/store/keys.py"}  # the wiring, and what keys are made of


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

    def __getitem__(self, name: str) -> Any:
        return Anything()


def code_of_step(name: str, root: Path) -> set[str]:
    """The files, relative to the repository, that a step of the demo computes with."""
    work = Recording(root)
    work.run_stage = lambda stage, params, **inputs: work.make("", stage, params)
    STEPS[name](load_experiment("demo"), work)
    found = set()
    for stage, params in work.calls:
        for module in code_of(stage.make.__module__, params):
            found.add(module.replace(".", "/") + ".py")
            found |= {path.relative_to(ROOT).as_posix() for path in data_of(module)}
    return found


@pytest.mark.parametrize("name", STEPS)
def test_what_a_key_covers_is_a_dependency(name, tmp_path):
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][name]["do"]["deps"]
    files = [dep for dep in deps if not dep.startswith("data/")]
    missing = [dep for dep in files if not (ROOT / dep).exists()]
    needed = code_of_step(name, tmp_path) | ALWAYS
    uncovered = [path for path in needed if not any(path == dep or path.startswith(f"{dep}/") for dep in files)]
    assert (missing, sorted(uncovered)) == ([], [])
