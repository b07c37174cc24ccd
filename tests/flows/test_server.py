"""How a run is followed: lines, warnings and progress are shown, a lost server is waited for; and whose runs it is."""

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from prefect.runner import Runner

from flows import deployments, server
from flows.pages import address_of, served
from flows.terminal import Screen
from flows.workspace import check_own
from tasks.basics import ROOT, BadInput
from tasks.durations import whole_duration

PROGRESS = [40.0, 40.0, 100.0]  # of the running task, at each question
LOG = [
    {"level": 20, "name": "prefect.flow_runs", "message": "Beginning flow run"},
    {"level": 20, "name": "flows.steps", "message": "photos             3 results           12 s"},
    {"level": 30, "name": "tasks.store.store", "message": "x is damaged: it is made anew."},
    {"level": 20, "name": "flows.steps", "message": "degrade            4 results            1 s"},
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def api(monkeypatch):
    """A Prefect API that answers with a run which ends at the fourth answer; answers may be None: no answer."""
    states, progress = ["RUNNING", None, "RUNNING", "RUNNING", "COMPLETED"], [*PROGRESS]

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state = states.pop(0)
            self.answer({"state": {"type": state, "message": ""}} if state else None)

        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "artifacts" in query:
                assert query["task_runs"] == {"state": {"type": {"any_": ["RUNNING"]}}}
                self.answer([{"description": "finetune (steps)", "data": progress.pop(0)}])
            else:
                self.answer(LOG[query["offset"] : query["offset"] + 2])

        def answer(self, value: object) -> None:
            self.send_response(200 if value else 503)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Api) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(server, "API", f"http://127.0.0.1:{listening.server_port}/api")
        monkeypatch.setattr(server, "POLL_S", 0.0)
        yield states
        listening.shutdown()


@pytest.mark.parametrize(
    ("verbosity", "lines"),
    [
        (0, ["warning: x is damaged: it is made anew."]),
        (1, [LOG[1]["message"], "warning: x is damaged: it is made anew.", LOG[3]["message"]]),
        (2, [LOG[0]["message"], LOG[1]["message"], "warning: x is damaged: it is made anew.", LOG[3]["message"]]),
    ],
)
def test_a_run_shows_its_steps_and_warnings_once_and_survives_a_lost_server(api, verbosity, lines):
    shown = io.StringIO()
    assert server.follow("1", Screen(verbosity, shown))["type"] == "COMPLETED"
    assert shown.getvalue().splitlines() == lines
    assert not api


def test_a_run_that_is_interrupted_is_cancelled_and_says_no_more(monkeypatch):
    asked, ended = [], ["RUNNING", "CANCELLING", "CANCELLED"]

    def ask(path: str, query: Any = None) -> Any:
        asked.append((path, query))
        if path == "flow_runs/1":
            if len(ended) == 3:
                ended.pop(0)
                raise KeyboardInterrupt
            return {"state": {"type": ended.pop(0), "message": ""}}
        if path == "logs/filter":
            return [{"level": 30, "name": "prefect.task_runs", "message": "Crash detected!"}]
        return []

    shown = io.StringIO()
    monkeypatch.setattr(server, "serving", contextlib.nullcontext)
    monkeypatch.setattr(server, "POLL_S", 0.0)
    monkeypatch.setattr(server, "_begin", lambda *_: {"id": "1"})
    monkeypatch.setattr(server, "ask", ask)
    with pytest.raises(KeyboardInterrupt):
        server.run("benchmark", {}, Screen(1, shown))
    assert shown.getvalue() == "Cancelling …\n"
    assert ("flow_runs/1/set_state", {"state": {"type": "CANCELLING"}, "force": True}) in asked


def test_progress_is_one_live_line_that_the_next_text_replaces(api):
    shown = Terminal()
    server.follow("1", Screen(1, shown))
    assert "finetune (steps)                 ████████░░░░░░░░░░░░  40 %" in shown.getvalue()
    assert shown.getvalue().count("\n") == 3


