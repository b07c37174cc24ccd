"""The command `bfr`: what it says, and how it ends."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flows.cli import call
from flows.steps import STEPS
from flows.workspace import Workspace
from tasks.basics import ROOT
from tasks.store.files import write_json

COMMANDS = (
    *("adapt", "app", "ballot", "compare", "cost", "demo", "diff", "fetch", "index", "personalize", "prune"),
    *("restore", "run", "serve", "stage", "tally", "train", "usage", "verify", "weights"),
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
        (["restore", ""], 2, "a path is empty"),
        (["restore", "folder", "--out", ""], 2, "a path is empty"),
        (["adapt"], 1, "Which photos?"),
        (["adapt", "f", "--method", "swinr"], 1, "Did you mean 'swinir'?"),
        (["adapt", "--yes"], 1, "Which photos?"),
        (["adapt", "f", "--hq", "g"], 1, "hq: only aligned face crops have this"),
        (["adapt", "f", "--aligned", "--strength", "0.5", "--parsing"], 1, "strength, parsing: only whole photos"),
        (["personalize", "f", "--album", "a", "--method", "dmo"], 1, "Did you mean 'demo'?"),
        (["restore", "folder", "--masks", "m", "--fit", "aligned"], 1, "fit, masks: only aligned face crops"),
        (["restore", "f", "--aligned", "--upscale", "2"], 1, "upscale: only whole photos have this"),
        (["restore", "f", "--aligned", "--method", "gfpgan", "--fidelity", "0.7"], 1, "only CodeFormer has"),
        (["personalize", "f", "--album", "a", "--beside", "b"], 1, "beside: only aligned face crops"),
        (["personalize", "f", "--album", "a", "--aligned", "--keep-crops"], 1, "keep_crops: only whole photos"),
        (
            ["restore", "f", "--aligned", "--masks", "m", "--method", "demo"],
            1,
            "'demo' does not fill holes",
        ),
        (["restore", "f", "--experiment", "demo_inpainting"], 1, "fills holes and needs masks"),
        (["restore", "f", "--method", "demo", "--fidelity", "0.7"], 1, "only CodeFormer has"),
        (["restore", "f", "--upscale", "3"], 2, "1, 2, 4"),
        (["restore", "f", "--strength", "2"], 2, "Must be <= 1"),
        (["run", "dmo"], 1, "Did you mean 'demo'?"),
        (["stage", "restor", "--experiment", "demo"], 1, "Did you mean 'restore'?"),
        (["fetch", "codeformer.pt"], 1, "Did you mean 'codeformer.pth'?"),
        (["restore", "/no/such/folder", "--method", "gfpgn"], 1, "Did you mean 'gfpgan'?"),
        (["restore", "f", "--experiment", "demo", "--method", "pretraind"], 1, "Did you mean 'pretrained'?"),
        (["ballot", "one", "--out", "x"], 1, "expected at least two NAME=FOLDER"),
        (["ballot", "a=f", "a=g", "b=h", "--out", "x"], 1, "expected another NAME for each FOLDER"),
        (["ballot", "=f", "b=g", "--out", "x"], 1, "expected another NAME for each FOLDER"),
        (["ballot", "a=/no/such", "b=f", "--out", "x"], 1, "a: /no/such is not a folder"),
        (["ballot", "a=f", "b=g", "--out", "x", "--trials", "-3"], 2, "Must be > 0"),
        (["restore", "~nobody-at-all/f", "--method", "demo"], 1, "Write the whole path"),
        (["diff", "old", "new", "--out", "x" * 300], 1, "File name too long"),
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
    assert listed["files"]["codeformer.pth"]["licence"].startswith("S-Lab")
    assert listed["lacking"]["difbfsr"]["RestoreFormer++.ckpt"] == 294_028_815
    assert listed["lacking"]["difface_celeba_test"]["difface/srcnn.safetensors"] == "bfr train difface/srcnn"


def test_what_an_experiment_lacks_counts_its_checks_and_fits_a_terminal(capsys, monkeypatch):
    """IDM's cleaning is scored by NIMA, its downstream test by FID; many experiments of a paper lack the same files."""
    monkeypatch.setenv("COLUMNS", "80")
    assert call(["weights"]) == 0
    lines = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "gen2res, gen2res_k, gen2res_skip lack 3 files, about 594 MiB and 1 of unknown size: base_256.pt, " in text
    idm = text[text.index("idm, idm_clean_test lack 9 files") :]
    for name in ("hub/pyiqa/musiq_koniq_ckpt", "hub/pyiqa/NIMA_InceptionV2_ava", "hub/checkpoints/pt_inception"):
        assert name in idm


