"""dvc.yaml names what the steps run: whatever a result's key covers is a dependency of its DVC stage.

And DVC deletes no results for an experiment that cannot run.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from chromium import in_chromium
from recording import asked_by, calls_of

from flows.publishing import FOLLOWED, follow
from flows.rows import OWN
from flows.steps import STEPS
from tasks.basics import ROOT
from tasks.params.experiment import Experiment
from tasks.params.load import load
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


@pytest.mark.parametrize("name", [name for name in STEPS if name != "report"])  # it has them all
def test_what_a_step_reads_of_the_settings_is_a_parameter(name, tmp_path, monkeypatch):
    """Of any experiment: so the demo's stages stay right when somebody adds a method, a cleaning, a reference set."""
    named = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][name]["do"]["params"]
    listed = {key.removeprefix("experiments.${item}").removeprefix(".") for key in named}
    experiments, read = load().experiments, set()

    def noted(self: Experiment, field: str) -> object:
        if field in Experiment.model_fields:
            read.add(field)
        return object.__getattribute__(self, field)

    for row in OWN.values():
        monkeypatch.setattr(row, "sections", ())  # whether they are there at all
    with monkeypatch.context() as context:
        context.setattr(Experiment, "__getattribute__", noted, raising=False)
        for number, experiment in enumerate(experiments.values()):
            asked_by(experiment, name, tmp_path / str(number))
    assert read - listed == set()


def test_dvc_finds_every_parameter_that_a_stage_names():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    named = {key.replace("${item}", "demo") for stage in stages for key in stage["do"]["params"]}
    demo = {f"experiments.demo.{key}" for key in params["experiments"]["demo"]}
    assert named - demo == {"experiments.demo"}, "`dvc repro` stops at a parameter that is not written down"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["photos", "finetune", "report"])
