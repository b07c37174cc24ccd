"""Several machines on one run, one of which loses its power: the same bytes as on one machine, and nothing made twice.

    sudo .venv/bin/python -m benchmarks.machines          (Linux, root, PostgreSQL's initdb and postgres)

The machines are namespaces of this one: each has an address, a name, process numbers, a checkout and a home of its own,
so that they share what real ones share: the network and the store. One Prefect server on PostgreSQL, a worker on each
machine, one run of the same experiment on each. Once both compute pseudo-targets, the second is killed with all its
processes.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from flows.steps import STEPS
from tasks.basics import ROOT

BIN = Path(sys.executable).parent
BRIDGE, SERVER, DATABASE_PORT = "bfr-bridge", "10.77.0.1", 5477
API = f"http://{SERVER}:4377/api"
EXPERIMENT = """\
extends: demo
title: One run on several machines
dataset: {real: 32}
metrics: [psnr, ssim, lpips_seeded]
degradations:
  raw_x2_moderate:
pseudo_targets: {respacing: '20'}
finetune: {iterations: 8}
"""
SHARED = "pseudo_targets.shard"  # what both machines are to be at when one is killed
POLL_S = 0.02


class Machine:
    """A network, process, mount and host namespace. folder: its checkout and home, seen at one path by all machines."""

    def __init__(self, number: int, folder: Path, shared: Path) -> None:
        self.name, self.folder, self.shared = f"bfr-machine{number}", folder / f"machine{number}", shared
        self.running: list[subprocess.Popen[bytes]] = []
        end = f"bfr{number}"
        call("ip", "netns", "add", self.name)
        call("ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        call("ip", "link", "set", end, "master", BRIDGE, "up")
        call("ip", "-n", self.name, "address", "add", f"10.77.0.{number + 1}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            call("ip", "-n", self.name, "link", "set", device, "up")
        checkout(self.folder)
        (self.folder / "home").mkdir()

    def start(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a program here: the first process of its namespace, so that all that it started ends with it."""
        script = 'hostname "$0"; mount --bind "$1" "$2"; cd "$2"; shift 2; "$@"'
        namespaces = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
        inside = ["bash", "-c", script, self.name, str(self.folder), str(self.shared), *words]
        with (self.folder / "log").open("ab") as log:
            command = ["ip", "netns", "exec", self.name, *namespaces, *inside]
            started = subprocess.Popen(command, env=self.settings() | environment, stdout=log, stderr=log)
        self.running.append(started)
        return started

    def settings(self) -> dict[str, str]:
        own = {"HOME": f"{self.shared}/home", "PREFECT_HOME": f"{self.shared}/home/.prefect", "PREFECT_API_URL": API}
        rest = {"PYTHONPATH": str(self.shared), "OMP_NUM_THREADS": "1", "no_proxy": SERVER, "NO_PROXY": SERVER}
        return os.environ | own | rest | {"BFR_STORE": str(self.folder.parent / "store"), "DO_NOT_TRACK": "1"}

    def run(self, *words: str, **environment: str) -> None:
        if self.start(*words, **environment).wait():
            raise SystemExit(f"{' '.join(words)} failed:\n{(self.folder / 'log').read_text()[-3000:]}")

    def kill(self) -> None:
        """End every process at once, as a power failure does."""
        for started in self.running:
            with suppress(ProcessLookupError):
                os.kill(started.pid, signal.SIGKILL)
            started.wait()

    def remove(self) -> None:
        self.kill()
        call("ip", "netns", "delete", self.name)


def checkout(folder: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    weights = (ROOT / "data" / "weights" / "demo").glob("*.safetensors")
    for name in (*listed, *(str(path.relative_to(ROOT)) for path in weights)):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "data" / "experiments" / "machines.yaml").write_text(EXPERIMENT)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], cwd=folder, check=True)


def call(*words: str) -> None:
    subprocess.run(words, check=True)


@contextmanager
def bridge() -> Iterator[None]:
    call("ip", "link", "add", BRIDGE, "type", "bridge")
    try:
        call("ip", "address", "add", f"{SERVER}/24", "dev", BRIDGE)
        call("ip", "link", "set", BRIDGE, "up")
        yield
    finally:
        call("ip", "link", "delete", BRIDGE)


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """A PostgreSQL on loopback; its address."""
    shutil.chown(folder, "postgres")
    start = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    call(*start, "initdb", "--no-sync", "--auth=trust", "--pgdata", str(folder / "data"))
    words = ["postgres", "-D", str(folder / "data"), "-p", str(DATABASE_PORT), "-k", str(folder), "-h", "127.0.0.1"]
    with ended(subprocess.Popen([*start, *words])):
        wait(lambda: ready(folder), "PostgreSQL")
        yield f"postgresql+asyncpg://postgres@127.0.0.1:{DATABASE_PORT}/postgres"


