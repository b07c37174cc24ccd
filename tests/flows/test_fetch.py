"""From no weights to a restored photo, against a server on this machine that has stand-in weights."""

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
from faces.drawn import Head, draw
from PIL import Image

from flows import rows
from flows.cli import call
from flows.restore import METHODS
from flows.whole_photos import files_of
from tasks import basics
from tasks.basics import BadInput
from tasks.restorers import swinir
from tasks.restorers.swinir import SwinIRConfig
from tasks.weights import fetch
from tasks.weights.file import WeightFile
from tasks.weights.official import OFFICIAL

PLACE = "swinir_restoration512_L1.pth"
TINY = SwinIRConfig(12, (2,), (2,), 8, 1.0, unshuffle=8, feature_size=16, drop_path_rate=0.0)


class Cutting(http.server.SimpleHTTPRequestHandler):
    """Ends the first answer half way, knows ranges, and remembers what was asked for."""

    def __init__(self, asked: list[tuple[str, str | None]], contents: bytes, *given: object) -> None:
        self.asked, self.contents = asked, contents
        super().__init__(*given)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.asked.append((self.path, wanted))
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.contents) - start))
        self.end_headers()
        self.wfile.write(self.contents[start:] if start else self.contents[: len(self.contents) // 2])

    def log_message(self, *_: object) -> None: ...


@dataclass
class Site:
    """A checkout's folder without weights, and the server that has them."""

    weights: Path
    address: str
    file: WeightFile
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[Site]:
    made = tmp_path / "made.pth"
    swinir.save(swinir.build(TINY), made)
    contents, asked = made.read_bytes(), []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Cutting, asked, contents)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address, folder = f"http://127.0.0.1:{server.server_port}", tmp_path / "checkout" / "data" / "weights"
        file = replace(
            OFFICIAL[PLACE], url=f"{address}/{PLACE}", sha256=hashlib.sha256(contents).hexdigest(), size=len(contents)
        )
        monkeypatch.setitem(OFFICIAL, PLACE, file)
        monkeypatch.setattr(rows, "ROOT", tmp_path / "checkout")
        monkeypatch.setattr(rows, "WEIGHTS", folder)
        monkeypatch.setattr(basics, "WEIGHTS", folder)
        monkeypatch.setattr(fetch, "WEIGHTS", folder)
        monkeypatch.setattr(fetch, "CHECKSUMS", folder / "sha256.json")
        folder.mkdir(parents=True)
        yield Site(folder, address, file, asked)
        server.shutdown()


@pytest.fixture
def command(tmp_path) -> list[str]:
    Image.fromarray(draw([Head(5, 140, 100, 90, -8)], 220, 190)[0]).save(tmp_path / "one.png")
    return ["restore", str(tmp_path / "one.png"), "-o", str(tmp_path / "out"), "--method", "swinir"]


def test_the_help_and_the_readme_name_every_method_and_the_files_that_it_needs(capsys):
    call(["restore", "--help"])
    listed = capsys.readouterr().out
    text = (basics.ROOT / "README.md").read_text()
    assert all(method in listed and f"`{method}`" in text for method in METHODS)
    table = re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\|([^|]*)\|", text, re.MULTILINE)
    assert len(table) >= 6
    for method, files in table:
        needed = {file.place for file in files_of(*METHODS[method])}
        named = set(re.findall(r"`([\w.+]+)`", files))
        assert named == needed or ("the same" in files and named < needed)


def test_without_weights_a_message_has_the_ways_to_get_them(site, command, capsys):
    assert call(command) == 1
    said = capsys.readouterr().err
    for way in (str(site.weights / PLACE), site.file.url, f"bfr fetch {PLACE}", "--yes", "--weights FILE", "S-Lab"):
        assert way in said
    assert site.asked == []


def test_yes_fetches_what_is_missing_through_a_cut_connection_and_restores(site, command, capsys, caplog):
    assert call([*command, "--yes"]) == 1
    assert "Run this again to go on" in capsys.readouterr().err
    terms = caplog.messages[0]
    for part in (PLACE, site.file.shown_size, site.file.licence, site.file.url, str(site.weights / PLACE)):
        assert part in terms
    assert call([*command, "--yes"]) == 0
    assert capsys.readouterr().out.startswith("1 photo restored, 1 face")
    half = site.file.size // 2
    assert site.asked == [(f"/{PLACE}", None), (f"/{PLACE}", f"bytes={half}-")]


ADAPTED = ("swinir_gan_v1.pth", "iddpm_ffhq512_ema500000.pth", "hub/checkpoints/vgg16-397923af.pth")


@pytest.mark.parametrize(
    ("command", "places", "does"),
    [(["adapt"], ADAPTED, "adapt.adapt_photos"), (["personalize"], ("base_256.pt",), "personalize.personalize_photos")],
)
def test_adapt_and_personalize_fetch_what_they_lack_after_a_yes_and_name_the_ways_without(
    site, tmp_path, monkeypatch, capsys, command, places, does
):
    for place in places:
        here = {"url": f"{site.address}/{place}", "sha256": site.file.sha256, "size": site.file.size}
        monkeypatch.setitem(OFFICIAL, place, replace(OFFICIAL[place], **here))
    for name in ("photo", "clean"):
        Image.fromarray(draw([Head(5, 140, 100, 90, -8)], 220, 190)[0]).save(tmp_path / f"{name}.png")
    photo, clean = str(tmp_path / "photo.png"), str(tmp_path / "clean.png")
    command = [*command, photo, "-o", str(tmp_path / "out"), "--real" if does.startswith("a") else "--album", clean]
    assert call(command) == 1
    said = capsys.readouterr().err
    for place in places:
        for way in (str(site.weights / place), f"{site.address}/{place}", f"bfr fetch {place}"):
            assert way in said
    assert said.count("Or say --yes to fetch the weights that are missing.") == 1
    assert call([*command[:1], str(tmp_path / "nobody.png"), *command[2:], "--yes"]) == 1
    assert "nobody.png" in capsys.readouterr().err
    monkeypatch.setenv("BFR_OFFLINE", "1")
    assert call([*command, "--yes"]) == 1
    assert "HF_HUB_OFFLINE or BFR_OFFLINE is set" in capsys.readouterr().err
    assert site.asked == [], "nothing is asked of anybody"
    monkeypatch.delenv("BFR_OFFLINE")
    monkeypatch.setattr(f"flows.{does}", lambda *_, **__: pytest.fail("before all weights were there"))
    for _ in places:
        assert call([*command, "--yes"]) == 1
        assert "Run this again to go on" in capsys.readouterr().err
    begun = []
    monkeypatch.setattr(f"flows.{does}", lambda *given, **__: begun.append(given) or call_off())
    assert call([*command, "--yes"]) == 1
    assert len(begun) == 1
    assert all((site.weights / place).stat().st_size == site.file.size for place in places)


def call_off() -> None:
    raise BadInput("enough")


def test_adapting_says_first_that_clean_faces_are_missing_which_nobody_can_fetch(site, tmp_path, capsys):
    Image.fromarray(draw([Head(5, 140, 100, 90, -8)], 220, 190)[0]).save(tmp_path / "photo.png")
    assert call(["adapt", str(tmp_path / "photo.png"), "-o", str(tmp_path / "out"), "--yes"]) == 1
    assert "name clean photos of your own: --real FOLDER" in capsys.readouterr().err
    assert site.asked == []


def test_fetch_takes_a_method_s_name_and_a_mirror_and_heeds_that_it_is_offline(site, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert call(["fetch", "swinir"]) == 1
    assert f"HF_HUB_OFFLINE or BFR_OFFLINE is set. Put the file at {site.weights / PLACE}" in capsys.readouterr().err
    assert site.asked == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("BFR_MIRROR", f"{site.address}/mirror/")
    call(["fetch", "swinir"])
    assert call(["fetch", "swinir"]) == 0
    assert {path for path, _ in site.asked} == {f"/mirror/{PLACE}"}
    assert call(["fetch", "swinir"]) == 0, "what is there is not fetched again"
    assert len(site.asked) == 2


def test_weights_that_are_not_the_pinned_ones_are_neither_kept_nor_used(site, command, monkeypatch, capsys):
    monkeypatch.setitem(OFFICIAL, PLACE, replace(site.file, sha256="0" * 64))
    call(["fetch", "swinir"])
    assert call(["fetch", "swinir"]) == 1
    assert "gave another file" in capsys.readouterr().err
    assert [path.name for path in site.weights.iterdir() if not path.name.startswith(".")] == []
    (site.weights / PLACE).write_bytes(b"something else")
    assert call(command) == 1
    assert "is not the file that it should be" in capsys.readouterr().err
