"""The Prefect process behind the command line: a server and a serve process, started where none answers.

Every flow has one deployment in a checkout, named by it, so that several checkouts can use one server. A run is what
`prefect deployment run` starts. It is followed by its id through Prefect's API, and it outlives a server that was lost
and comes back.
"""

import fcntl
import http.client
import io
import json
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

import psutil

from flows import pages
from flows.terminal import Screen
from tasks.basics import ROOT, BadInput
from tasks.running.interrupts import noted_interrupts
from tasks.store.files import read_note, write_json
from tasks.store.keys import digest
from tasks.store.locks import locked

HOME = ROOT / "data" / ".prefect"
API = (os.environ.get("PREFECT_API_URL") or "http://127.0.0.1:4200/api").rstrip("/")
START_TIMEOUT_S = 180
END_TIMEOUT_S = 30  # how long what is ended may take, before it is killed
LOST_SERVER_S = 120  # how long a lost server may take to come back
POLL_S = 1.0
TRIES = 20
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
INFO, WARNING = 20, 30
PREFECT = str(Path(sys.executable).with_name("prefect"))
LAST_SERVED = "train"  # of the flows, as flows/deployments.py registers them
LOOPBACK = ("127.0.0.1", "localhost")


def checkout_name(root: Path) -> str:
    """What the deployments of a checkout are called: by its folder, and by what no other checkout shares."""
    return f"{re.sub('[^A-Za-z0-9_.-]+', '_', root.name)}-{digest([platform.node(), str(root)])[:6]}"


CHECKOUT = checkout_name(ROOT)


def settings() -> dict[str, str]:
    """Environment of the server and the flows: one home, below data/, no telemetry, no proxy on the way to it."""
    direct = {os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")} | {
        *LOOPBACK,
        "::1",
        str(address_of_server().hostname),
    }
    without_proxy = ",".join(sorted(filter(None, direct)))
    return {
        "PREFECT_HOME": str(HOME),
        "PREFECT_LOCAL_STORAGE_PATH": str(HOME / "results"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins()),
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,tasks",
        "DO_NOT_TRACK": "1",
        **os.environ,
        "PREFECT_API_URL": API,
        "no_proxy": without_proxy,
        "NO_PROXY": without_proxy,
    }


def address_of_server() -> urllib.parse.SplitResult:
    """The parts of `API`. Raises BadInput where it is no address of a server."""
    try:
        address = urllib.parse.urlsplit(API)
        is_valid = address.scheme in ("http", "https") and address.hostname and address.port != 0
    except ValueError:  # no number, or too large a one, as the port
        is_valid = False
    if not is_valid or re.search(r"\s", API):
        raise BadInput(
            f"PREFECT_API_URL: expected an address like http://127.0.0.1:4200/api, found {API!r}. Correct or unset it."
        )
    return address


def origins() -> list[str]:
    """Whose pages may use the server: its own. Prefect's default lets any page start flows that a browser has open."""
    address = address_of_server()
    hosts = LOOPBACK if address.hostname in LOOPBACK else (address.hostname,)
    port = f":{address.port}" if address.port else ""
    return [f"{address.scheme}://{host}{port}" for host in hosts]


def ask(path: str, query: Any = None) -> Any:
    """JSON of an API address (POST if there is a query); None while it does not answer with success."""
    with suppress(OSError, http.client.HTTPException, json.JSONDecodeError):  # away, or something else is at its port
        try:
            return _reply(path, query)
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.FORBIDDEN:
                _take_token()
                return _reply(path, query)
    return None


def _reply(path: str, query: Any) -> Any:
    body = None if query is None else json.dumps(query).encode()
    headers = {"Content-Type": "application/json"} | TOKEN
    request = urllib.request.Request(f"{API}/{path}", data=body, headers=headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=30) as reply:
        return json.load(reply)


TOKEN: dict[str, str] = {}
"""Headers that a server like ours wants to see with every order: a page that is open in a browser has none."""


def _take_token() -> None:
    client = uuid.uuid4().hex
    TOKEN.update({"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": ""})
    TOKEN["Prefect-Csrf-Token"] = _reply(f"csrf-token?client={client}", None)["token"]


# What is started where it is missing.


