"""The command `bfr`: what it says, and how it ends."""

import json
import os
import subprocess
import sys

import pytest

from flows.cli import call
from flows.steps import STEPS
from tasks.basics import ROOT

COMMANDS = (
    *("adapt", "ballot", "compare", "cost", "demo", "diff", "fetch", "index", "personalize", "prune", "restore", "run"),
    *("serve", "stage", "tally", "train", "usage", "verify", "weights"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_that_fits_a_terminal_of_80_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert call([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: bfr {command}")
    assert max(map(len, text.splitlines())) <= 80


def test_the_help_lists_every_command(capsys):
    assert call(["--help"]) == 0
    listed = {line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("│ ")}
    assert set(COMMANDS) <= listed


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["rstore", "folder"], 2, 'Did you mean "restore"?'),
        (["prune", "--dys", "3"], 2, "Did you mean --days"),
        (["prune", "--days", "soon"], 2, "unable to convert"),
        (["restore", "folder", "--fit", "round"], 2, "crop"),
        (["restore"], 1, "Which photos?"),
        (["prune", "--days", "-1"], 2, "Must be >= 0"),
        (["personalize", "folder", "--album", "album", "--iterations", "0"], 2, "Must be > 0"),
        (["personalize", "folder", "--album", "album", "--start-t", "5000"], 2, "Must be <= 1000"),
        (["restore", "folder", "--masks", "masks"], 1, "'pretrained' of 'demo' does not fill holes"),
        (["run", "dmo"], 1, "Did you mean 'demo'?"),
        (["stage", "restor", "--experiment", "demo"], 1, "Did you mean 'restore'?"),
        (["fetch", "codeformer.pt"], 1, "Did you mean 'codeformer.pth'?"),
        (["restore", "/no/such/folder", "--method", "pretraind"], 1, "Did you mean 'pretrained'?"),
        (["ballot", "one", "--out", "x"], 1, "expected at least two NAME=FOLDER"),
    ],
)
def test_what_is_wrong_is_said_with_the_nearest_name_and_ends_as_documented(words, code, said, capsys):
    assert call(words) == code
    captured = capsys.readouterr()
    assert said in " ".join(captured.err.split()).replace(" │ │ ", " ")
    assert captured.out == ""


def test_an_interrupt_is_its_own_exit_code(monkeypatch, capsys):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.running.stage.default_store", interrupted)
    assert call(["usage"]) == 130
    assert capsys.readouterr().err.startswith("interrupted")


def test_results_for_programs_are_json(capsys):
    assert call(["usage", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {}
    assert call(["weights", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["codeformer.pth"]["licence"].startswith("S-Lab")


def test_the_stages_in_the_help_are_the_steps(capsys):
    call(["stage", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert ", ".join(STEPS) in text


def test_paths_are_those_of_the_caller(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(["restore", "photos", "--out", "restored"]) == 1
    assert f"{tmp_path / 'photos'} is not a folder" in capsys.readouterr().err
    assert call(["restore", "a/face.png", "b/face.png", "--out", "restored"]) == 1
    assert "Two of the photos have one name" in capsys.readouterr().err
    assert call(["diff", "old", "new", "--out", "page.html"]) == 1
    assert "old has no report" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "used"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")])
def test_waiting_threads_do_not_spin_unless_the_user_says_so(given, used):
    """OpenMP reads this when torch is loaded, so the command must not have loaded it before."""
    code = "import flows.cli, os, sys; assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | given
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, cwd=ROOT, text=True).strip() == used
