"""`bfr adapt` and `bfr personalize` on whole photos: rendered heads in drawn backgrounds, a tiny demo."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faces.drawn import Head, draw
from PIL import Image

from flows import adapt as adapting
from flows import cost, personalize
from flows.adapt import adapt_photos
from flows.cli import call
from flows.personalize import Tuning, personalize_photos
from flows.restore import restore
from flows.whole_photos import Options, Outcome
from tasks.basics import BadInput
from tasks.data.original import read_original
from tasks.params.load import load_experiment
from tasks.running.stage import default_store
from tasks.stages import finetune, report
from tasks.store.artifact import ImageFolder

TUNING = Tuning(iterations=1, batch=1, respacing=10)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """One store for all of these tests: most of them want what the first one made."""
    return tmp_path_factory.mktemp("shared") / "store"


@pytest.fixture(autouse=True)
def tiny(monkeypatch, shared):
    """The demo with little to do; nothing is timed."""
    monkeypatch.setenv("BFR_STORE", str(shared))
    demo = load_experiment("demo")
    changes = {
        "dataset": demo.dataset.model_copy(update={"size": 64, "real": 3}),
        "finetune": demo.finetune.model_copy(update={"iterations": 2, "batch": 2, "micro_batch": 2}),
        "pseudo_targets": demo.pseudo_targets.model_copy(update={"respacing": "5"}),
    }
    for module in (adapting, personalize):
        monkeypatch.setattr(module, "load_experiment", lambda name: demo.model_copy(update=changes))
    monkeypatch.setattr(cost.Timed, "speed", cost.Speed(0.5, 0.0))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    (folder / "1927").mkdir(parents=True)
    two, _ = draw([Head(3, 150, 90, 95), Head(8, 90, 260, 110, 12)], 340, 200)
    Image.fromarray(two).save(folder / "two.jpg", quality=95)
    Image.fromarray(draw([Head(5, 140, 100, 90, -8)], 220, 190)[0]).save(folder / "1927" / "one.png")
    Image.fromarray(draw([], 120, 90)[0]).save(folder / "none.webp")
    (folder / "empty.png").touch()
    return folder


def adapted(album: Path, out: Path, **options: object) -> Outcome:
    return adapt_photos([album], str(out), "demo", Options(), **options)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.name != "manifest.json"}


def test_whole_photos_are_adapted_to_pasted_back_and_judged_without_ground_truth(album, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    out = tmp_path / "out"
    done = adapted(album, out)
    assert done.line.startswith(
        "2 photos restored, 3 faces, 1 without a face to restore (kept as they are), 1 set aside"
    )
    assert names(out / "photos") == {"two.jpg", "1927/one.png", "none.webp"}
    before, after = (read_original(root / "1927" / "one.png").pixels for root in (album, out / "photos"))
    changed = (before != after).any(2)
    assert changed[70:110, 80:120].mean() > 0.5
    assert not changed[:, 180:].any()
    assert {path.name for path in out.iterdir()} == {"photos", "faces", "model", "report", "details"}
    told = json.loads((out / "faces" / "faces.json").read_text())["photos"]
    assert told["two.jpg"]["faces"][0]["done"] == "restored by SwinIR, adapted"
    table = pd.read_csv(out / "report" / "results.csv")
    measured = {"psnr_input", "lpips_seeded_input", "brisque", "piqe", "sharpness", "fid_seeded@real"}
    assert set(table["metric"]) == measured
    assert set(table[table["metric"] == "psnr_input"]["method"]) == {"pretrained", "pseudo_target", "adapted"}
    text = (out / "report" / "results.md").read_text(encoding="utf-8")
    assert "arcface_resnet18.pth is missing" in text
    assert "FID (seeded) to rendered heads" in text
    shown = re.search(r'id="found">(.*?)</script>', (out / "report" / "browse.html").read_text(encoding="utf-8"))
    assert len(json.loads(shown[1])["scores"]["photos"]) == 3
    said = caplog.text
    assert "3 faces in 3 photos" in said
    assert "finetune: 4 x 1 x 0.5 s" in said
    weights = str(out / "model" / "model.safetensors")
    again = restore(str(out / "details" / "lq"), weights=weights, out=str(tmp_path / "again"))
    assert len(list((again.root / "photos").glob("*.png"))) == 3
    with pytest.raises(BadInput, match="holds a model of `bfr adapt`"):
        restore(str(album), out=str(out))
    caplog.clear()
    adapted(album, out)
    assert "No network has anything to do" in caplog.text


def test_a_dry_run_says_what_would_be_done_and_does_nothing(album, tmp_path, caplog, capsys):
    caplog.set_level(logging.INFO)
    out = tmp_path / "out"
    assert (
        call(["adapt", str(album), "-o", str(out), "--method", "demo", "--iterations", "100", "--dry-run", "--json"])
        == 0
    )
    assert "finetune: 200 x 1 x 0.5 s" in caplog.text
    plan = json.loads(capsys.readouterr().out)
    assert (plan["photos"], plan["faces"], plan["iterations"]) == (3, 3, 100)
    assert plan["set_aside"]["empty.png"].startswith("empty file")
    assert plan["parts"]["finetune"] == {"images": 200, "evaluations": 1, "seconds": 100.0}
    assert plan["seconds"] == sum(part["seconds"] for part in plan["parts"].values())
    assert plan["writes"]["model"] == str(out / "model")
    assert not plan["is_rough"]
    assert not out.exists()
    assert not list((default_store().root / "tmp").iterdir())


def test_a_fast_adaptation_plans_fewer_evaluations_and_the_same_training(album, tmp_path, capsys, monkeypatch):
    tiny = adapting.load_experiment("demo")
    usual = tiny.model_copy(update={"pseudo_targets": tiny.pseudo_targets.model_copy(update={"respacing": "250"})})
    monkeypatch.setattr(adapting, "load_experiment", lambda name: usual)
    plans = []
    for more in ([], ["--fast"]):
        command = ["adapt", str(album), "-o", str(tmp_path / "out"), "--method", "demo", "--dry-run", "--json"]
        assert call([*command, *more]) == 0
        plans.append(json.loads(capsys.readouterr().out))
    usual_plan, fast_plan = plans
    few = fast_plan["parts"].pop("pseudo_targets")
    many = usual_plan["parts"].pop("pseudo_targets")
    assert few["images"] == many["images"] == 3
    assert many["evaluations"] == 75
    assert 3 * few["evaluations"] <= many["evaluations"]
    assert fast_plan["parts"] == usual_plan["parts"]
    assert fast_plan["seconds"] < usual_plan["seconds"]


def test_the_report_counts_the_evaluations_of_a_fast_adaptation():
    demo = load_experiment("demo")
    usual, fast = (adapting.Changes(is_fast=is_fast).made_to(demo) for is_fast in (False, True))
    assert usual == demo
    targets = [{row.name: row for row in adapting.rows(each)}["pseudo_target"] for each in (usual, fast)]
    assert [row.evaluations for row in targets] == [1 + 15, 1 + fast.pseudo_targets.evaluations]


@pytest.mark.parametrize("module", [finetune, report])
def test_an_adaptation_that_fails_leaves_nothing_half_done(album, tmp_path, monkeypatch, module):
    def fail(*_: object, **__: object) -> None:
        raise BadInput("no room")

    monkeypatch.setattr(module, "session_of" if module is finetune else "write_report", fail)
    with pytest.raises(BadInput, match="no room"):
        adapted(album, tmp_path / "another", changes=adapting.Changes(iterations=1 if module is finetune else None))
    assert not (tmp_path / "another").exists()


def test_photos_without_a_face_are_no_album(tmp_path):
    Image.fromarray(np.full((90, 90, 3), 90, np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(BadInput, match=r"No face of 20 pixels or more was found in 1 photo: .*a\.png\."):
        adapted(tmp_path / "a.png", tmp_path / "out")


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Three clean faces."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed, height in ((11, 95), (12, 110), (13, 80)):
        Image.fromarray(draw([Head(seed, 130, 90, height)], 220, 190)[0]).save(folder / f"{seed}.png")
    return folder


def test_one_s_own_real_photos_take_the_place_of_the_experiment_s_and_are_named(album, clean, tmp_path):
    out = tmp_path / "out"
    done = adapted(album, out, real=[clean])
    text = (done.root / "report" / "results.md").read_text(encoding="utf-8")
    assert "FID (seeded) to real photos in scans ↓ (3 images" in text
    assert "rendered heads" not in text
    assert len(ImageFolder(out / "details" / "real").ids) == 3
    with pytest.raises(BadInput, match="lie in one another"):
        adapted(album, clean / "out", real=[clean])
    with pytest.raises(BadInput, match=r"No face of 20 pixels or more was found in 1 photo: .*none\.webp"):
        adapted(album, tmp_path / "other", real=[album / "none.webp"])


def test_crops_are_adapted_to_in_rounds(clean, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    once = adapting.load_experiment("demo")
    twice = once.model_copy(update={"finetune": once.finetune.model_copy(update={"rounds": 2})})
    monkeypatch.setattr(adapting, "load_experiment", lambda name: twice)
    ready = adapting.ready_crops(str(clean), out=str(tmp_path / "out"))
    assert ready.plan.counts["iterations"] == 4
    assert "finetune: 8 x 1 x 0.5 s" in caplog.text
    adapting.adapt(ready, str(clean))
    rounds = tmp_path / "out" / "details" / "rounds"
    assert {path.relative_to(rounds).as_posix() for path in rounds.glob("*/*")} == {
        "1/model",
        "2/restored",
        "2/pseudo_targets",
    }
    first, last = (ImageFolder(folder).manifest for folder in (rounds / "1" / "model", tmp_path / "out" / "model"))
    assert last.inputs["weights"] == first.files["model.safetensors"].sha256


def test_an_adaptation_with_other_settings_says_before_and_after_that_it_replaces_the_results(clean, tmp_path, caplog):
    out = str(tmp_path / "out")
    for iterations in (2, 2, 1):
        assert "replaced" not in caplog.text
        ready = adapting.ready_crops(str(clean), out=out, changes=adapting.Changes(iterations))
        before = f"The model of an earlier run in {out} will be replaced: another --out keeps it." in caplog.text
        assert before == (iterations == 1)
        adapting.adapt(ready, str(clean))
    assert f"The results in {out}, of another method, seed, weights or settings, were replaced." in caplog.text


def test_faces_that_would_be_enlarged_over_twice_are_no_clean_ones():
    assert adapting.for_real(Options(max_faces=1, only_center=True), 512) == Options(min_face=128)
    assert adapting.for_real(Options(min_face=200), 512).min_face == 200


def test_crops_are_adapted_with_one_s_own_real_crops(clean, tmp_path):
    (tmp_path / "crops").mkdir()
    for seed in (3, 5):
        Image.fromarray(draw([Head(seed, 32, 32, 40)], 64, 64)[0]).save(tmp_path / "crops" / f"{seed}.png")
    crops = str(tmp_path / "crops")
    ready = adapting.ready_crops(crops, experiment="demo", out=str(tmp_path / "out"), real=str(clean))
    made = adapting.adapt(ready, crops)
    text = (made.root / "report" / "results.md").read_text(encoding="utf-8")
    assert "FID (seeded) to real photos in scans ↓ (3 images" in text


def test_whole_photos_are_restored_for_the_person_of_an_album(album, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    photo = tmp_path / "old.png"
    Image.fromarray(draw([Head(5, 130, 90, 95)], 200, 190, 3)[0]).save(photo)
    done = personalize_photos([album], [photo], str(tmp_path / "out"), "demo", TUNING, Options())
    assert done.line.startswith("1 photo restored, 1 face →")
    assert names(tmp_path / "out" / "photos") == {"old.png"}
    assert len(ImageFolder(tmp_path / "out" / "details" / "album").ids) == 2, "the largest face of each photo"
    assert "2 faces in the album, 1 to restore" in caplog.text
    assert "--iterations 5000 --respacing 1000" in caplog.text
    assert "arcface_resnet18.pth is missing" in caplog.text
    assert (tmp_path / "out" / "report" / "report.html").is_file()
    caplog.clear()
    personalize_photos([album], [photo], str(tmp_path / "out"), "demo", TUNING, Options())
    assert "No network has anything to do" in caplog.text


def test_a_dry_run_of_a_personalisation_says_its_plan_and_does_nothing(album, tmp_path, capsys):
    out = tmp_path / "out"
    command = [
        "personalize",
        str(album / "1927" / "one.png"),
        "--album",
        str(album),
        "-o",
        str(out),
        "--method",
        "demo",
    ]
    assert call([*command, "--iterations", "10", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["album"], plan["photos"], plan["faces"], plan["iterations"]) == (2, 1, 1, 10)
    assert plan["seconds"] == sum(part["seconds"] for part in plan["parts"].values()) > 0
    assert plan["set_aside"]["empty.png"].startswith("empty file")
    assert plan["writes"]["model"] == str(out / "model")
    assert not out.exists()