@contextmanager
def serving() -> Iterator[None]:
    """While the block runs, a server answers and this checkout's deployments are served.

    What is missing is started, and stays for other runs that use it; the last of them ends it.
    """
    with _shared_lock(HOME / "users.lock") as users:
        try:
            with locked(HOME / "start.lock"):
                _start_server()
                if not _is_served() and not (_serve_lock_is_held() and _comes(_is_served)):
                    _start("serve", [sys.executable, "-m", "flows", "serve"], _is_served)
            yield
        finally:
            with undisturbed(), locked(HOME / "start.lock"), suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _end("serve")
                fcntl.flock(users, fcntl.LOCK_UN)  # before it is looked whether a `bfr serve` of the user's is there
                if not _serve_lock_is_held():
                    _end_server()


@contextmanager
def undisturbed() -> Iterator[None]:
    """While the block runs, which ends what was started, no further signal cuts it short and leaves that behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _start_server() -> None:
    """Start a Prefect server at `API` if none answers there. Raises BadInput where that is another machine."""
    address = address_of_server()
    if ask("health") is True:
        return
    if not _is_here(str(address.hostname)):
        raise BadInput(
            f"No Prefect server answers at {API} (PREFECT_API_URL), and it cannot be started from here. Start it there,"
            " or unset PREFECT_API_URL to use one of this machine."
        )
    command = [PREFECT, "server", "start", "--host", str(address.hostname), "--port", str(address.port or 80)]
    _start("server", command, lambda: ask("health") is True)


def _is_here(host: str) -> bool:
    """Whether a host is this machine: its name or one of its addresses."""
    with suppress(OSError):
        family, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as listener:
            listener.bind(address)
            return True
    return False


def _start(name: str, command: list[str], is_there: Callable[[], bool]) -> None:
    """A process of its own, out of reach of the terminal's Ctrl-C, with its output in a log file; once it is there.

    Its number is noted for `_end`. Raises BadInput if it ends, or the time is up.
    """
    log = HOME / f"{name}.log"
    with log.open("wb") as file, noted_interrupts(f"the start of {name}") as interrupts:
        process = psutil.Popen(
            command, env=settings(), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        write_json(HOME / f"{name}.json", {"pid": process.pid, "created": process.create_time()})
    try:
        interrupts.obey()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_there():
            if process.poll() is not None or time.monotonic() > deadline:
                raise BadInput(f"{' '.join(command)} did not start at {API}. Its log: {log}\n{log.read_text()[-2000:]}")
            time.sleep(0.5)
    except BaseException:  # an interrupt, too
        with undisturbed():
            _end(name)
        raise


def _comes(is_there: Callable[[], bool]) -> bool:
    """Wait for what another process is starting; whether it is there in time."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_there():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _end(name: str) -> None:
    """End what `_start` started, if it is still there."""
    note = HOME / f"{name}.json"
    if not note.exists():
        return
    found = read_note(note)
    note.unlink(missing_ok=True)
    with suppress(psutil.NoSuchProcess, KeyError):  # KeyError: the note is damaged
        process = psutil.Process(found["pid"])
        if process.create_time() == found["created"]:
            all_of_it = [process, *process.children(recursive=True)]
            process.terminate()
            for each in psutil.wait_procs(all_of_it, END_TIMEOUT_S)[1]:
                with suppress(psutil.NoSuchProcess):
                    each.kill()


def _end_server() -> None:
    """End the server, if this checkout has started it and nobody else has deployments there; else say that it stays."""
    served = ask("deployments/filter", {}) or []
    ready = [each["name"] for each in served if each["status"] == "READY" and not each["paused"]]
    if not (others := {*ready} - {CHECKOUT}):
        _end("server")
    elif psutil.pid_exists(pid := read_note(HOME / "server.json").get("pid", 0)):
        where = f"The Prefect server at {API} (process {pid})"
        Screen(1).line(f"{where} stays: it has deployments of others, {', '.join(sorted(others))}.")


def serve() -> None:
    """Serve every deployment of this checkout until interrupted. Raises BadInput where another process does."""
    with ExitStack() as served:
        if not served.enter_context(locked(HOME / "serve.lock", wait=False)):
            raise BadInput(
                "The deployments of this checkout are already being served, by another `bfr serve` or for a run. "
                "Use them (`prefect deployment ls`), or end that first."
            )
        try:
            _start_server()
            os.environ.update(settings())
            os.chdir(ROOT)
            from flows.deployments import serve_all  # Prefect reads its settings from the environment on import

            with pages.served(HOME / "pages", first_port=(address_of_server().port or 4200) + 1):
                serve_all(CHECKOUT)
        finally:
            with undisturbed():
                served.close()  # before it looks for a run: of two that end together, one sees the other go
                with locked(HOME / "users.lock", wait=False) as is_last:
                    if is_last:
                        _end_server()