def test_several_photos_are_personalized_each_to_a_folder_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = []

    def ready_crops(album: str, folder: str, *settings: Any) -> tuple[str | None, None]:
        asked.append((album, folder, settings[-2]))
        return settings[-2], None

    def personalize(out: str | None, folder: str) -> Workspace:
        work = Workspace(Path(out or f"{folder}_personal"))
        work.place("report").mkdir(parents=True)
        write_json(work.place("report/findings.json"), {"photos": Path(folder).name})
        return work

    monkeypatch.setattr("flows.personalize.ready_crops", ready_crops)
    monkeypatch.setattr("flows.personalize.personalize", personalize)
    assert call(["personalize", "a.png", "trip", "--album", "album", "--aligned", "--out", "out"]) == 0
    assert call(["personalize", "a.png", "b.png", "--album", "album", "--aligned", "--json"]) == 0
    album, photos = str(tmp_path / "album"), [str(tmp_path / name) for name in ("a.png", "trip", "a.png", "b.png")]
    outs = [str(tmp_path / "out" / "a.png"), str(tmp_path / "out" / "trip"), None, None]
    assert asked == [(album, photo, out) for photo, out in zip(photos, outs, strict=True)]
    said = capsys.readouterr().out
    assert said.startswith("photos: a.png\n")
    assert f"Photos: {outs[0]}/photos\nphotos: trip\n" in said
    found = json.loads(said[said.index("{") :])["results"]
    assert [one["photos"] for one in found] == [f"{photo}_personal/photos" for photo in photos[2:]]
    assert call(["personalize", "--album", "album"]) == 1


def test_names_that_are_no_text_and_readers_that_stop_are_no_error():
    words = "from types import SimpleNamespace as Some; from flows import cli; from flows.command import Result; "
    words += "done = (lambda: Result('\\udcff∞'), Some(arguments={}, args=(), kwargs={}), None); "
    words += "cli.app = Some(parse_args=lambda *_, **__: done); cli.main()"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    run = partial(subprocess.run, [sys.executable, "-c", words], cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    done = run(stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, rb"\udcff\u221e" + b"\n", b"")
    read, write = os.pipe()
    os.close(read)
    done = run(stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_file_or_a_pipe_gets_no_progress_bars():
    words = "from flows.command import PLAIN; PLAIN.apply(); "
    words += "from tasks.running.progress import track; list(track(range(3), 'photos'))"
    done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, check=True)
    assert done.stderr == b""


def test_the_stages_in_the_help_are_the_steps(capsys):
    call(["stage", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert ", ".join(STEPS) in text


def test_paths_are_those_of_the_caller(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(["restore", "photos", "--out", "restored", "--method", "demo"]) == 1
    assert f"{tmp_path / 'photos'} is not there" in capsys.readouterr().err
    assert call(["restore", "a/face.png", "b/face.png", "--out", "restored", "--aligned"]) == 1
    assert "Two of the photos have one name" in capsys.readouterr().err
    for name in ("face.png", "face.jpg"):
        (tmp_path / name).touch()
    assert call(["restore", "face.png", "face.jpg", "--aligned"]) == 1
    assert "Two of the photos have one name" in capsys.readouterr().err
    assert call(["diff", "old", "new", "--out", "page.html"]) == 1
    assert "old has no report" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "used"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")])
def test_waiting_threads_do_not_spin_unless_the_user_says_so(given, used):
    """OpenMP reads this when torch is loaded, so the command must not have loaded it before."""
    code = "import flows.cli, os, sys; assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | given
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, cwd=ROOT, text=True).strip() == used
