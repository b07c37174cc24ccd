"""Data sets declare where their photos come from; training a model takes them from there."""

import json
from pathlib import Path

import pytest
from PIL import Image
from pydantic import TypeAdapter

from flows import models
from tasks.data.datasets import Dataset, DrawnPhotos, FolderPhotos
from tasks.heads.render import render
from tasks.models.model import Model
from tasks.stages import train as train_stage
from tasks.stages.photos import PhotosParams, photos

DRAWN = {"kind": "heads", "size": 64, "finetune": 6, "test": 4, "real": 3}
FOLDERS = {"kind": "folders", "size": 64, "hq": "hq", "real": "real"}
SETS = {"a": {"test": "lq", "expected": 9}, "b": {"test": "other"}}
REAL = {"kind": "real", "size": 64, "real": "real", "sets": SETS}
READ = {"finetune": "hq", "test": "hq", "real": "real", "train": "real"}
SRCNN = {
    **{"kind": "restorer", "arch": "srcnn", "degradation": "demo128", "seed": 1},
    **{"iterations": 1, "batch": 2, "lr": 1e-3, "lr_min": 1e-4, "ema": 0},
}


def dataset(settings):
    return TypeAdapter(Dataset).validate_python(settings)


@pytest.mark.parametrize(
    ("settings", "sources", "counts", "has_truth"),
    [
        (DRAWN, {"finetune": None, "test": None, "real": None, "train": None}, (4, 6), True),
        (FOLDERS, READ, (500, 2500), True),
        (FOLDERS | {"test": 5, "finetune": 7}, READ, (5, 7), True),
        (REAL, {"real": "real", "train": "real"}, (254, 254), False),
    ],
)
def test_a_data_set_says_where_its_photos_come_from_and_how_many_they_are(settings, sources, counts, has_truth):
    found = dataset(settings)
    assert found.sources == {split: path and Path(path) for split, path in sources.items()}
    assert found.counts == counts
    assert found.has_truth == has_truth


@pytest.mark.parametrize(
    ("settings", "split", "other", "own"),
    [
        (DRAWN, "real", {"finetune": 7, "test": 5, "train": 9, "flawed": 0.5}, {"real": 4}),
        (DRAWN, "finetune", {"real": 7, "test": 5, "train": 9, "flawed": 0.5}, {"finetune": 7}),
        (DRAWN, "test", {"real": 7, "finetune": 5, "train": 9, "flawed": 0.5}, {"test": 5}),
        (DRAWN, "train", {"real": 7, "finetune": 5, "test": 9}, {"flawed": 0.5}),
        (DRAWN, "train", {"real": 7, "finetune": 5, "test": 9}, {"train": 9}),
        (FOLDERS, "real", {"test": 5, "finetune": 7, "expected": 9, "hq": "moved"}, {"size": 32}),
        (FOLDERS, "train", {"test": 5, "finetune": 7, "expected": 9, "hq": "moved"}, {"size": 32}),
        (FOLDERS, "test", {"finetune": 7, "expected": 9, "real": "moved"}, {"test": 5}),
        (FOLDERS, "finetune", {"expected": 9, "real": "moved"}, {"test": 5}),
        (FOLDERS, "finetune", {"expected": 9, "real": "moved"}, {"finetune": 7}),
        (REAL, "real", {"sets": {"c": {"test": "moved"}}}, {"size": 32}),
    ],
)
def test_only_what_decides_on_the_photos_of_a_split_makes_them_anew(settings, split, other, own):
    def key(more):
        return photos.record(PhotosParams(seed=1, dataset=dataset(settings | more).only(split), split=split)).key

    assert key(other) == key({}) != key(own)


def test_real_lq_photos_to_adapt_on_are_those_of_the_test_unless_others_are_given():
    sets = dataset(REAL | {"sets": {"a": {"test": "lq"}, "b": {"test": "lq", "finetune": "more"}}}).lq
    assert [sets["a"].folder(split) for split in ("test", "finetune")] == [Path("lq"), Path("lq")]
    assert [sets["b"].folder(split) for split in ("test", "finetune")] == [Path("lq"), Path("more")]
    assert dataset(DRAWN).lq == {}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for n in range(5):
        Image.fromarray(render(n, 64)).save(root / f"{n}.png")
    return root


@pytest.mark.parametrize("kind", ["drawn", "folder"])
def test_a_model_is_trained_on_its_photos_and_published_with_its_card(kind, folder, tmp_path, monkeypatch):
    photos = {
        "drawn": DrawnPhotos(kind="heads", size=64, count=3, flawed=0.5),
        "folder": FolderPhotos(kind="folder", size=64, path=folder),
    }[kind]
    monkeypatch.setattr(models, "load_model", lambda name: Model(photos=photos, training=SRCNN, is_half=True))
    monkeypatch.setattr(models, "WEIGHTS", tmp_path / "weights")
    for module in (models, train_stage):
        monkeypatch.setattr(module, "HELD_OUT", 2)
    made = models.train_model("mine/srcnn")
    assert made == tmp_path / "weights" / "mine" / "srcnn.safetensors"
    card = json.loads(made.with_suffix(".json").read_text())
    assert card["images"] == 3
    assert card["licence"] == {"drawn": "Apache-2.0", "folder": "that of the photos"}[kind]
    assert card["photos"] == photos.model_dump(mode="json")
    assert made.with_suffix(".losses.csv").read_text().startswith("step,loss\n1,")
