"""`personalize` says how much the photos look like the person: before, after, and beside another method."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from flows.personalize import Tuning, personalize, ready_crops
from tasks.basics import BadInput
from tasks.data.ingest import PhotoFolder
from tasks.heads.render import render
from tasks.metrics import arcface
from tasks.metrics.identity import album_cosine, id_cosine
from tasks.params.load import load_experiment
from tasks.stages import identify as identify_stage
from tasks.stages.ingest import IngestParams, ingest
from tasks.store.files import read_json
from tasks.weights.official import ARCFACE18


@cache
def head(seed: int) -> np.ndarray:
    return render(seed, 64)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    demo = load_experiment("demo")
    small = demo.model_copy(update={"dataset": demo.dataset.model_copy(update={"size": 32})})
    monkeypatch.setattr("flows.personalize.load_experiment", lambda name: small)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder with an ArcFace of random weights."""
    path = tmp_path / "weights" / ARCFACE18.place
    path.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(arcface.ArcFace18().state_dict(), path)
    monkeypatch.setattr(identify_stage, "WEIGHTS", tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def folders(tmp_path):
    for name, seeds in (("album", (1, 2, 3)), ("photos", (4, 5)), ("codeformer", (4, 5))):
        (tmp_path / name).mkdir()
        for seed in seeds:
            Image.fromarray(head(seed)).save(tmp_path / name / f"{seed}.png")
    return tmp_path


def test_the_report_has_a_row_for_before_after_and_the_other_method(folders, weights):
    paths, tuning = [str(folders / name) for name in ("album", "photos")], Tuning(iterations=1, batch=1, respacing=10)
    ready, _ = ready_crops(*paths, tuning=tuning, beside=str(folders / "codeformer"))
    work = personalize(ready, paths[1])
    text = (work.root / "report" / "results.md").read_text(encoding="utf-8")
    rows = pd.read_csv(work.root / "report" / "results.csv").set_index("method")
    assert list(rows.index) == ["lq", "prior", "restored", "beside"]
    assert rows.loc["lq", "mean"] == pytest.approx(rows.loc["beside", "mean"])  # the same photos
    assert rows.loc["prior", "mean"] != rows.loc["restored", "mean"]
    assert "ID to the album (cosine)" in text
    assert "The personal prior" in text


def test_the_other_method_s_photos_are_looked_for_before_the_fine_tuning(folders):
    def run(stage, params, at="", **inputs):
        assert at in ("album", "lq"), f"{at} was made first"
        return stage(params, **inputs)

    paths = [str(folders / name) for name in ("album", "photos")]
    with pytest.raises(BadInput, match="missing is not a folder"):
        ready_crops(*paths, beside=str(folders / "missing"), run_stage=run)


def test_without_the_network_s_weights_the_score_is_absent_and_says_why(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(identify_stage, "WEIGHTS", tmp_path / "nothing")
    photos = ingest(IngestParams(size=64, fit="crop"), folder=PhotoFolder(folders / "photos"))
    found = identify_stage.identify(identify_stage.IdentifyParams(), images=photos, album=photos)
    assert "arcface_resnet18.pth is missing" in read_json(found.path("absent.json"))["id_album"]
    assert pd.read_parquet(found.path("scores.parquet")).empty


def test_the_score_of_an_album_is_the_mean_of_its_photos_cosines(weights):
    faces = torch.stack([torch.from_numpy(head(seed)).permute(2, 0, 1) / 255 for seed in (1, 2, 3)])
    photo, album = faces[:1], faces[1:]
    cosine = id_cosine(weights, torch.device("cpu"))
    expected = torch.cat([cosine(photo, other[None]) for other in album]).mean()
    found = album_cosine(weights, torch.device("cpu"), album)(photo)
    assert float(found) == pytest.approx(float(expected), abs=1e-5)
