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
from flows.whole_photos import METHODS, files_of
from tasks import basics
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
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address, folder = f"http://127.0.0.1:{server.server_port}", tmp_path / "checkout" / "data" / "weights"
        file = replace(
            OFFICIAL[PLACE], url=f"{address}/{PLACE}", sha256=hashlib.sha256(contents).hexdigest(), size=len(contents)
        )
        monkeypatch.setitem(OFFICIAL, PLACE, file)
        monkeypatch.setattr(rows, "ROOT", tmp_path / "checkout")
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