def ready(folder: Path) -> bool:
    words = ["pg_isready", "-h", str(folder), "-p", str(DATABASE_PORT), "-U", "postgres", "-q"]
    return not subprocess.run(words).returncode


@contextmanager
def server(address: str, folder: Path) -> Iterator[None]:
    home = {"PREFECT_HOME": str(folder), "PREFECT_API_DATABASE_CONNECTION_URL": address, "DO_NOT_TRACK": "1"}
    words = [str(BIN / "prefect"), "server", "start", "--host", SERVER, "--port", "4377"]
    with (folder / "log").open("ab") as log:
        started = subprocess.Popen(words, env=os.environ | home | {"PREFECT_API_URL": API}, stdout=log, stderr=log)
    with ended(started):
        wait(lambda: ask("health") is True, "the server")
        yield


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def ask(path: str, query: Any = None) -> Any:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    body = None if query is None else json.dumps(query).encode()
    with suppress(OSError):
        request = urllib.request.Request(f"{API}/{path}", data=body, headers={"Content-Type": "application/json"})
        return json.load(direct.open(request, timeout=10))
    return None


def wait(is_there: Any, what: str, limit_s: float = 1800) -> None:
    started = time.monotonic()
    while not is_there():
        if time.monotonic() - started > limit_s:
            raise SystemExit(f"waited {limit_s:.0f} s for {what}")
        time.sleep(POLL_S)


class Watch(threading.Thread):
    """Notes every piece of work that is begun in a store: each has a folder of its own while it is made."""

    def __init__(self, store: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.begun = store / "tmp", set[str]()

    def run(self) -> None:
        while True:
            self.begun.update(self.now())
            time.sleep(POLL_S)

    def now(self) -> list[str]:
        return os.listdir(self.folder) if self.folder.exists() else []

    def count(self) -> dict[str, int]:
        stages = [name.rpartition("-")[0] for name in self.begun]
        return {stage: stages.count(stage) for stage in sorted(set(stages))}


def results(store: Path) -> dict[str, Any]:
    """The digests of the files of every result but shards and the report, which says when and where it was made."""
    manifests = {path.parent.relative_to(store).as_posix(): path for path in store.glob("*/*/manifest.json")}
    own = {name: path for name, path in manifests.items() if "report/" not in name and ".shard/" not in name}
    return {name: json.loads(path.read_text())["files"] for name, path in own.items()}


def states() -> list[str]:
    runs = ask("flow_runs/filter", {"sort": "START_TIME_ASC"})
    return [run["state"]["type"] for run in runs or []]


def start_run(machine: Machine) -> None:
    """Queue one run of the experiment at the work pool, and a worker that takes it."""
    prefect = str(BIN / "prefect")
    machine.run(prefect, "deployment", "run", "benchmark/pool", "--param", "experiment=machines")
    machine.start(prefect, "worker", "start", "--pool", "bfr", "--limit", "1", "--name", machine.name)


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        for name in ("shared", "database", "server", "store", "alone"):
            (folder / name).mkdir()
        store = folder / "store"
        stack.enter_context(bridge())
        stack.enter_context(server(stack.enter_context(database(folder / "database")), folder / "server"))
        first, second = machines = [Machine(number, folder, folder / "shared") for number in (1, 2)]
        for machine in machines:
            stack.callback(machine.remove)
        first.run(str(BIN / "prefect"), "work-pool", "create", "bfr", "--type", "process")
        first.run(str(BIN / "prefect"), "--no-prompt", "deploy", "--all")
        watch = Watch(store)
        watch.start()
        started = time.monotonic()
        for machine in machines:
            start_run(machine)
        wait(lambda: sum(name.startswith(SHARED) for name in watch.now()) > 1, "both machines at pseudo-targets")
        second.kill()
        left = watch.now()
        print(f"{time.monotonic() - started:.0f} s: both compute pseudo-targets; the second is killed, at {left}")
        wait(lambda: "COMPLETED" in states(), "the first machine's run")
        print(f"{time.monotonic() - started:.0f} s: the runs are {states()}")
        made, begun = results(store), watch.count()
        print(f"begun: {begun}")
        for step in STEPS:
            words = [sys.executable, "-m", "flows", "stage", step, "--experiment", "machines"]
            first.run(*words, BFR_STORE=str(folder / "alone"))
        alone = results(folder / "alone")
        equal = sum(made.get(name) == files for name, files in alone.items())
        print(f"{len(alone)} results on one machine alone, {equal} of them of the same bytes here")


if __name__ == "__main__":
    main()
