"""Both drivers in a real checkout, as a user starts them: served deployments, DVC, kills, folders of photos."""

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from PIL import Image
from tiny import TINY, tiny_of

from flows import server
from flows.server import checkout_name
from flows.terminal import Screen
from tasks.basics import ROOT
from tasks.store.artifact import ImageFolder

PREFECT = """
import sys
from prefect.cli import app

for words in sys.argv[1:]:
    sys.argv = ["prefect", *words.split()]
    try:
        app()
    except SystemExit as end:
        if end.code:
            raise
"""


def left_in(folder: Path) -> Iterator[psutil.Process]:
    """The processes that are at work in a folder: servers have no other tie to the test that started them."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has just ended, or is another user's
            if Path(process.cwd()).is_relative_to(folder):
                yield process


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Iterator[Path]:
    """A git and DVC repository of the working tree's files, with tiny settings and the demo weights in place.

    No process stays there, wherever a test has stopped: a server stays by itself while a pool's worker was just there.
    """
    root = tmp_path_factory.mktemp("checkout")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(listed, cwd=ROOT, text=True).split("\0")
    compiled = [path for room in ("flows", "tasks") for path in (ROOT / room).rglob("__pycache__/*")]
    for name in (*filter(None, names), *(path.relative_to(ROOT).as_posix() for path in compiled)):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "data/demo/", "dvc.lock")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)  # with its time, by which compiled code is known to be of it
    for weights in (ROOT / "data/weights/demo").glob("*.safetensors"):
        shutil.copy(weights, root / "data/weights/demo")
    photos = str(coloured(tmp_path_factory.mktemp("photos"), 7))
    dataset = {"kind": "folders", "size": 32, "test": 3, "hq": photos, "real": photos}
    change_params(root, lambda demo: tiny_of(demo) | {"dataset": dataset})
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    yield root
    for process in [*left_in(root)]:
        process.kill()


def coloured(folder: Path, count: int) -> Path:
    """Photos of coloured squares, 64 x 64: quicker than rendered heads."""
    for number in range(count):
        colour = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(colour.repeat(8, 0).repeat(8, 1)).save(folder / f"{number:02}.png")
    return folder


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
        "PREFECT_WORKER_QUERY_SECONDS": "1",  # how long a run waits for the pool's worker
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
def running(words: list[str], checkout: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program that serves, ended as by a user's Ctrl-C; what it said is in a file of its name."""
    with (checkout / f"{words[-1]}.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=checkout, env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:  # Prefect's worker, on a crowded machine
                process.kill()
                process.wait()


def wait_until(is_so: Callable[[], Any], limit_s: float = 200) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


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
class TestServed:
    """`bfr serve` is running."""

    @pytest.fixture(scope="class", autouse=True)
    def served(self, checkout, command) -> Iterator[None]:
        log = checkout / "serve.log"
        environment = command.environment | {"PYTHONUNBUFFERED": "1"}
        with running([sys.executable, "-m", "flows", "serve"], checkout, environment) as serve:
            wait_until(lambda: "Served until" in log.read_text())
            yield
            serve.terminate()
            wait_until(lambda: "Pausing all deployments" in log.read_text())  # and a second signal comes
        assert serve.returncode == 0
        assert not re.search("Traceback|Warning", log.read_text())

    @pytest.fixture
    def ask(self, command, monkeypatch) -> Callable[[str, Any], Any]:
        """Questions to the checkout's Prefect server."""
        monkeypatch.setattr(server, "API", command.environment["PREFECT_API_URL"])
        monkeypatch.setattr(server, "TOKEN", {})
        return server.ask

    def test_prefects_own_commands_work_and_strangers_may_not_give_orders(self, command, ask):
        tried = [f"{what} ls" for what in ("flow-run", "artifact", "work-pool")]
        pool = ["work-pool create bfr --type process", "deploy --all", "deployment ls"]
        assert "benchmark/pool" in command("python", "-c", PREFECT, *tried, *pool)
        assert {each["name"] for each in ask("deployments/filter", {})} > {"pool"}
        stranger = urllib.request.Request(
            f"{command.environment['PREFECT_API_URL']}/flows/", data=b'{"name": "evil"}', method="POST"
        )
        stranger.add_header("Origin", "http://evil.example")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(stranger)

    def test_a_run_that_is_cancelled_on_prefects_page_has_cancelled_tasks_and_none_that_crashed(self, checkout, ask):
        (checkout / "data" / "experiments" / "long.yaml").write_text("extends: demo\nfinetune: {iterations: 100000}\n")
        begun = server._begin(f"benchmark/{checkout_name(checkout)}", {"parameters": {"experiment": "long"}})
        of_it = {"flow_runs": {"id": {"any_": [begun["id"]]}}}
        training = {"task_runs": {"state": {"type": {"any_": ["RUNNING"]}}, "name": {"any_": ["finetune noise"]}}}
        wait_until(lambda: ask("task_runs/filter", of_it | training))
        page = {"state": {"name": "Cancelling", "type": "CANCELLING"}, "force": True}
        ask(f"flow_runs/{begun['id']}/set_state", page)
        assert server.follow(begun["id"], Screen(0))["type"] == "CANCELLED"
        states = {task["name"]: task["state"]["type"] for task in ask("task_runs/filter", of_it)}
        assert states.pop("finetune noise") == "CANCELLED"
        assert {*states.values()} == {"COMPLETED"}

    def test_prefect_and_dvc_share_one_truth_and_prefect_shows_it(self, checkout, command, ask):
        output = command("python", "-m", "flows", "demo", times=2)
        assert "report.html" in output
        assert len(output.splitlines()) <= 40
        made = [path.parent.parent.name for path in (checkout / "data" / ".store").glob("*/*/manifest.json")]
        assert made.count("finetune") == made.count("report") == 1  # two runs at once make everything once
        assert "up to date" in command("dvc", "status", "dvc.yaml")
        assert "Running stage" not in command("dvc", "repro")
        assert "psnr" in command("dvc", "metrics", "show")

        change_params(checkout, lambda demo: demo | {"finetune": demo["finetune"] | {"lr": 5e-5}})
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
        assert reads["finetune noise"] == {
            "pseudo_targets noise/finetune",
            "photos real",
            "degrade noise/finetune",
        }
        tags = {run["name"]: set(run["tags"]) for run in runs}
        assert tags["restore noise/test"] == {"demo", "gpu"}
        assert tags["photos real"] == {"demo"}
        found = {each["key"]: each for each in ask("artifacts/latest/filter", {})}
        methods = "lq, pretrained, pseudo_target, adapted, the original"
        assert found["demo-faces"]["data"].startswith(f"From the left: {methods}. From the top: noise.")
        page = found["demo-page"]
        [address] = re.findall(r"http[^)]+", page["data"])
        with urllib.request.urlopen(address) as reply:
            assert b"<html" in reply.read()


@pytest.mark.slow
def test_adapt_restore_and_personalize_take_a_folder_of_photos(checkout, command, user_folder):
    def bfr(name: str, *options: str) -> tuple[Path, dict[str, Any]]:
        out = checkout.parent / f"{checkout.name}_{name}"
        words = ("python", "-m", "flows", name, str(user_folder), "--out", str(out), "--json", "--quiet", *options)
        said = command(*words)
        return out, json.loads(said[said.index("{") :])  # warnings stand before it

    change_params(checkout, lambda demo: demo | {"dataset": TINY["dataset"]})
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


@pytest.fixture
def forty_photos(tmp_path) -> Path:
    """Those to adapt to are two shards of pseudo-targets."""
    return coloured(tmp_path, 40)


@pytest.mark.slow
def test_a_killed_benchmark_goes_on_and_outlives_its_server(checkout, command, servers, forty_photos):
    """kill -9 of server, workers and flow at once, in the middle of the pseudo-targets; then of the server alone."""
    store = checkout / "data" / ".store"
    photos = {"hq": str(forty_photos), "real": str(forty_photos)}
    change_params(checkout, lambda demo: demo | {"dataset": {"kind": "folders", "size": 64, "test": 4, **photos}})
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