def test_tasks_side_by_side_share_the_live_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    tasks = [("a", 40.0), ("b", 20.0), ("done", 100.0), ("a", 90.0)]  # the last is of an earlier try
    answer = [{"task_run_id": task, "description": "finetune (steps)", "data": share} for task, share in tasks]
    monkeypatch.setattr(server, "ask", lambda path, query: answer)
    shown = Terminal()
    server._show_progress("1", Screen(1, shown))
    assert shown.getvalue() == f"\rfinetune (steps), 2 at once      {'█' * 6}{'░' * 14}  30 % \x1b[K"


def test_what_is_done_shows_no_progress_and_results_get_a_line_of_their_own(api):
    shown = Terminal()
    server.follow("1", Screen(1, shown))
    assert "100 %" not in shown.getvalue()
    assert shown.getvalue().endswith(("\n", "\r\x1b[K"))


def test_a_task_of_the_same_name_is_timed_anew(monkeypatch):
    shown, clock = Terminal(), iter([0, 10, 100, 110])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    screen = Screen(1, shown)
    for share in (0.1, 0.6):
        screen.progress("finetune (steps)", share)
    screen.clear()
    for share in (0.1, 0.6):
        screen.progress("finetune (steps)", share)
    assert shown.getvalue().count(" 8 s left") == 2


def test_a_server_that_stays_away_is_an_error(monkeypatch):
    with socket.socket() as nobody:  # bound, but it does not listen
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setattr(server, "API", f"http://127.0.0.1:{nobody.getsockname()[1]}/api")
        monkeypatch.setattr(server, "LOST_SERVER_S", 0.05)
        monkeypatch.setattr(server, "POLL_S", 0.0)
        state = server.follow("1", Screen(0))
    assert state["type"] == "FAILED"
    assert "does not answer" in state["message"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.6, "5 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (4200, "1 h 10 min")]
)
def test_durations_are_said_in_units_of_their_size(seconds, text):
    assert whole_duration(seconds) == text


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:port/api", "http://h:99999/api", "127.0.0.1:4200/api", "http:///api", "http://a b/api"],
)
def test_what_is_no_address_of_a_server_is_said(monkeypatch, address):
    monkeypatch.setattr(server, "API", address)
    with pytest.raises(BadInput, match="PREFECT_API_URL: expected an address like"):
        server._start_server()


def test_a_server_of_another_machine_is_not_started_here(monkeypatch):
    monkeypatch.setattr(server, "API", "http://192.0.2.1:4200/api")
    monkeypatch.setattr(server, "ask", lambda path: None)
    with pytest.raises(BadInput, match="cannot be started from here"):
        server._start_server()


