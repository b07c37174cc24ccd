import numpy as np
import pytest
from PIL import Image

from tasks.basics import BadInput
from tasks.data.ingest import PhotoFolder
from tasks.stages.external import ExternalParams, external
from tasks.stages.ingest import IngestParams, ingest

IDS = ("a", "b", "c")
SQUARE = np.random.default_rng(0).integers(1, 256, (32, 32, 3), dtype=np.uint8)
WIDE = np.pad(SQUARE, ((0, 0), (8, 8), (0, 0)))


def folder(path, **images):
    path.mkdir()
    for name, image in images.items():
        Image.fromarray(image).save(path / f"{name}.png")
    return PhotoFolder(path)


@pytest.fixture
def lq(tmp_path, monkeypatch):
    monkeypatch.setenv("BFR_STORE", str(tmp_path / "store"))
    photos = folder(tmp_path / "lq", **dict.fromkeys(IDS, SQUARE))
    return ingest(IngestParams(size=32, fit="aligned"), folder=photos)


def test_results_that_cannot_be_used_are_set_aside_with_their_own_reasons_and_once(tmp_path, lq):
    elsewhere = folder(tmp_path / "elsewhere", a=SQUARE, b=WIDE, stranger=WIDE)
    made = external(ExternalParams(size=32), folder=elsewhere, lq=lq)
    assert made.ids == ["a"]
    reasons = dict(made.quarantine)
    assert len(reasons) == len(made.quarantine)
    assert "48 x 32 pixels, expected a square" in reasons["b.png"]
    assert reasons["c.png"] == "no image has this id"
    assert reasons["stranger"] == "no LQ photo has this id"
    assert not any(str(tmp_path) in reason for reason in reasons.values())


def test_results_of_which_none_can_be_used_are_an_error_with_their_reasons(tmp_path, lq):
    elsewhere = folder(tmp_path / "elsewhere", a=WIDE, b=WIDE)
    (elsewhere.path / "c.png").write_bytes(b"")
    with pytest.raises(BadInput, match=r"(?s)a\.png: not an aligned face photo: 48 x 32.*c\.png: empty file"):
        external(ExternalParams(size=32), folder=elsewhere, lq=lq)


def test_results_of_other_names_are_an_error_that_says_which_are_expected(tmp_path, lq):
    elsewhere = folder(tmp_path / "elsewhere", x=SQUARE, y=WIDE)
    with pytest.raises(BadInput, match=r"no image is named by the id of an LQ photo; expected a\.png, b\.png, c\.png"):
        external(ExternalParams(size=32), folder=elsewhere, lq=lq)
