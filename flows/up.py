"""One entry for Prefect: `serve` starts what is missing and serves the deployments; `run NAME` runs one of them.

    python -m flows.up serve
    python -m flows.up run benchmark/demo
    python -m flows.up run adapt/photos --param folder=/path/to/photos

`run` is `prefect deployment run NAME --watch` between a server and a serve process that it starts if none answers.
"""

import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from tasks.basics import ROOT, BadInput, suggestion
from tasks.params.load import experiment_names, load_experiment
from tasks.store.store import locked

HOME = ROOT / "data" / ".prefect"
API = os.environ.get("PREFECT_API_URL", "http://127.0.0.1:4200/api")
START_TIMEOUT_S = 180
LOST_SERVER_S = 120  # how long a lost server may take to come back
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
PREFECT = str(Path(sys.executable).with_name("prefect"))


def settings() -> dict[str, str]:
    """Environment of the server, the flows and the command line: one home, below data/, and no telemetry."""
    return {
        "PREFECT_HOME": str(HOME),
        "PREFECT_LOCAL_STORAGE_PATH": str(HOME / "results"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "DO_NOT_TRACK": "1",
        **os.environ,
        "PREFECT_API_URL": API,
    }


def ask(path: str, query: Any = None) -> Any:
    """JSON of an API address (POST if there is a query); None while it does not answer with success."""
    body = None if query is None else json.dumps(query).encode()
    request = urllib.request.Request(f"{API}/{path}", data=body, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return json.load(reply)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None


def wait_for(what: str, is_there: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Poll until `is_there`; RuntimeError if the process ends or the time is up."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_there():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not start at {API}. Its log: {log}\n{log.read_text()[-2000:]}")
        time.sleep(0.5)


@contextmanager
def background(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child process with its output in a log file, ended with the block."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=settings(), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def server() -> Iterator[None]:
    """A Prefect server at `API`: the one that answers there, or one of our own while the block runs."""
    if ask("health") is True:
        yield
        return
    address = urllib.parse.urlsplit(API)
    command = [PREFECT, "server", "start", "--host", str(address.hostname), "--port", str(address.port)]
    log = HOME / "server.log"
    with background(command, log) as process:
        wait_for("The Prefect server", lambda: ask("health") is True, process, log)
        print(f"Prefect: {API.removesuffix('/api')} (log: {log.relative_to(ROOT)})")
        yield


def run(name: str, parameters: list[str]) -> int:
    """Run one deployment and wait for it; the exit code is 0 when it completed.

    Raises BadInput for a wrong name, and for a wrong params.yaml, before anything is started.
    """
    on_photos = [f"{flow}/photos" for flow in ("adapt", "restore", "personalize")]
    names = [*(f"benchmark/{experiment}" for experiment in experiment_names()), *on_photos, "train/model"]
    if name not in names:
        raise BadInput(f"There is no deployment {name!r}.{suggestion(name, names)} Valid: {', '.join(names)}")
    if name.startswith("benchmark/"):
        load_experiment(name.removeprefix("benchmark/"))
    with ExitStack() as stack:
        is_used = stack.enter_context(shared_lock(HOME / "users.lock"))
        with locked(HOME / "start.lock"):
            stack.enter_context(server())
            if not _is_served(name):
                log = HOME / "serve.log"
                process = stack.enter_context(background([sys.executable, "-m", "flows.up", "serve"], log))
                wait_for(f"The deployment {name!r}", lambda: _is_served(name), process, log)
        options = [word for parameter in parameters for word in ("--param", parameter)]
        command = [PREFECT, "deployment", "run", name, "--watch", *options]
        started = datetime.now(UTC)
        print("$", " ".join(["prefect", *command[1:]]), flush=True)
        code = subprocess.run(command, env=settings(), cwd=ROOT).returncode
        if code and (state := end_of_run(name, started))["type"] != "COMPLETED":
            print(f"{state['message']}\nThe log: {(HOME / 'serve.log').relative_to(ROOT)}")
        else:
            code = 0
            print_results(name, dict(parameter.split("=", 1) for parameter in parameters))
        sys.stdout.flush()
        fcntl.flock(is_used, fcntl.LOCK_EX)  # another run may use what this one started: wait for its end
        return code


@contextmanager
def shared_lock(path: Path) -> Iterator[IO[str]]:
    """Hold a lock that any number of processes can hold together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield file


def end_of_run(name: str, since: datetime) -> dict[str, Any]:
    """The last state {type, message} of a deployment's newest run, once that has ended.

    Watching a run ends early where the server goes; one that is back within LOST_SERVER_S tells how the run goes on.
    """
    deadline = time.monotonic() + LOST_SERVER_S
    while time.monotonic() < deadline:
        runs = newest_run(name, since)
        if runs is not None:
            state = runs[0]["state"] if runs else {"type": "FAILED", "message": "The run did not start."}
            if state["type"] in ENDED:
                return dict(state)
            deadline = time.monotonic() + LOST_SERVER_S
        time.sleep(1)
    return {"type": "FAILED", "message": f"The Prefect server at {API} does not answer. Start it, and run this again."}


def newest_run(name: str, since: datetime) -> Any:
    """A list with the run of a deployment that began last, empty if none did; None while the server does not answer."""
    if not (deployment := ask(f"deployments/name/{urllib.parse.quote(name)}")):
        return None
    query = {
        "deployments": {"id": {"any_": [deployment["id"]]}},
        "flow_runs": {"expected_start_time": {"after_": since.isoformat()}},
        "sort": "START_TIME_DESC",
        "limit": 1,
    }
    return ask("flow_runs/filter", query)


def print_results(name: str, parameters: dict[str, str]) -> None:
    """Print the tables of the run that just ended, and where its page is."""
    flow, deployment = name.split("/")
    folder = {"benchmark": deployment, "adapt": parameters.get("name", "my_photos")}.get(flow, "")
    for report in (ROOT / "data" / folder / "report", ROOT / "data" / "experiments" / folder / "report"):
        if (report / "results.md").exists():
            print((report / "results.md").read_text(encoding="utf-8"))
            print(f"Open {report / 'report.html'}")


def _is_served(name: str) -> bool:
    """Is the deployment registered, and a serve process of this checkout alive? (A killed one leaves its entry.)"""
    deployment = ask(f"deployments/name/{urllib.parse.quote(name)}")
    return isinstance(deployment, dict) and not deployment["paused"] and _serve_lock_is_held()


def _serve_lock_is_held() -> bool:
    with locked(HOME / "serve.lock", wait=False) as is_free:
        return not is_free


def serve() -> int:
    """Serve every deployment of this checkout until interrupted."""
    with locked(HOME / "serve.lock", wait=False) as is_ours:
        if not is_ours:
            print("The deployments of this checkout are already being served.")
            return 1
        with server():
            os.environ.update(settings())
            from flows.deployments import serve_all  # Prefect reads its settings from the environment on import

            serve_all()
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m flows.up", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="start a server if none answers, and serve the deployments until Ctrl-C")
    runner = commands.add_parser("run", help="run one deployment and wait for it")
    runner.add_argument("name", help="flow/deployment, for example benchmark/demo")
    runner.add_argument("--param", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    return serve() if given.command == "serve" else run(given.name, given.param)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (BadInput, RuntimeError) as error:
        sys.exit(f"error: {error}")
