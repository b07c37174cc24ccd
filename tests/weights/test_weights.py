"""Official weights: where they come from, fetched with resume, checked by their digests."""

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from tasks.basics import WEIGHTS, BadInput
from tasks.diffusion.priors import PRIORS, load_prior
from tasks.diffusion.unet import UNet
from tasks.metrics.denoiser import DEMO_PRIOR
from tasks.metrics.registry import METRICS
from tasks.weights import fetch as weights
from tasks.weights.checkpoint import write_state_dict
from tasks.weights.fetch import fetch, required
from tasks.weights.file import MissingWeights, WeightFile
from tasks.weights.official import OFFICIAL

CONTENTS = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENTS).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENTS; with `breaks_off`, ends the first answer half way."""

    ranges: ClassVar[list[str | None]] = []
    breaks_off = False
    knows_ranges = True

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.ranges.append(wanted)
        if self.path != "/file.pth":
            return self.send_error(404)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.knows_ranges else 0
        if start >= len(CONTENTS):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENTS) - start))
        self.end_headers()
        self.wfile.write(CONTENTS[start : start + 700_000] if self.breaks_off else CONTENTS[start:])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def file(monkeypatch) -> Iterator[WeightFile]:
    monkeypatch.setattr(Server, "ranges", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield WeightFile("sub/file.pth", f"http://127.0.0.1:{server.server_port}/file.pth", "a licence", sha256=SHA256)
        server.shutdown()


def test_a_file_is_fetched_once(file, tmp_path):
    assert fetch(file, tmp_path).read_bytes() == CONTENTS
    fetch(file, tmp_path)
    assert Server.ranges == [None]


def test_a_broken_download_goes_on_where_it_stopped(file, tmp_path, monkeypatch):
    monkeypatch.setattr(Server, "breaks_off", True)
    with pytest.raises(BadInput, match="Run this again to go on"):
        fetch(file, tmp_path)
    assert not (tmp_path / "sub" / "file.pth").exists()
    monkeypatch.setattr(Server, "breaks_off", False)
    assert fetch(file, tmp_path).read_bytes() == CONTENTS
    assert Server.ranges == [None, "bytes=700000-"]


@pytest.mark.parametrize("start", [1000, len(CONTENTS)])
@pytest.mark.parametrize("knows_ranges", [True, False])
def test_what_is_there_already_is_used_or_begun_anew(file, tmp_path, monkeypatch, start, knows_ranges):
    monkeypatch.setattr(Server, "knows_ranges", knows_ranges)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file.pth.part").write_bytes(CONTENTS[:start])
    assert fetch(file, tmp_path).read_bytes() == CONTENTS


def test_another_file_is_refused(file, tmp_path):
    with pytest.raises(BadInput, match=f"another file: SHA-256 {SHA256}, expected 123"):
        fetch(replace(file, sha256="123"), tmp_path)
    assert not any(path.suffix in {".pth", ".part"} for path in tmp_path.rglob("*"))


def test_a_missing_page_names_the_address(file, tmp_path):
    with pytest.raises(BadInput, match=r"nothing\.pth cannot be downloaded \(HTTP Error 404"):
        fetch(replace(file, url=file.url.replace("file.pth", "nothing.pth")), tmp_path)


# ---------------------------------------------------------------------------------------------- checksums


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    monkeypatch.setattr(weights, "CHECKSUMS", tmp_path / "sha256.json")
    return tmp_path


def test_a_file_without_a_known_digest_is_remembered_at_its_first_use(folder, caplog):
    path = folder / "swinir_gan_v1.pth"
    path.write_bytes(b"first")
    assert required(path, "the restorer") == path
    assert "non-commercial" in caplog.text
    caplog.clear()
    required(path, "the restorer")
    assert not caplog.text
    path.write_bytes(b"changed")
    with pytest.raises(BadInput, match=r"not the file that it should be.*\n.*bfr fetch swinir_gan_v1\.pth"):
        required(path, "the restorer")


def test_a_file_with_a_known_digest_is_compared_with_it(folder):
    path = folder / "codeformer.pth"
    path.write_bytes(b"something else")
    with pytest.raises(BadInput, match="expected 1009e537"):
        required(path, "the restorer")


def test_a_user_s_own_file_is_taken_as_it_is(tmp_path):
    path = tmp_path / "mine.pth"
    path.write_bytes(b"mine")
    assert required(path, "the restorer") == path


def test_a_missing_file_says_where_it_comes_from():
    with pytest.raises(BadInput, match=r"Download it from https://github\.com/sczhou/.*S-Lab"):
        required(WEIGHTS / "codeformer.pth", "the restorer")
    with pytest.raises(BadInput, match="dvc pull -r demo"):
        required(WEIGHTS / "demo" / "nothing.safetensors", "the prior")


def test_a_file_that_may_not_be_read_is_bad_input(tmp_path, monkeypatch):
    (tmp_path / "mine.pth").write_bytes(b"x")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(BadInput, match=r"mine\.pth may not be read by this user \(needed as the prior\)"):
        required(tmp_path / "mine.pth", "the prior")


def test_the_files_of_every_metric_are_registered():
    needed = {need for metric in METRICS.values() for need in metric.needs}
    assert needed - set(OFFICIAL.values()) == {DEMO_PRIOR}


def test_a_file_of_the_repository_is_pulled_not_downloaded(tmp_path):
    with pytest.raises(MissingWeights, match=r"comes with the repository \(Apache-2.0\): dvc pull"):
        METRICS["fid_prior"].build(tmp_path, torch.device("cpu"))


def test_every_registered_file_has_an_address_and_a_licence():
    for place, file in OFFICIAL.items():
        assert file.place == place
        assert file.url.startswith("https://")
        assert file.licence


def test_weights_of_another_network_are_refused_with_the_first_differences(tmp_path):
    path = tmp_path / "prior.safetensors"
    state = UNet(PRIORS["demo128"]).state_dict()
    state["extra"] = torch.zeros(3)
    state["out.2.bias"] = torch.zeros(5)
    del state["out.0.weight"]
    write_state_dict(path, state)
    with pytest.raises(BadInput) as caught:
        load_prior("demo128", path, torch.device("cpu"))
    assert str(caught.value).splitlines()[1:] == [
        "  out.0.weight (32,) is missing",
        "  extra (3,) is not in it",
        "  out.2.bias is (5,), not (6,)",
    ]
    with pytest.raises(BadInput, match=r"expected the weights of a 'ffhq512' prior; \d+ tensors differ") as caught:
        load_prior("ffhq512", path, torch.device("cpu"))
    assert len(str(caught.value).splitlines()) < 10


def test_missing_weights_of_a_metric_name_the_command_that_fetches_them(tmp_path):
    for file in OFFICIAL.values():
        with pytest.raises(MissingWeights, match=rf"put it there: bfr fetch {re.escape(file.place)}$"):
            file.find(tmp_path, "lpips")


def test_weights_that_are_trained_here_are_missing_with_the_command_that_trains_them(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    (tmp_path / "difface").mkdir()
    (tmp_path / "difface" / "srcnn.yaml").touch()
    with pytest.raises(
        BadInput, match=r"is missing \(needed as the prior\)\.\nIt is trained here: bfr train difface/srcnn$"
    ):
        required(tmp_path / "difface" / "srcnn.safetensors", "the prior")
    with pytest.raises(BadInput, match="Put the file there, or correct its path"):
        required(tmp_path / "difface" / "mine.safetensors", "the prior")
