"""The pipeline end to end, on a tiny experiment: what reruns, and what is never read."""

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import tiny_of

from flows import steps
from flows.cost import estimate
from flows.preflight import check
from flows.restore import restore as restore_photos
from flows.rows import rows_of
from flows.steps import STEPS
from flows.workspace import Workspace
from tasks.basics import BadInput
from tasks.data.ingest import PhotoFolder
from tasks.params.experiment import Experiment
from tasks.params.load import load
from tasks.running.stage import default_store
from tasks.stages import train as train_stage
from tasks.stages.ingest import IngestParams, ingest

ORDER = list(STEPS)
CROP = IngestParams(size=64, fit="crop")


@pytest.fixture
def tiny() -> dict[str, Any]:
    return tiny_settings()


def tiny_settings() -> dict[str, Any]:
    return tiny_of(load().experiments["demo"].model_dump(mode="json"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The store of a whole run of the tiny experiment."""
    store = tmp_path_factory.mktemp("finished") / "store"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BFR_STORE", str(store))
        run(tiny_settings())
    return store


@pytest.fixture
def warm(tiny, finished, store_folder) -> dict[str, Any]:
    """The tiny experiment, with all that it makes in the test's store already."""
    shutil.copytree(finished, store_folder)
    return tiny


def run(settings: dict[str, Any], upto: str = "report") -> Workspace:
    experiment, work = Experiment.model_validate(settings), Workspace(workspace_folder())
    for name in ORDER[: ORDER.index(upto) + 1]:
        STEPS[name](experiment, work)
    return work


def workspace_folder() -> Path:
    return default_store().root.parent / "data" / "tiny"


def forget_all_but(*kept: str) -> None:
    """Remove what was published, and from the store every result but those of the stages `kept`."""
    shutil.rmtree(workspace_folder(), ignore_errors=True)
    for folder in default_store().root.iterdir():
        if folder.is_dir() and folder.name.partition(".")[0] not in kept:
            shutil.rmtree(folder)


def built() -> dict[str, int]:
    """How many results of each stage are in the store."""
    return {folder.name: len(list(folder.glob("*/manifest.json"))) for folder in default_store().root.iterdir()}


def test_every_stage_runs_and_the_results_say_what_was_measured(warm):
    work = run(warm)
    table = pd.read_csv(work.root / "report" / "results.csv")
    methods = ["lq", "pretrained", "pseudo_target", "adapted"]
    measured = table[table["metric"] != "musiq"]
    assert set(measured["method"]) == set(methods)
    assert set(measured["metric"]) == {"psnr", "ssim", "lpips_seeded", "fid_seeded"}
    assert measured["mean"].notna().all()
    page = (work.root / "report" / "report.html").read_text(encoding="utf-8")
    assert "LPIPS (seeded)" in page
    assert "musiq" in page.lower()
    assert json.loads((work.root / "metrics.json").read_text())
    for method, folder in zip(
        methods,
        ("lq/noise/test", "restored/noise/test", "pseudo_targets/noise/test", "compared/noise/adapted"),
        strict=True,
    ):
        hq, images = work["photos/test"], work[folder]
        psnr = [10 * np.log10(1 / np.mean((hq.batch([i]) - images.batch([i])).numpy() ** 2)) for i in hq.ids]
        row = measured[(measured["method"] == method) & (measured["metric"] == "psnr")]
        assert row["mean"].item() == pytest.approx(np.mean(psnr), abs=1e-3)


def test_a_second_run_makes_nothing_and_a_changed_setting_only_what_depends_on_it(tiny, finished, store_folder):
    experiment = Experiment.model_validate(tiny)
    assert estimate(experiment, workspace_folder())
    shutil.copytree(finished, store_folder, dirs_exist_ok=True)  # the estimate has noted this machine's speed there
    first = built()
    run(tiny)
    assert estimate(experiment, workspace_folder()) == []
    run(tiny)
    assert built() == first
    run(tiny | {"finetune": tiny["finetune"] | {"lr": 5e-5}})
    second = built()
    new = {stage: second[stage] - first[stage] for stage in second if second[stage] != first[stage]}
    once = ("finetune", "restore", "restore.shard", "measure", "evaluate", "evaluate.shard", "report")
    assert new == dict.fromkeys(once, 1)
    run(tiny)
    assert built() == second
    shutil.rmtree(default_store().root)  # as after a clone and a `dvc pull`
    run(tiny)
    assert not list((default_store().root / "timings").glob("*.json")), "what is published is taken, not made"


def test_a_second_round_goes_on_from_the_first_with_targets_of_what_that_restores(warm):
    first = run(warm, "finetune")
    model, targets, before = first["adapted_models/noise"], first["pseudo_targets/noise/finetune"], built()
    rounds = warm | {"finetune": warm["finetune"] | {"rounds": 2}}
    work = run(rounds, "finetune")
    at = "adapted_models/noise.rounds"
    assert {name for name in work.results if name.startswith(at)} == {
        f"{at}/1/model",
        f"{at}/2/restored",
        f"{at}/2/pseudo_targets",
    }
    assert work[f"{at}/1/model"].root == model.root, "one round is the first of two"
    new = {stage: count - before[stage] for stage, count in built().items() if count != before[stage]}
    once = ("finetune", "pseudo_targets", "pseudo_targets.shard", "restore", "restore.shard")
    assert new == dict.fromkeys(once, 1)
    restored, again, second = (work[f"{at}/2/restored"], work[f"{at}/2/pseudo_targets"], work["adapted_models/noise"])
    weights = model.manifest.files["model.safetensors"].sha256
    assert restored.manifest.inputs["weights"] == second.manifest.inputs["weights"] == weights
    assert again.manifest.inputs["restored"] == restored.digest
    assert second.manifest.inputs["targets"] == again.digest
    assert again.manifest.params["seed"] != targets.manifest.params["seed"], "other draws"
    assert second.digest != model.digest
    assert (work.root / "adapted_models" / "noise" / "model.safetensors").is_file()


def every_method(tiny: dict[str, Any]) -> dict[str, Any]:
    """The tiny experiment with one method of each kind, cleaning and the authenticity check."""
    prior = {"respacing": "5"}
    album = {
        "start_t": 400,
        "album": 2,
        "skip": 2,
        "guided_t": 200,
        "scale": 0.3,
        "iterations": 1,
        "batch": 2,
        "lr": 1e-5,
    }
    networks = {"scale": 2, "factor": 2, "width": 8}
    return tiny | {
        "dataset": tiny["dataset"] | {"train": 5},
        "compare": {
            "difface": {"method": {"kind": "difface", "start_t": 400, "eta": 0.5, **prior}},
            "gen2res": {"method": {"kind": "gen2res", **prior, **album}},
            "difbfsr": {"method": {"kind": "difbfsr", **prior, **networks}},
            "idm": {"label": "IDM, cleaned", "method": {"kind": "idm", "arch": "idm128", "steps": 2}},
            "again": {"method": {"kind": "feed_forward", "arch": "swinir"}, "weights": tiny["restorer"]["weights"]},
            "inpainted": {
                "method": {"kind": "difface_inpaint", "start_t": 400, "eta": 1, **prior},
                "estimator": {"arch": "lama", "weights": "data/weights/demo/lama.safetensors"},
            },
        },
        "cleaning": {
            "method": {"kind": "idm", "arch": "idm128", "steps": 2},
            "weights": "data/weights/demo/idm.safetensors",
            "degradation": "demo128",
            "iterations": 2,
            "batch": 2,
            "lr": 1e-5,
            "ema": 0.5,
            "metrics": ["sharpness", "nima"],
            "downstream": {
                "iterations": 2,
                "batch": 2,
                "lr": 1e-5,
                "ema": 0.5,
                "from_scratch": False,
                "respacing": "3",
                "count": 5,
                "metrics": ["fid_seeded", "precision_seeded", "recall_seeded", "fid"],
            },
        },
        "authenticity": {"degradation": "noise", "metrics": ["psnr"]},
        "claims": [
            {
                "text": "equal methods are equal",
                "source": "arithmetic",
                "degradation": "noise",
                "metric": "psnr",
                "better": "again",
                "than": "pretrained",
            }
        ],
    }


def test_every_method_enters_the_table(warm, monkeypatch):
    monkeypatch.setattr(train_stage, "HELD_OUT", 3)
    settings = every_method(warm)
    work = run(settings)
    table = pd.read_csv(work.root / "report" / "results.csv")
    psnr = table[table["metric"] == "psnr"].set_index("method")["mean"]
    assert set(psnr.index) == {"lq", "pretrained", "pseudo_target", "adapted", *settings["compare"]}
    assert psnr["again"] == psnr["pretrained"]
    assert psnr.notna().all()
    assert psnr["inpainted"] == psnr["lq"]  # nothing is black
    assert psnr.nunique() == len(psnr) - 2
    text = (work.root / "report" / "results.md").read_text(encoding="utf-8")
    assert "| equal methods are equal | undecided |" in text
    for title in (
        "Cost per photo",
        "Cleaning of the training photos",
        "Authenticity check",
        "IDM, cleaned",
        "a generator's faces",
    ):
        assert title in text
    cards = [work[name].path("card.json").read_text() for name in ("adapted_models/noise", "cleaning/model")]
    assert all('"licence": "Apache-2.0"' in card for card in cards)  # that of the demo weights
    before, after = work["photos/train"], work["cleaning/cleaned"]
    assert before.ids == after.ids
    drawn = [work[f"cleaning/drawn/{name}"] for name in ("before", "after")]
    assert [len(faces.ids) for faces in drawn] == [5, 5]
    assert drawn[0].digest != drawn[1].digest
    assert work["cleaning/model"].digest != work["photos/train"].digest

    first = built()
    run(settings)
    assert built() == first


def test_the_adapted_restorer_can_be_an_estimator(warm):
    method = {"kind": "difface", "start_t": 400, "eta": 0.5, "respacing": "5"}
    compare = {"plain": {"method": method}, "adapted_first": {"method": method, "estimator": "adapted"}}
    work = run(warm | {"compare": compare}, "compare")
    plain, adapted = (work[f"compared/noise/{name}"].manifest for name in compare)
    assert adapted.inputs["estimator"] == work["adapted_models/noise"].manifest.files["model.safetensors"].sha256
    assert plain.inputs["estimator"] != adapted.inputs["estimator"]
    assert {**plain.inputs, "estimator": ""} == {**adapted.inputs, "estimator": ""}
    assert plain.digest != adapted.digest
    with pytest.raises(ValueError, match=r"compare.adapted_first.estimator: nothing is adapted"):
        run(warm | {"compare": compare, "methods": ["lq", "pretrained"]})


@pytest.mark.parametrize("label", ["Same", "adapted", "LQ", "HQ", "SwinIR, adapted"])
def test_no_row_is_shown_by_another_one_s_name(tiny, label):
    entry = {"label": label, "method": {"kind": "noise_denoise", "start_t": 400, "respacing": "5"}}
    same = {"a": entry, "b": entry} if label == "Same" else {"a": entry}
    with pytest.raises(BadInput, match=f"is shown as '{label}', as is .*: give it another `label`"):
        check(Experiment.model_validate(tiny | {"compare": same}))


def test_the_prior_can_go_on_from_the_adapted_restorer(warm):
    methods = ["lq", "pseudo_target", "adapted", "refined"]
    work = run(warm | {"methods": methods}, "compare")
    begun, model = work["pseudo_targets/noise/test"].manifest, work["adapted_models/noise"].manifest
    restored, refined = (work[f"compared/noise/{name}"].manifest for name in ("refined_restored", "refined"))
    assert restored.inputs["weights"] == model.files["model.safetensors"].sha256
    assert refined.inputs == begun.inputs | {"restored": restored.digest}
    assert refined.params == begun.params
    rows = rows_of(Experiment.model_validate(warm | {"methods": methods}))
    assert rows["refined"].evaluations == rows["pseudo_target"].evaluations > 1
    with pytest.raises(ValueError, match="`refined` goes on from `adapted`, which is none of them"):
        run(warm | {"methods": ["lq", "pretrained", "refined"]})


def test_a_photo_is_restored_alike_in_any_company(warm, monkeypatch):
    no_adaptation = {"methods": ["lq", "pretrained"], "pseudo_targets": None, "finetune": None, "cleaning": None}
    settings = every_method(warm) | no_adaptation
    settings["dataset"]["test"] = 2
    settings["compare"]["idm"]["weights"] = "data/weights/demo/idm.safetensors"
    whole = run(settings, "compare")
    images = {name: whole[f"compared/noise/{name}"].batch(whole["photos/test"].ids) for name in settings["compare"]}
    monkeypatch.setenv("BFR_BATCH", "1")
    forget_all_but("photos")
    single = run(settings, "compare")
    for name, expected in images.items():
        found = single[f"compared/noise/{name}"].batch(single["photos/test"].ids)
        assert (found - expected).abs().max() <= 2.01 / 255, name


def test_results_made_elsewhere_are_matched_by_image_id(warm, tmp_path):
    ids = run(warm, "degrade")["lq/noise/test"].ids
    (tmp_path / "noise").mkdir()
    for name in (*ids[1:], "somebody"):
        Image.fromarray(np.full((96, 96, 3), 99, dtype=np.uint8)).save(tmp_path / "noise" / f"{name}.png")
    other = {"label": "DiffBIR", "images": f"{tmp_path}/{{degradation}}"}
    work = run(warm | {"compare": {"diffbir": other}})
    made = work["compared/noise/diffbir"]
    assert made.ids == ids[1:]
    assert {row.file for row in made.quarantine} == {f"{ids[0]}.png", "somebody"}
    table = pd.read_csv(work.root / "report" / "results.csv")
    row = table[(table["method"] == "diffbir") & (table["metric"] == "psnr")]
    assert row["n"].item() == len(ids) - 1
    assert "DiffBIR" in (work.root / "report" / "results.md").read_text(encoding="utf-8")


def test_the_results_do_not_depend_on_the_batch_size(warm, monkeypatch):
    whole = run(warm, "pseudo_targets")["pseudo_targets/noise/finetune"]
    monkeypatch.setenv("BFR_BATCH", "3")
    forget_all_but("photos")
    single = run(warm, "pseudo_targets")["pseudo_targets/noise/finetune"]
    assert np.abs(whole.batch(whole.ids) - single.batch(whole.ids)).max() <= 1.01 / 255


def test_adaptation_never_reads_ground_truth(warm):
    """Pseudo-targets and the adapted weights are the same when the HQ photos behind the LQ ones are gone."""
    forget_all_but("photos", "degrade", "restore")
    work = run(warm, "restore")
    hq = work["photos/finetune"]
    for folder in (hq.root, work.root / "photos" / "finetune"):
        for image in folder.glob("*.png"):
            image.unlink()
    experiment = Experiment.model_validate(warm)
    for step in (steps.pseudo_targets, steps.finetune):
        step(experiment, work)
    for name in ("pseudo_targets/noise/finetune", "adapted_models/noise"):
        assert hq.digest not in work[name].manifest.inputs.values()
    assert work["photos/real"].digest in work["adapted_models/noise"].manifest.inputs.values()


def test_the_results_are_the_same_from_a_fresh_store(warm):
    first = {name: result.digest for name, result in run(warm, "finetune").results.items()}
    shutil.rmtree(default_store().root)
    shutil.rmtree(workspace_folder())
    assert {name: result.digest for name, result in run(warm, "finetune").results.items()} == first


def test_a_run_of_other_settings_waits_and_says_why(tiny, caplog):
    experiment, work = Experiment.model_validate(tiny), Workspace(workspace_folder())
    other = Experiment.model_validate(tiny | {"seed": 8})
    order: list[str] = []

    def second() -> None:
        with Workspace(work.root).held(other):
            order.append("second")

    with work.held(experiment), Workspace(work.root).held(experiment):  # of the same settings: together
        waiting = threading.Thread(target=second)
        waiting.start()
        deadline = time.monotonic() + 60
        while "tiny: another run has other settings. This one waits." not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        order.append("first")
    waiting.join(60)
    assert order == ["first", "second"]


# ----------------------------------------------------------------------------------------------- ingest


def test_one_photo_is_taken_as_well_as_a_folder_of_it(user_folder, tmp_path):
    (tmp_path / "alone").mkdir()
    shutil.copy(user_folder / "good.png", tmp_path / "alone" / "good.png")
    one, folder = (ingest(CROP, folder=PhotoFolder(path)) for path in (user_folder / "good.png", tmp_path / "alone"))
    assert one.ids == ["good"]
    assert one.digest == folder.digest
    done = restore_photos(str(user_folder / "good.png"), out=str(tmp_path / "out"))
    assert [path.name for path in (done.root / "photos").glob("*.png")] == ["good.png"]


def test_bad_photos_are_set_aside_with_their_reasons_and_the_others_go_on(user_folder):
    made = ingest(CROP, folder=PhotoFolder(user_folder))
    assert len(made.ids) == 2
    assert {row.file for row in made.quarantine} == {"tiny.png", "empty.jpg", "cut.png"}
    assert all(row.reason for row in made.quarantine)
    assert made.batch(made.ids).shape == (2, 3, 64, 64)


def test_a_changed_folder_is_a_new_input_and_a_moved_one_is_not(user_folder, tmp_path):
    before = ingest.record(CROP, folder=PhotoFolder(user_folder)).key
    assert ingest.record(CROP, folder=PhotoFolder(user_folder.rename(tmp_path / "moved"))).key == before
    shutil.copy(tmp_path / "moved" / "good.png", tmp_path / "moved" / "more.png")
    assert ingest.record(CROP, folder=PhotoFolder(tmp_path / "moved")).key != before


def test_of_two_folders_only_the_pairs_are_taken(user_folder, tmp_path):
    (tmp_path / "hq").mkdir()
    shutil.copy(user_folder / "good.png", tmp_path / "hq" / "good.png")
    folders = {"folder": PhotoFolder(user_folder), "hq": PhotoFolder(tmp_path / "hq")}
    lq, hq = (ingest(CROP.model_copy(update={"side": side}), **folders) for side in ("lq", "hq"))
    assert lq.ids == hq.ids == ["good"]
    assert "lq/wide ünï.jpg" in {row.file for row in lq.quarantine}


def test_a_folder_without_a_usable_photo_is_an_error(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"The photo cannot be used:\n  x\.png"):
        ingest(CROP, folder=PhotoFolder(tmp_path / "bad"))
    with pytest.raises(BadInput, match="nowhere"):
        ingest(CROP, folder=PhotoFolder(tmp_path / "nowhere"))


def test_a_folder_of_photos_is_split_and_watched(tiny, user_folder, tmp_path):
    """A data set of folders: the last photos by name are the test set, and a new photo is noticed."""
    for n in range(3):
        shutil.copy(user_folder / "good.png", tmp_path / "my photos" / f"hq_{n}.png")
    dataset = {"kind": "folders", "size": 64, "hq": str(user_folder), "real": str(user_folder), "test": 3}
    work = run(tiny | {"dataset": dataset}, "photos")
    assert work["photos/test"].ids == ["hq_2"]
    assert [row.file for row in work["photos/test"].quarantine] == ["tiny.png", "wide ünï.jpg"]
    assert work["photos/finetune"].ids == ["good", "hq_0", "hq_1"]
    before = work["photos/finetune"].manifest.key
    shutil.copy(user_folder / "good.png", user_folder / "hq_1.png.png")
    assert run(tiny | {"dataset": dataset}, "photos")["photos/finetune"].manifest.key != before


def test_real_photos_are_adapted_to_and_scored_without_ground_truth(tiny, user_folder):
    shutil.copy(user_folder / "good.png", user_folder / "other.png")
    sets = {"mine": {"test": str(user_folder), "expected": 2}}
    dataset = {"kind": "real", "size": 64, "sets": sets, "real": str(user_folder)}
    settings = tiny | {"dataset": dataset, "degradations": {}, "metrics": ["psnr", "fid_seeded", "sharpness"]}
    work = run(settings)
    table = pd.read_csv(work.root / "report" / "results.csv")
    assert set(table["degradation"]) == {"mine"}
    assert set(table["metric"]) == {"fid_seeded", "sharpness"}
    assert set(table["method"]) == {"lq", "pretrained", "pseudo_target", "adapted"}
    text = (work.root / "report" / "results.md").read_text(encoding="utf-8")
    assert "compares with ground truth, and these photos have none" in text


def test_one_photo_has_no_distance_of_sets_and_says_so(tmp_path):
    photo = tmp_path / "one"
    photo.mkdir()
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(photo / "a.png")
    image = ingest(IngestParams(size=64, fit="crop"), folder=PhotoFolder(photo))
    work = Workspace(tmp_path / "work")
    described = steps.describe(("fid_seeded", "precision_seeded"), work, "reference", "ground truth", image)
    metrics = ("psnr", "fid_seeded", "precision_seeded")
    steps.score(metrics, work, "scores", image, hq=image, references={"default": described})
    absent = json.loads(work["scores"].path("absent.json").read_text())
    assert set(absent) == {"fid_seeded", "precision_seeded"}
    assert "at least 2 images are needed" in absent["fid_seeded"]


def test_only_what_the_methods_need_is_made(warm):
    forget_all_but("photos")
    methods = {"methods": ["lq"], "restorer": None, "pseudo_targets": None, "finetune": None}
    other = {"method": {"kind": "difbfsr", "respacing": "3", "scale": 2, "factor": 2, "width": 8}}
    work = run(warm | methods | {"compare": {"difbfsr": other}})
    assert not {"finetune", "pseudo_targets"} & set(built())
    assert work["photos/test"].ids == work["compared/noise/difbfsr"].ids


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"prior": {"arch": "ffhq256_gen2res", "weights": "data/weights/iddpm_ffhq512_ema500000.pth"}},
            "Download it from https",
        ),
        ({"restorer": {"arch": "swinir", "weights": "data/weights/mine.pth"}}, r"mine\.pth is missing.*the restorer"),
        (
            {"dataset": {"kind": "folders", "size": 64, "hq": "no", "real": "no", "test": 2}},
            "no is not a folder; expected a folder of photos",
        ),
    ],
)
def test_missing_weights_and_photos_are_reported_before_any_work(tiny, change, message):
    with pytest.raises(BadInput, match=message):
        check(Experiment.model_validate(tiny | change))
