"""The page of `bfr app` in a real browser: photos are dropped, buttons clicked, results downloaded; nothing leaves."""

import hashlib
import http.client
import http.server
import io
import shutil
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from chromium import in_chromium
from faces.drawn import Head, draw
from PIL import Image

from flows.adapt import Changes
from flows.app import jobs, serving
from flows.app.jobs import Desk
from flows.cli import call
from flows.personalize import Tuning
from flows.whole_photos import Options, Outcome, restore_photos
from tasks.basics import ROOT, BadInput
from tasks.running.progress import Bar, track
from tasks.store.files import write_json, write_png
from tasks.weights import fetch
from tasks.weights.file import WeightFile
from tasks.weights.official import REALESRGAN_X2

pytestmark = pytest.mark.xdist_group("app")  # one server, one browser

PATIENCE_MS = 120_000
TWO = [Head(3, 150, 90, 95), Head(8, 90, 260, 110, 12)]


@pytest.fixture(scope="module")
def port(tmp_path_factory) -> Iterator[int]:
    """The page, served by a thread; every address that this process connects to is its own."""
    uvicorn = pytest.importorskip("uvicorn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")  # set by the desk, and put back after the tests
        patch.setattr(socket.socket, "connect", connecting(socket.socket.connect))
        with serving.desk(tmp_path_factory.mktemp("desk")) as desk, serving.listening(17860) as listener:
            application = serving.application(desk)
            server = uvicorn.Server(uvicorn.Config(application, log_level="error", timeout_graceful_shutdown=1))
            thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
            thread.start()
            yield listener.getsockname()[1]
            server.should_exit = True
            thread.join(30)


def connecting(connect: Callable[..., None]) -> Callable[..., None]:
    def checked(self: socket.socket, address: object) -> None:
        assert not isinstance(address, tuple) or address[0] in ("127.0.0.1", "::1"), f"connected to {address}"
        connect(self, address)

    return checked


