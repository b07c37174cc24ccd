"""The pipeline end to end, on a tiny experiment: what reruns, what is never read, both drivers in a real checkout."""

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from PIL import Image

from flows import server, steps
from flows.cost import estimate
from flows.preflight import check
from flows.restore import restore as restore_photos
from flows.steps import STEPS
from flows.workspace import Workspace
from tasks.basics import ROOT, BadInput
from tasks.data.ingest import PhotoFolder
from tasks.params.experiment import Experiment
from tasks.params.load import load
from tasks.running.stage import default_store
from tasks.stages import train as train_stage
from tasks.stages.ingest import IngestParams, ingest
from tasks.store.artifact import ImageFolder

TINY: dict[str, Any] = {
    "title": "tiny",
    "seed": 7,
    "dataset": {"kind": "heads", "size": 64, "finetune": 6, "test": 4, "real": 4},
    "degradations": {"noise": {"preset": "raw_x2_severe"}},
    "pseudo_targets": {"respacing": "10", "start_t": 300, "stop_t": 100, "factor": 4},
    "metrics": ["psnr", "ssim", "lpips_seeded", "fid_seeded", "musiq"],
    "compare": {},
    "cleaning": None,
    "authenticity": None,
}
ORDER = list(STEPS)


def tiny_of(demo: dict[str, Any]) -> dict[str, Any]:
    """The demo experiment with little to do."""
    return demo | TINY | {"finetune": demo["finetune"] | {"iterations": 3, "batch": 4, "micro_batch": 2}}


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


def test_a_second_run_makes_nothing_and_a_changed_setting_only_what_depends_on_it(tiny):
    experiment = Experiment.model_validate(tiny)
    assert estimate(experiment, workspace_folder())
    run(tiny)
    first = built()
    assert estimate(experiment, workspace_folder()) == []
    run(tiny)
    assert built() == first
    run(tiny | {"finetune": tiny["finetune"] | {"lr": 1e-5}})
    second = built()
    new = {stage: second[stage] - first[stage] for stage in second if second[stage] != first[stage]}
    once = ("finetune", "restore", "restore.shard", "measure", "evaluate", "evaluate.shard", "report")
    assert new == dict.fromkeys(once, 1)
    run(tiny)
    assert built() == second
    shutil.rmtree(default_store().root)  # as after a clone and a `dvc pull`
    run(tiny)
    assert not list((default_store().root / "timings").glob("*.json")), "what is published is taken, not made"


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
        "dataset": tiny["dataset"] | {"train": 8},
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
    monkeypatch.setattr(train_stage, "HELD_OUT", 4)
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


def test_a_photo_is_restored_alike_in_any_company(warm, monkeypatch):
    settings = every_method(warm) | {"cleaning": None}
    settings["compare"]["idm"]["weights"] = "data/weights/demo/idm.safetensors"
    whole = run(settings, "compare")
    images = {name: whole[f"compared/noise/{name}"].batch(whole["photos/test"].ids) for name in settings["compare"]}
    monkeypatch.setenv("BFR_BATCH", "1")
    shutil.rmtree(default_store().root)
    shutil.rmtree(workspace_folder())
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
    shutil.rmtree(default_store().root)
    shutil.rmtree(workspace_folder())
    single = run(warm, "pseudo_targets")["pseudo_targets/noise/finetune"]
    assert np.abs(whole.batch(whole.ids) - single.batch(whole.ids)).max() <= 1.01 / 255


def test_adaptation_never_reads_ground_truth(tiny):
    """Pseudo-targets and the adapted weights are the same when the HQ photos behind the LQ ones are gone."""
    work = run(tiny, "restore")
    hq = work["photos/finetune"]
    for folder in (hq.root, work.root / "photos" / "finetune"):
        for image in folder.glob("*.png"):
            image.unlink()
    experiment = Experiment.model_validate(tiny)
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


@pytest.fixture
def user_folder(tmp_path) -> Path:
    folder = tmp_path / "my photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("good.png", (80, 80)), ("wide ünï.jpg", (120, 80)), ("tiny.png", (3, 3))):
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(folder / name)
    (folder / "empty.jpg").touch()
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:300])
    return folder


CROP = IngestParams(size=64, fit="crop")


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
    with pytest.raises(BadInput, match=r"None of the 1 photos can be used:\n  x\.png"):
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


def test_only_what_the_methods_need_is_made(tiny):
    methods = {"methods": ["lq"], "restorer": None, "pseudo_targets": None, "finetune": None}
    other = {"method": {"kind": "difbfsr", "respacing": "3", "scale": 2, "factor": 2, "width": 8}}
    work = run(tiny | methods | {"compare": {"difbfsr": other}})
    assert not {"finetune", "pseudo_targets"} & set(built())
    assert work["photos/test"].ids == work["compared/noise/difbfsr"].ids


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"prior": {"arch": "ffhq512", "weights": "data/weights/iddpm_ffhq512_ema500000.pth"}},
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