def _is_served() -> bool:
    """Are the deployments registered, and a serve process of this checkout alive? (A killed one leaves its entries.)"""
    deployment = ask(f"deployments/name/{LAST_SERVED}/{CHECKOUT}")
    return isinstance(deployment, dict) and not deployment["paused"] and _serve_lock_is_held()


def _serve_lock_is_held() -> bool:
    with locked(HOME / "serve.lock", wait=False) as is_free:
        return not is_free


@contextmanager
def _shared_lock(path: Path) -> Iterator[IO[str]]:
    """Hold a lock that any number of processes can hold together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield file


# Runs.


def run(flow: str, parameters: dict[str, Any], screen: Screen, tags: Sequence[str] = ()) -> dict[str, Any]:
    """Run a flow of this checkout and show how it goes on; its last state {type, message}. An interrupt cancels it."""
    with serving():
        begun = _begin(f"{flow}/{CHECKOUT}", {"parameters": parameters, "tags": list(tags)})
        try:
            return follow(begun["id"], screen)
        except KeyboardInterrupt:
            screen.line("Cancelling …")
            cancel(begun["id"])
            raise


def cancel(run_id: str) -> None:
    """Cancel a run, as Prefect's page does, and wait until it has ended."""
    ask(f"flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}, "force": True})
    follow(run_id, Screen(0, io.StringIO()))  # what its log says of being ended is no news


def _begin(deployment: str, about: dict[str, Any]) -> dict[str, Any]:
    """A new run of a deployment. A busy server is asked again; the key keeps that from making two runs."""
    query = about | {"state": {"type": "SCHEDULED"}, "idempotency_key": uuid.uuid4().hex}
    for _ in range(TRIES):
        found = ask(f"deployments/name/{urllib.parse.quote(deployment)}")
        if found and (begun := ask(f"deployments/{found['id']}/create_flow_run", query)):
            return dict(begun)
        time.sleep(POLL_S)
    raise BadInput(f"The Prefect server at {API} does not take a run of {deployment!r}. Its log: {HOME / 'server.log'}")


def follow(run_id: str, screen: Screen) -> dict[str, Any]:
    """Show the log and the progress of a run until it has ended; its last state.

    A server that is away for LOST_SERVER_S, in which nothing can be said about the run, is a failure.
    """
    shown, deadline = 0, time.monotonic() + LOST_SERVER_S
    try:
        while time.monotonic() < deadline:
            if found := ask(f"flow_runs/{run_id}"):
                deadline = time.monotonic() + LOST_SERVER_S
                shown = _show_log(run_id, shown, screen)
                if found["state"]["type"] in ENDED:
                    return dict(found["state"])
                _show_progress(run_id, screen)
            time.sleep(POLL_S)
    finally:
        screen.clear()
    return {"type": "FAILED", "message": f"The Prefect server at {API} does not answer. Start it, and run this again."}


def _show_log(run_id: str, shown: int, screen: Screen) -> int:
    """What the pipeline says of itself, and every warning; how many entries were shown in all."""
    query = {
        "logs": {"flow_run_id": {"any_": [run_id]}, "level": {"ge_": INFO}},
        "sort": "TIMESTAMP_ASC",
        "offset": shown,
        "limit": 200,
    }
    entries = ask("logs/filter", query) or []
    for entry in entries:
        if entry["level"] >= WARNING:
            screen.warning(entry["message"])
        elif entry["name"].startswith(("flows", "tasks")):
            screen.line(entry["message"])
        else:
            screen.detail(entry["message"])
    return shown + len(entries)


def _show_progress(run_id: str, screen: Screen) -> None:
    """How far the run's tasks are that are at work, if there is anything left to do; several on one line."""
    query = {
        "artifacts": {"flow_run_id": {"any_": [run_id]}, "type": {"any_": ["progress"]}},
        "task_runs": {"state": {"type": {"any_": ["RUNNING"]}}},
        "sort": "UPDATED_DESC",
    }
    newest: dict[Any, tuple[str, float]] = {}  # of each task: one that is tried again has those of both tries
    for found in ask("artifacts/filter", query) or []:
        newest.setdefault(found.get("task_run_id"), (found["description"], float(found["data"])))
    if busy := [(what, percent) for what, percent in newest.values() if percent < 100]:
        what = busy[0][0] + (f", {len(busy)} at once" if len(busy) > 1 else "")
        screen.progress(what, statistics.mean(percent for _, percent in busy) / 100)
    else:
        screen.clear()