def test_dvc_deletes_no_results_for_an_experiment_that_cannot_run(name, tmp_path):
    for folder in ("flows", "tasks", "data/published", "data/weights"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for file in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / file, tmp_path)
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    params["experiments"]["demo"]["finetune"]["lrr"] = 1
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    places = [
        place.replace("${item}", "demo") for stage in stages.values() for out in stage["do"]["outs"] for place in out
    ]
    results = [tmp_path / place / "result.txt" for place in places] + [tmp_path / "data" / "demo" / "metrics.json"]
    for result in results:
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_text("of an hour's work")
    tools = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(tmp_path)}
    environment.pop("BFR_STORE", None)

    def dvc(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([tools / "dvc", *words], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert dvc("init", "--no-scm").returncode == 0
    done = dvc("repro", "--single-item", f"{name}@demo")
    assert done.returncode
    assert "experiments.demo.finetune.lrr: unknown key" in done.stdout + done.stderr
    assert all(result.read_text() == "of an hour's work" for result in results)


@pytest.mark.slow
def test_collecting_garbage_in_one_project_leaves_the_results_of_the_other(tmp_path):
    """`dvc gc -w` at the top keeps what the demo needs, and the papers' results are not among it."""
    others = tmp_path / "data" / "experiments"
    for folder in (tmp_path, others):
        (folder / ".dvc").mkdir(parents=True)
        shutil.copy(ROOT / folder.relative_to(tmp_path) / ".dvc" / "config", folder / ".dvc" / "config")
        (folder / "result.txt").write_text(f"of {folder.name}")
        dvc(folder, "config", "core.no_scm", "true")
        dvc(folder, "add", "result.txt")
    dvc(tmp_path, "gc", "--workspace", "--force")
    (others / "result.txt").unlink()
    dvc(others, "checkout")
    assert (others / "result.txt").read_text() == "of experiments"


@pytest.mark.slow
def test_dvc_shows_the_experiments_that_it_follows_and_no_others(tmp_path):
    """`dvc status` and `exp show` of the papers' project are about what was run; nothing else fills them."""
    shutil.copytree(ROOT / "data" / "published", tmp_path / "published")
    others = tmp_path / "experiments"
    (others / ".dvc").mkdir(parents=True)
    for name in (".dvc/config", "dvc.yaml", "demo_inpainting.yaml", "idm.yaml"):
        shutil.copy(ROOT / "data" / "experiments" / name, others / name)
    (others / FOLLOWED).write_text('{"followed": []}')
    dvc(others, "config", "core.no_scm", "true")
    assert "no data or pipelines tracked" in dvc(others, "status")
    follow("demo_inpainting", others / FOLLOWED)
    follow("demo_inpainting", others / FOLLOWED)
    assert json.loads((others / FOLLOWED).read_text()) == {"followed": ["demo_inpainting"]}
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for out in (out for stage in stages.values() for out in stage["do"]["outs"]):
        (others / next(iter(out)).replace("data/${item}", "demo_inpainting")).mkdir(parents=True)
    (others / "demo_inpainting" / "metrics.json").write_text("{}")
    (others / "demo_inpainting" / "plots.csv").write_text("")
    dvc(others, "commit", "--force", *(f"{step}@demo_inpainting" for step in STEPS))
    wanted = [line for step in STEPS for line in (f"{step}@demo_inpainting:", "\talways changed")]
    assert dvc(others, "status").splitlines() == wanted


def dvc(folder: Path, *words: str) -> str:
    """What a DVC command says. Fails where it fails."""
    command = [Path(sys.executable).with_name("dvc"), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plots(tmp_path_factory) -> Path:
    """The page that `dvc plots show` writes in the papers' project, of two experiments and a file of the user's."""
    folder = tmp_path_factory.mktemp("plots")
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    others = folder / "data" / "experiments"
    (others / ".dvc").mkdir(parents=True)
    for name in (".dvc/config", "dvc.yaml"):
        shutil.copy(ROOT / "data" / "experiments" / name, others / name)
    (others / FOLLOWED).write_text('{"followed": ["ours", "theirs"]}')
    for name, psnr in {"ours": 20, "theirs": 10}.items():
        (others / name).mkdir()
        rows = [f"PSNR,mild,lq,{psnr}", "PSNR,hard,lq,5", f"SSIM,mild,{name},0.5", "losses,1,l1,0.5", "losses,2,l1,0.2"]
        (others / name / "plots.csv").write_text("\n".join(["plot,x,line,value", *rows]))
    (others / "mine").mkdir()
    (others / "mine" / "speed.csv").write_text("n,speed\n1,3\n2,4\n")
    own = {"plots": [{"speed": {"x": "n", "y": {"speed.csv": ["speed"]}}}]}
    (others / "mine" / "dvc.yaml").write_text(yaml.safe_dump(own))
    dvc(others, "config", "core.no_scm", "true")
    dvc(others, "plots", "show", "--out", "page")
    return others / "page" / "index.html"


@pytest.mark.slow
def test_the_page_of_plots_needs_no_network(plots):
    page = plots.read_text()
    assert '"value": "0.2"' in page
    assert not re.findall("(?:src|href)=", page), "no script of another place"


@pytest.mark.slow
@in_chromium
def test_metrics_are_drawn_over_degradations_and_experiments_and_losses_over_steps(plots, browser):
    page = browser.new_page()
    page.goto(plots.as_uri())
    shown = page.locator("h2, h3, li").all_inner_texts()
    own = ["PSNR", "lq", "SSIM"]
    at = shown.index("Over experiments")
    assert sorted(shown[:at]) == sorted(
        ["ours", *own, "ours", "losses", "l1", "theirs", *own, "theirs", "losses", "l1", "speed", "", "speed"]
    )
    assert shown[at + 1 :] == ["PSNR, mild", "lq", "PSNR, hard", "lq", "SSIM, mild", "ours", "theirs"]
    texts = page.locator("svg").nth(-3).locator("text").all_text_contents()
    assert sorted(texts) == sorted(["ours", "theirs", "10", "20"])
