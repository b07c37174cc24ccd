"""dvc.yaml names what the steps run: whatever a result's key covers is a dependency of its DVC stage."""

from pathlib import Path

import pytest
import yaml
from recording import calls_of

from flows.steps import STEPS
from tasks.basics import ROOT
from tasks.store.keys import code_of, data_of

ALWAYS = {"flows/steps.py", "flows/rows.py", "tasks/store/keys.py"}  # the wiring, and what keys are made of


def code_of_step(name: str, root: Path) -> set[str]:
    """The files, relative to the repository, that a step of the demo computes with."""
    found = set()
    for stage, params in calls_of("demo", name, root):
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
