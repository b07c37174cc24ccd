"""What is written twice says the same: README, Makefile, DVC files, Prefect deployments, constraints."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import steps
from flows.steps import STEPS
from tasks.basics import ROOT
from tasks.nodes import NODES
from tasks.running.stage import Stage

DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "data/README.md",
    "data/experiments/README.md",
    "docs/fidelity.md",
    "docs/performance.md",
]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def stages(name: str) -> dict[str, Any]:
    return yaml.safe_load(text(name))["stages"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_make_targets_exist(document):
    words = text(document)
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", words):
        assert ((ROOT / document).parent / target).exists(), target
    targets = re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE)
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", words, re.MULTILINE):
        assert target in targets


def test_dvc_stages_are_the_steps_and_the_other_experiments_have_the_same_ones():
    demo, others = stages("dvc.yaml"), stages("data/experiments/dvc.yaml")
    assert list(demo) == list(others) == list(STEPS)
    for name in demo:
        ours, theirs = demo[name]["do"], others[name]["do"]
        assert theirs["cmd"] == f"cd ../.. && {ours['cmd']}"
        assert theirs["params"] == [{"${item}.yaml": None}]  # all of it: some have not every section
        for kind in ("outs", "metrics", "plots"):
            places = [
                {place.replace("data/${item}", "${item}", 1): how for place, how in out.items()}
                for out in ours.get(kind, [])
            ]
            assert theirs.get(kind, []) == places
            assert all(how["persist"] for place in places for how in place.values()), "an error costs no results"
        results = [dep.replace("data/${item}", "${item}", 1) for dep in ours["deps"] if dep.startswith("data/${item}")]
        assert theirs.get("deps", []) == (["../published"] if name == "report" else []) + results
        assert ("data/published" in ours["deps"]) == (name == "report")


def test_dvc_has_stages_for_the_experiments_that_it_follows():
    demo, others = (stages(name)["photos"]["foreach"] for name in ("dvc.yaml", "data/experiments/dvc.yaml"))
    assert (demo, others) == (["demo"], "${followed}")


def test_every_step_runs_stages_that_have_a_prefect_task():
    assert {stage.name for stage in vars(steps).values() if isinstance(stage, Stage)} <= set(NODES)


def test_the_constraints_pin_every_dependency_and_name_no_address():
    pins = {
        line.partition("==")[0].lower().replace("_", "-") for line in text("constraints.txt").split() if "==" in line
    }
    assert "://" not in text("constraints.txt")
    project = tomllib.loads(text("pyproject.toml"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=,\[ ]", need)[0].lower().replace("_", "-") for need in wanted}
    assert names <= pins


@pytest.mark.parametrize("target", ["demo", "test"])
def test_a_zip_of_the_repository_says_that_git_is_missing_and_how_to_go_on(target, tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}

    def make() -> subprocess.CompletedProcess[str]:
        words = ["make", target, "PYTHON=false"]  # it would go on with Python
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)

    done = make()
    assert done.returncode
    assert "git init" in done.stderr
    assert "git clone" in done.stderr
    assert "false -c" not in done.stdout + done.stderr
    assert not (tmp_path / ".venv").exists()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert "git init" not in make().stderr


def test_results_are_not_offered_to_git():
    kept = ["data/demo/metrics.json", "data/experiments/dt_bfr_swinir/metrics.json", "data/experiments/dvc.yaml"]
    kept += ["data/experiments/mine.yaml", "data/weights/mine/prior.yaml"]
    made = [f"{Path(place).parent}/{step}/a/b.png" for place in kept[:2] for step in STEPS]
    done = subprocess.run(["git", "check-ignore", *kept, *made], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == made