@pytest.mark.parametrize("reply", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.0 200 OK\r\n\r\n<html>", b""])
def test_what_is_no_prefect_server_does_not_answer(monkeypatch, reply):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            with other.accept()[0] as caller:
                caller.recv(4096)
                caller.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setattr(server, "API", f"http://127.0.0.1:{other.getsockname()[1]}/api")
        assert server.ask("health") is None
        thread.join()


def test_loopback_never_goes_through_a_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    assert server.settings()["no_proxy"] == server.settings()["NO_PROXY"] == "127.0.0.1,::1,example.org,localhost"
    monkeypatch.setattr(server, "API", "http://0.0.0.0:4200/api")
    assert "0.0.0.0" in server.settings()["no_proxy"].split(",")


def test_a_checkouts_deployments_are_its_own(monkeypatch):
    names = {server.checkout_name(Path(root)) for root in ("/a/bfr", "/b/bfr", "/b/my bfr%")}
    assert len(names) == 3
    assert all(re.fullmatch("(bfr|my_bfr_)-[0-9a-f]{6}", name) for name in names)
    shown: list[Any] = []
    monkeypatch.setattr(deployments.Served, "add_deployment", lambda _, deployment: shown.append(deployment))
    monkeypatch.setattr(deployments.Served, "until_a_signal", lambda _: asyncio.sleep(0))
    deployments.serve_all("bfr-123456")
    assert {each.name for each in shown} == {"bfr-123456"}
    assert shown[-1].flow_name == server.LAST_SERVED
    pool = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {entry["entrypoint"].rpartition(":")[2] for entry in pool} == {each.flow_name for each in shown}
    assert {entry["name"] for entry in pool} == {"pool"}, "served ones have other names"


def test_a_flow_of_another_checkout_does_not_run_here(tmp_path):
    check_own(deployments.__file__)
    with pytest.raises(BadInput, match="another checkout"):
        check_own(str(tmp_path / "flows" / "benchmark.py"))


def test_only_the_servers_own_pages_may_use_it(monkeypatch):
    monkeypatch.setattr(server, "API", "http://127.0.0.1:4299/api")
    monkeypatch.delenv("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", raising=False)
    found = server.settings()["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]
    assert found == "http://127.0.0.1:4299,http://localhost:4299"
    monkeypatch.setattr(server, "API", "http://lab.example:80/api")
    assert server.origins() == ["http://lab.example:80"]


def test_a_server_that_wants_a_token_gets_one(monkeypatch):
    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, {"token": f"for {self.path.partition('client=')[2]}"})

        def do_POST(self) -> None:
            is_known = self.headers["Prefect-Csrf-Token"] == f"for {self.headers['Prefect-Csrf-Client']}"
            self.answer(200 if is_known else 403, ["an answer"])

        def answer(self, code: int, value: object) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(server, "TOKEN", {})
    with HTTPServer(("127.0.0.1", 0), Api) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(server, "API", f"http://127.0.0.1:{listening.server_port}/api")
        assert server.ask("flow_runs/filter", {}) == ["an answer"]
        assert server.ask("flow_runs/filter", {}) == ["an answer"]
        listening.shutdown()


def test_reports_are_served_on_loopback_to_who_asks_this_host(tmp_path):
    report = tmp_path / "my results" / "report"
    report.mkdir(parents=True)
    (report / "report.html").write_text("numbers")
    links = tmp_path / "links"
    assert address_of(report.parent, links) is None
    with served(links, first_port=0):
        address = address_of(report.parent, links)
        assert address == address_of(report.parent, links)
        with urllib.request.urlopen(f"{address}/report/report.html") as reply:
            assert reply.read() == b"numbers"
        other = urllib.request.Request(f"{address}/report/report.html", headers={"Host": "evil.example:80"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(other)
    assert address_of(report.parent, links) is None


def test_a_run_waits_for_a_bfr_serve_that_is_only_starting(monkeypatch, tmp_path):
    """It held the lock and had not registered its deployments yet: a second one was started, and failed."""
    served = [False, False, True, True]
    monkeypatch.setattr(server, "HOME", tmp_path)
    monkeypatch.setattr(server.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(server, "_start_server", lambda: None)
    monkeypatch.setattr(server, "_is_served", lambda: served.pop(0))
    monkeypatch.setattr(server, "_start", lambda name, *_: pytest.fail(f"{name} was started"))
    with server.locked(tmp_path / "serve.lock"), server.serving():
        assert len(served) == 1


STAYS = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).wait()"


def test_a_server_that_is_interrupted_while_it_starts_is_ended_with_all_that_it_began(monkeypatch, tmp_path):
    """`bfr serve` and `bfr run` left theirs behind."""
    begun: list[psutil.Process] = []

    def is_there() -> bool:
        (note,) = tmp_path.glob("server.json")
        begun[:] = [process := psutil.Process(json.loads(note.read_text())["pid"]), *process.children()]
        if len(begun) == 2:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(server, "HOME", tmp_path)
    monkeypatch.setattr(server, "END_TIMEOUT_S", 1)  # the child of what is ended goes on
    with pytest.raises(KeyboardInterrupt):
        server._start("server", [sys.executable, "-c", STAYS], is_there)
    assert not psutil.wait_procs(begun, 10)[1]
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_further_signal_does_not_keep_a_server_from_being_ended(monkeypatch, tmp_path, number):
    ended, usual = [], signal.getsignal(number)

    def end_server() -> None:
        os.kill(os.getpid(), number)
        ended.append(number)

    def interrupted(checkout: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "HOME", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(server.os, "environ", dict(os.environ))
    monkeypatch.setattr(server, "_start_server", lambda: None)
    monkeypatch.setattr(server, "_end_server", end_server)
    monkeypatch.setattr(deployments, "serve_all", interrupted)
    monkeypatch.setattr(server.pages, "served", lambda *_, **__: contextlib.nullcontext())
    with pytest.raises(KeyboardInterrupt):
        server.serve()
    assert ended == [number]
    assert signal.getsignal(number) == usual


@pytest.mark.parametrize("number", deployments.SIGNALS)
def test_what_serves_ends_at_the_first_signal_and_a_further_one_does_not_disturb_it(monkeypatch, number):
    """Prefect's own runner left by an exception at each of them, with a traceback."""
    done = []

    async def start(self: Runner) -> None:  # as Prefect's: it ends once it is stopped, and pauses its deployments
        self.stopped = asyncio.Event()
        os.kill(os.getpid(), number)
        await asyncio.sleep(0)
        self.started = True
        await self.stopped.wait()
        os.kill(os.getpid(), number)
        await asyncio.sleep(0)
        done.append("paused")

    async def astop(self: Runner) -> None:
        done.append("runs cancelled")
        self.stopped.set()

    monkeypatch.setattr(deployments, "POLL_S", 0.0)
    monkeypatch.setattr(Runner, "start", start)
    monkeypatch.setattr(Runner, "astop", astop)
    usual = {each: signal.getsignal(each) for each in deployments.SIGNALS}
    try:
        asyncio.run(deployments.Served().until_a_signal())
    finally:
        for each, handler in usual.items():
            signal.signal(each, handler)
    assert done == ["runs cancelled", "paused"]


def test_a_run_and_a_bfr_serve_that_end_together_leave_no_server(monkeypatch, tmp_path):
    """Each saw the other's lock and left the server to it."""
    ended = []
    monkeypatch.setattr(server, "HOME", tmp_path)
    monkeypatch.setattr(server, "_start_server", lambda: None)
    monkeypatch.setattr(server, "_is_served", lambda: True)
    monkeypatch.setattr(server, "_end", lambda name: None)
    monkeypatch.setattr(server, "_end_server", lambda: ended.append(1))
    monkeypatch.setattr(server.pages, "served", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(server.os, "environ", dict(os.environ))
    monkeypatch.chdir(tmp_path)

    def serve_all(checkout: str) -> None:
        with server.serving():
            pass
        assert not ended, "it is still served"

    monkeypatch.setattr(deployments, "serve_all", serve_all)
    server.serve()
    assert ended == [1]


@pytest.mark.parametrize(("name", "stays"), [("pool", True), (server.CHECKOUT, False)])
def test_a_server_that_others_use_stays_and_that_is_said(monkeypatch, tmp_path, capsys, name, stays):
    ended = []
    monkeypatch.setattr(server, "HOME", tmp_path)
    monkeypatch.setattr(server, "ask", lambda *_: [{"name": name, "status": "READY", "paused": False}])
    monkeypatch.setattr(server, "_end", ended.append)
    (tmp_path / "server.json").write_text(json.dumps({"pid": os.getpid()}))
    server._end_server()
    assert ended == ([] if stays else ["server"])
    said = f"(process {os.getpid()}) stays: it has deployments of others, pool."
    assert (said in capsys.readouterr().err) == stays


def test_a_serve_process_that_a_run_ends_does_not_wait_for_the_run(monkeypatch, tmp_path):
    monkeypatch.setattr(server, "HOME", tmp_path)
    monkeypatch.setattr(server, "_start_server", lambda: None)
    monkeypatch.setattr(server, "_end_server", lambda: pytest.fail("the run has it"))
    monkeypatch.setattr(server.pages, "served", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(server.os, "environ", dict(os.environ))
    monkeypatch.setattr(deployments, "serve_all", lambda checkout: None)
    monkeypatch.chdir(tmp_path)
    with server.locked(tmp_path / "start.lock"), server.locked(tmp_path / "users.lock"):
        server.serve()