# ------------------------------------------------------------------------------------- a real checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A git and DVC repository of the working tree's files, with tiny settings and the demo weights in place."""
    root = tmp_path_factory.mktemp("checkout")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, subprocess.check_output(listed, cwd=ROOT, text=True).split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "data/demo/", "dvc.lock")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    for weights in (ROOT / "data/weights/demo").glob("*.safetensors"):
        shutil.copy(weights, root / "data/weights/demo")
    change_params(root, tiny_of)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def change_params(root: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    params["experiments"]["demo"] = change(params["experiments"]["demo"])
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


@pytest.fixture(scope="module")
def command(checkout) -> Callable[..., str]:
    """Run a tool of the virtual environment in the checkout, `times` at once; its output. Fails where it fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tools = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(checkout),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
    }
    environment.pop("BFR_STORE", None)

    def call(*words: str, times: int = 1) -> str:
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started = [subprocess.Popen(words, cwd=checkout, env=environment, **piped) for _ in range(times)]
        outputs = [process.communicate(timeout=600)[0] for process in started]
        for process, output in zip(started, outputs, strict=True):
            assert process.returncode == 0, f"{words}: {output[-6000:]}"
        return outputs[0]

    call.environment = environment
    return call


@contextmanager
def running(words: list[str], checkout: Path, environment: dict[str, str]) -> Iterator[None]:
    """A program that serves, ended as by a user's Ctrl-C; what it said is in a file of its name."""
    with (checkout / f"{words[-1]}.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=checkout, env=environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:  # Prefect's worker, on a crowded machine
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def servers(checkout) -> Iterator[Callable[[], None]]:
    """Keeps the server and the serve process that a command starts; called, it kills them."""
    home = checkout / "data" / ".prefect"
    home.mkdir(parents=True, exist_ok=True)

    def kill() -> None:
        for name in ("serve", "server"):
            with suppress(psutil.NoSuchProcess, FileNotFoundError):
                process = psutil.Process(json.loads((home / f"{name}.json").read_text())["pid"])
                for each in (*process.children(recursive=True), process):
                    each.kill()

    with (home / "users.lock").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)  # as one more command that uses them does
        yield kill
    kill()


@pytest.mark.slow
@pytest.mark.xdist_group("checkout")
class TestServed:
    """`bfr serve` is running."""

    @pytest.fixture(scope="class", autouse=True)
    def served(self, checkout, command) -> Iterator[None]:
        with running([sys.executable, "-m", "flows", "serve"], checkout, command.environment):
            deadline = time.monotonic() + 200
            while not (checkout / "data/.prefect/pages/.address").exists():
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield

    @pytest.fixture
    def ask(self, command, monkeypatch) -> Callable[[str, Any], Any]:
        """Questions to the checkout's Prefect server."""
        monkeypatch.setattr(server, "API", command.environment["PREFECT_API_URL"])
        monkeypatch.setattr(server, "TOKEN", {})
        return server.ask

    def test_prefects_own_commands_work_and_strangers_may_not_give_orders(self, command, ask):
        for what in ("flow-run", "artifact", "work-pool"):
            command("prefect", what, "ls")
        command("prefect", "work-pool", "create", "bfr", "--type", "process")
        command("prefect", "deploy", "--all")
        found = ask("deployments/filter", {})
        assert {each["name"] for each in found} > {"pool"}
        assert "benchmark/pool" in command("prefect", "deployment", "ls")
        stranger = urllib.request.Request(
            f"{command.environment['PREFECT_API_URL']}/flows/", data=b'{"name": "evil"}', method="POST"
        )
        stranger.add_header("Origin", "http://evil.example")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(stranger)

    def test_prefect_and_dvc_share_one_truth_and_prefect_shows_it(self, checkout, command, ask):
        output = command("python", "-m", "flows", "demo", times=2)
        assert "report.html" in output
        assert len(output.splitlines()) <= 40
        made = [path.parent.parent.name for path in (checkout / "data" / ".store").glob("*/*/manifest.json")]
        assert made.count("finetune") == made.count("report") == 1  # two runs at once make everything once
        assert "up to date" in command("dvc", "status", "dvc.yaml")
        assert "Running stage" not in command("dvc", "repro")
        assert "psnr" in command("dvc", "metrics", "show")

        change_params(checkout, lambda demo: demo | {"finetune": demo["finetune"] | {"lr": 1e-5}})
        output = command("dvc", "repro")
        ran = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
        assert ran == ["finetune@demo", "compare@demo", "authenticity@demo", "evaluate@demo", "report@demo"]
        assert "Running stage" not in command("dvc", "repro", "finetune@demo")

        # the served deployments have run since `prefect deploy --all`; now the pool's
        with running(["prefect", "worker", "start", "--pool", "bfr"], checkout, command.environment):
            command("prefect", "deployment", "run", "benchmark/pool", "--param", "experiment=demo", "--watch")
        assert "up to date" in command("dvc", "status", "dvc.yaml")

        [*_, last] = ask("flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"})
        runs = ask("task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [last["id"]]}}})
        names = {run["id"]: run["name"] for run in runs}
        reads = {run["name"]: {names[each["id"]] for each in run["task_inputs"].get("wait_for", [])} for run in runs}
        assert reads["finetune adapted_models/noise"] == {
            "pseudo_targets noise/finetune",
            "photos real",
            "degrade lq/noise/finetune",
        }
        tags = {run["name"]: set(run["tags"]) for run in runs}
        assert tags["restore restored/noise/test"] == {"demo", "gpu"}
        assert tags["photos real"] == {"demo"}
        [page] = ask("artifacts/latest/filter", {"artifacts": {"key": {"any_": ["demo-page"]}}})
        [address] = re.findall(r"http[^)]+", page["data"])
        with urllib.request.urlopen(address) as reply:
            assert b"<html" in reply.read()


@pytest.mark.slow
@pytest.mark.xdist_group("checkout")
def test_a_killed_benchmark_goes_on_and_outlives_its_server(checkout, command, servers):
    """kill -9 of server, workers and flow at once, in the middle of the pseudo-targets; then of the server alone."""
    store = checkout / "data" / ".store"
    change_params(checkout, lambda demo: demo | {"seed": 8, "dataset": demo["dataset"] | {"finetune": 40}})
    words = ["python", "-m", "flows", "demo"]
    quiet = {"cwd": checkout, "env": command.environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def run_until_a_shard_is_made() -> tuple[psutil.Popen, set[Path]]:
        before = set(store.glob("pseudo_targets.shard/*"))
        running = psutil.Popen(words, **quiet)
        deadline = time.monotonic() + 600
        while not (made := set(store.glob("pseudo_targets.shard/*")) - before):
            assert time.monotonic() < deadline
            assert running.poll() is None
            time.sleep(0.1)
        return running, made

    running, made = run_until_a_shard_is_made()
    servers()
    for process in (*running.children(recursive=True), running):
        process.kill()
    running.wait()
    files = {path: path.stat().st_ino for folder in made for path in folder.glob("*.png")}

    running, _ = run_until_a_shard_is_made()
    server = next(process for process in running.children() if "server" in process.cmdline())
    start = server.cmdline()
    for process in (*server.children(recursive=True), server):
        process.kill()
    environment = command.environment | {"PREFECT_HOME": str(checkout / "data" / ".prefect")}
    with pytest.raises(psutil.TimeoutExpired):
        running.wait(12)  # Prefect's own watching has given up by then
    again = subprocess.Popen(start, **quiet | {"env": environment})
    try:
        assert running.wait(600) == 0
    finally:
        again.terminate()
        again.wait()
    assert {path: path.stat().st_ino for path in files} == files  # not made again
    report = json.loads((checkout / "data" / "demo" / "metrics.json").read_text())
    assert report["noise"]["adapted"]
    assert "up to date" in command("dvc", "status", "dvc.yaml")


@pytest.mark.slow
@pytest.mark.xdist_group("checkout")
def test_adapt_restore_and_personalize_take_a_folder_of_photos(checkout, command, user_folder):
    def bfr(name: str, *options: str) -> tuple[Path, dict[str, Any]]:
        out = checkout.parent / f"{checkout.name}_{name}"
        words = ("python", "-m", "flows", name, str(user_folder), "--out", str(out), "--json", "--quiet", *options)
        said = command(*words)
        return out, json.loads(said[said.index("{") :])  # warnings stand before it

    adapted, said = bfr("adapt", "--aligned", "--method", "demo")
    assert said["photos"] == str(adapted / "photos")
    assert list(said["findings"]) == ["photos"]
    report = (adapted / "report" / "results.md").read_text(encoding="utf-8")
    assert "cut.png" in report
    assert "FID (seeded) to rendered heads" in report
    assert "PSNR to the input" in report
    assert len(list((adapted / "photos").glob("*.png"))) == 2
    weights = ("--weights", str(adapted / "model" / "model.safetensors"))
    restored, said = bfr("restore", "--aligned", "--method", "demo", *weights)
    assert said == {"photos": [str(restored / "photos")]}
    again = ImageFolder(restored / "details" / "restored")
    assert again.digest == ImageFolder(adapted / "details" / "adapted").digest
    album = ("--album", str(user_folder), "--aligned", "--method", "demo")
    personal, _ = bfr("personalize", *album, "--iterations", "2", "--respacing", "10")
    images = ImageFolder(personal / "details" / "restored")
    assert images.ids == again.ids
    assert (images.batch(images.ids) - again.batch(again.ids)).abs().max() > 0.01