@pytest.fixture
def page(port, browser) -> Iterator[object]:
    """The page, opened; at the end, no error was on its console and nothing was asked of anybody else."""
    problems: list[str] = []
    address = f"http://127.0.0.1:{port}/"
    opened = browser.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    opened.on("console", lambda message: message.type == "error" and problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on(
        "request",
        lambda asked: asked.url.startswith((address, "data:", "blob:")) or problems.append(asked.url),
    )
    opened.goto(address)
    yield opened
    opened.close()
    assert problems == []


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A photo with two faces."""
    path = tmp_path / "two.jpg"
    Image.fromarray(draw(TWO, 340, 200)[0]).save(path, quality=90)
    return path


def choose(page, method: str) -> None:
    page.locator(".note.quiet", has_text="One pass").filter(visible=True).first.wait_for()  # what is shown at first
    page.get_by_role("combobox", name="Method").filter(visible=True).click()
    page.get_by_role("option", name=method, exact=True).click()


def dropped(page, *files: Path, nth: int = 0) -> None:
    page.locator(".tabitem:visible input[type=file]").nth(nth).set_input_files(list(files))


def says(page, text: str) -> None:
    page.locator(".note", has_text=text).filter(visible=True).first.wait_for()


@in_chromium
def test_a_photo_is_dropped_restored_compared_and_downloaded(page, two, tmp_path):
    dropped(page, two)
    says(page, "2 faces found.")
    choose(page, "demo")
    page.get_by_role("button", name="More", exact=True).or_(page.get_by_text("More", exact=True)).last.click()
    page.get_by_label("Only the face nearest to the middle").check()
    page.get_by_role("button", name="Restore", exact=True).click()
    says(page, "1 face restored.")
    says(page, "know rendered faces of")
    page.wait_for_function("[...document.images].filter(image => image.naturalWidth == 340).length >= 2")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the photo").click()
    options = Options(only_center=True, keep_crops=True)
    done = restore_photos([two], str(tmp_path / "same"), "demo_l1", "pretrained", options)
    assert download.value.suggested_filename == "two.jpg"
    assert Path(download.value.path()).read_bytes() == (done.root / "photos" / "two.jpg").read_bytes()


@in_chromium
def test_what_is_wrong_is_said_where_one_looks(page, tmp_path, two, monkeypatch):
    page.get_by_role("button", name="Restore", exact=True).click()
    says(page, "Drop a photo first.")
    nobody, broken = tmp_path / "nobody.png", tmp_path / "broken.jpg"
    Image.fromarray(draw([], 120, 90)[0]).save(nobody)
    broken.write_bytes(two.read_bytes()[:900])
    dropped(page, nobody)
    says(page, "No face was found that can be restored")
    page.get_by_label("Remove").or_(page.get_by_label("Clear")).first.click()
    says(page, "Drop a photo to see the faces in it.")
    dropped(page, broken)
    says(page, "damaged or cut off")
    monkeypatch.setattr(fetch.Path, "is_file", lambda path: path.suffix != ".pth" and Path.exists(path))
    choose(page, "codeformer")
    says(page, "codeformer.pth is not here yet (S-Lab License 1.0, non-commercial; from github.com)")
    page.get_by_label("Fidelity").first.wait_for()
    page.get_by_role("button", name="Restore", exact=True).click()
    says(page, "bfr fetch codeformer.pth")


@in_chromium
def test_fewer_evaluations_are_offered_where_a_method_can_do_with_them(page):
    fast = page.get_by_label("Fast: fewer evaluations").filter(visible=True)
    choose(page, "difface")
    fast.check()
    page.get_by_role("combobox", name="Method").filter(visible=True).click()
    page.get_by_role("option", name="gfpgan", exact=True).click()
    fast.wait_for(state="hidden")
    choose(page, "pseudo_target")
    fast.wait_for()
    assert not fast.is_checked()


@in_chromium
def test_weights_are_fetched_by_a_click_that_agrees_with_their_terms(page, tmp_path, monkeypatch):
    contents = bytes(range(256)) * 4096
    (tmp_path / "network.pth").write_bytes(contents)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/network.pth"
        digest = hashlib.sha256(contents).hexdigest()
        file = WeightFile("network.pth", address, "a licence", sha256=digest, size=len(contents))
        monkeypatch.setattr(jobs, "files_of", lambda experiment, method: [file])
        monkeypatch.setattr(jobs, "WEIGHTS", tmp_path / "weights")
        monkeypatch.setattr(fetch, "WEIGHTS", tmp_path / "weights")
        choose(page, "swinir")
        says(page, "network.pth is not here yet (a licence;")
        agree = page.get_by_role("button", name="I agree with its terms: fetch 1 MiB").first
        agree.click()
        agree.wait_for(state="hidden")
        server.shutdown()
    assert (tmp_path / "weights" / "network.pth").read_bytes() == contents


@in_chromium
def test_an_album_is_restored_and_comes_as_one_archive(page, two, tmp_path):
    Image.fromarray(draw([Head(5, 140, 100, 90, -8)], 220, 190)[0]).save(tmp_path / "one.png")
    page.get_by_role("tab", name="An album").click()
    choose(page, "demo")
    dropped(page, two, tmp_path / "one.png")
    page.get_by_text("one.png").or_(page.get_by_text("one", exact=True)).first.wait_for()
    page.get_by_role("button", name="Restore all").click()
    says(page, "2 photos restored, 3 faces.")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all").click()
    assert download.value.suggested_filename == "restored.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {"photos/two.jpg", "photos/one.png", "faces/faces.json"} <= set(archive.namelist())


@in_chromium
def test_an_adaptation_shows_how_far_it_is_and_what_it_found(page, two, monkeypatch):
    seen = threading.Event()

    def adapt(
        given: list[Path], out: str, experiment: str, options: Options, changes: Changes, real: list[Path]
    ) -> Outcome:
        assert changes == Changes(is_fast=True)
        assert real == []
        assert [path.name for path in given[0].iterdir()] == ["two.jpg"]
        with Bar("finetune", 4) as bar:
            bar.advance()
            assert seen.wait(PATIENCE_MS / 1000)
        root = Path(out)
        for place in ("photos", "report", "details/lq"):
            (root / place).mkdir(parents=True)
        write_png(root / "photos" / "two.png", np.zeros((64, 64, 3), np.uint8))
        write_png(root / "details" / "lq" / "two.png", np.zeros((64, 64, 3), np.uint8))
        write_json(root / "report" / "findings.json", {experiment: "adapted, and better"})
        (root / "report" / "report.html").write_text("<p>The report</p>")
        return Outcome(root, {}, {}, [])

    monkeypatch.setattr(jobs, "adapt_photos", adapt)
    page.get_by_role("tab", name="Adapt").click()
    dropped(page, two)
    page.get_by_text("two.jpg").or_(page.get_by_text("two", exact=True)).filter(visible=True).first.wait_for()
    page.get_by_label("Fast: fewer evaluations").filter(visible=True).check()
    page.get_by_role("button", name="Adapt", exact=True).click()
    page.get_by_text("finetune - 25.0%").or_(page.get_by_text("finetune")).filter(visible=True).first.wait_for()
    seen.set()
    says(page, "dt_bfr_swinir: adapted, and better")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the report").click()
    assert Path(download.value.path()).read_text() == "<p>The report</p>"
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all").click()
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archive:
        assert sorted(archive.namelist()) == ["photos/two.png", "report/findings.json", "report/report.html"]


@in_chromium
def test_a_running_job_is_stopped_from_the_page_and_another_can_be_started(page, two, monkeypatch):
    begun, ended = threading.Event(), threading.Event()

    def adapt(
        given: list[Path], out: str, experiment: str, options: Options, changes: Changes, real: list[Path]
    ) -> Outcome:
        try:
            for _ in track(range(10**6), "pseudo_targets"):
                begun.set()
                ended.wait(0.01)
        finally:
            ended.set()
        raise AssertionError("it was not stopped")

    monkeypatch.setattr(jobs, "adapt_photos", adapt)
    page.get_by_role("tab", name="Adapt").click()
    dropped(page, two)
    page.get_by_text("two.jpg").or_(page.get_by_text("two", exact=True)).filter(visible=True).first.wait_for()
    start, stop = (page.get_by_role("button", name=name, exact=True) for name in ("Adapt", "Stop"))
    start.click()
    assert begun.wait(PATIENCE_MS / 1000)
    stop.click()
    says(page, "Stopped. What was finished is kept")
    assert ended.is_set()
    stop.wait_for(state="hidden")
    monkeypatch.setattr(jobs, "adapt_photos", lambda *_, **__: call_off())
    start.click()
    says(page, "enough")


def call_off() -> None:
    raise BadInput("enough")


@in_chromium
def test_networks_for_background_and_parsing_are_offered_and_never_fetched_unasked(page, two, monkeypatch):
    monkeypatch.setattr(jobs, "fetch", lambda *_: pytest.fail("fetched without a yes"))
    dropped(page, two)
    says(page, "2 faces found.")
    choose(page, "demo")
    page.get_by_role("button", name="More", exact=True).or_(page.get_by_text("More", exact=True)).last.click()
    page.get_by_label("Enhance the background (Real-ESRGAN)").check()
    says(page, f"{REALESRGAN_X2.place} is not here yet")
    page.get_by_role("button", name="I agree with its terms").filter(visible=True).first.wait_for()
    page.get_by_role("button", name="Restore", exact=True).click()
    says(page, f"bfr fetch {REALESRGAN_X2.place}")
    assert "--yes" not in page.content()


def test_a_person_s_photos_are_restored_by_a_prior_that_learnt_from_the_album(tmp_path, two, monkeypatch):
    asked = []

    def personalize(album: list[Path], given: list[Path], out: str, experiment: str, tuning: Tuning, options: Options):
        asked.append((len(list(album[0].iterdir())), [path.name for path in given[0].iterdir()], tuning.iterations))
        raise BadInput("enough")

    monkeypatch.setattr(jobs, "personalize_photos", personalize)
    album = [shutil.copyfile(two, tmp_path / name) for name in ("a.jpg", "b.jpg")]
    given = (Desk(tmp_path / "desk"), album, [two], "demo", 300, print)
    with pytest.raises(BadInput, match="enough"):
        jobs.personalize_on(*given)
    assert asked == [(2, ["two.jpg"], 300)]
    with pytest.raises(BadInput, match=r"Two of the photos are called two\.jpg"):
        jobs.gathered(Desk(tmp_path / "desk"), "photos", [two, two])
    with pytest.raises(BadInput, match="Drop some first"):
        jobs.gathered(Desk(tmp_path / "desk"), "photos", [])


# -------------------------------------------------------------------------------------------------- who may ask
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/config", {}, 200),
        ("/config", {"Host": "evil.example"}, 403),
        ("/config", {"Origin": "https://evil.example"}, 403),
        ("/config", {"Origin": "null"}, 403),
        (f"/gradio_api/file={ROOT / 'pyproject.toml'}", {}, 403),
        ("/gradio_api/info", {}, 200),
    ],
)
def test_only_the_page_on_this_computer_is_answered_and_only_its_own_files_are_given(port, path, headers, status):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    assert answer.status == status
    if status == 200:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in answer.headers
    connection.close()


def test_no_job_has_an_address_that_programs_may_call(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/gradio_api/info")
    assert b'"named_endpoints":{},"unnamed_endpoints":{}' in connection.getresponse().read()
    connection.close()


# ------------------------------------------------------------------------------------------------ the command
def test_the_command_says_where_the_page_is_and_leaves_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(serving.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setattr(serving, "application", lambda desk: desk.place("photo"))

    def interrupted(self: object, sockets: list[socket.socket]) -> None:
        assert sockets[0].getsockname()[0] == "127.0.0.1"
        assert len(list(tmp_path.iterdir())) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr("uvicorn.Server.run", interrupted)
    assert call(["app", "--port", "18900"]) == 0
    assert capsys.readouterr().out.startswith("http://127.0.0.1:18900 (on this computer alone")
    assert list(tmp_path.iterdir()) == []
    assert call(["app", "--out", str(tmp_path / "kept")]) == 0
    assert [path.name.partition("-")[0] for path in (tmp_path / "kept").iterdir()] == ["photo"]


def test_a_page_that_ends_stops_its_jobs(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    asked = threading.Event()
    with serving.desk(tmp_path / "kept") as desk:
        desk.stops["a job"] = asked
    assert asked.is_set()


def test_a_taken_port_gives_way_to_the_next():
    with serving.listening(18950) as first, serving.listening(18950) as second:
        assert second.getsockname()[1] > first.getsockname()[1]


def test_without_gradio_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    assert call(["app"]) == 1
    assert "pip install 'bfr[app]'" in capsys.readouterr().err
