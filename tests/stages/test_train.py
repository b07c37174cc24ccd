"""The stage `train`: every kind of network trains, goes on bit-equally when killed, and loads where it is used."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tasks.basics import BadInput
from tasks.diffusion.priors import load_prior
from tasks.heads.render import render
from tasks.methods.idm import load_network
from tasks.restorers.network import NetworkSpec
from tasks.stages import train as stage
from tasks.stages.train import TrainParams
from tasks.store.artifact import ImageFolder, Manifest, file_records
from tasks.store.files import write_json, write_png
from tasks.training import session
from tasks.training.curves import Curves

COMMON = {"seed": 1, "iterations": 3, "batch": 2, "lr": 1e-3, "lr_min": 1e-4}
EQ9 = {"degradation": "demo128"}
CPU = torch.device("cpu")
KINDS = {
    "prior": {"kind": "prior", "arch": "demo128", "ema": 0.5, "micro_batch": 1},
    "swinir": {
        **{"kind": "restorer", "arch": "swinir128", **EQ9, "ema": 0.5},
        **{"lambda_lpips": 0.1, "perceptual": "lpips_seeded"},
    },
    "srcnn": {"kind": "restorer", "arch": "srcnn", "degradation": "raw_x4_moderate", "ema": 0.5},
    "gan": {
        **{"kind": "restorer_gan", "arch": "swinir128", **EQ9, "micro_batch": 1, "discriminator_width": 4},
        **{"lambda_lpips": 0.1, "lambda_gan": 0.1, "perceptual": "lpips_seeded"},
    },
    "lama": {"kind": "inpainting", "arch": "lama128", "ema": 0.5},
    "idm": {"kind": "idm", "arch": "idm128", **EQ9, "ema": 0.5, "bf16": True},
}
USED = {
    "prior": lambda path: load_prior("demo128", path, CPU),
    "swinir": lambda path: NetworkSpec(arch="swinir", weights=path).load(CPU),
    "srcnn": lambda path: NetworkSpec(arch="srcnn", weights=path).load(CPU),
    "gan": lambda path: NetworkSpec(arch="swinir", weights=path).load(CPU),
    "lama": lambda path: NetworkSpec(arch="lama", weights=path).load(CPU),
    "idm": lambda path: load_network("idm128", path, CPU),
}


class Killed(Exception):
    """Raised by a test's callback."""


def folder(root, first, count):
    root.mkdir()
    for index in range(first, first + count):
        write_png(root / f"face_{index}.png", render(index, 32))
    manifest = Manifest(stage="photos", key=f"{first}", params={}, inputs={}, code="", files=file_records(root))
    write_json(root / "manifest.json", manifest.model_dump())
    return ImageFolder(root)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces")
    return {"photos": folder(root / "train", 0, 5), "held_out": folder(root / "held_out", 50, 3)}


def params(kind):
    return TrainParams.model_validate({"training": COMMON | KINDS[kind]})


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_training_gives_the_same_weights(kind, faces, tmp_path, monkeypatch):
    note = Curves.note

    def kill(self, step, losses):
        note(self, step, losses)
        if step == 2:
            raise Killed

    monkeypatch.setattr(session, "SAVE_EVERY_S", 0)
    monkeypatch.setenv("BFR_STORE", str(tmp_path / "whole"))
    whole = stage.train(params(kind), **faces)
    monkeypatch.setenv("BFR_STORE", str(tmp_path / "killed"))
    monkeypatch.setattr(Curves, "note", kill)
    with pytest.raises(Killed):
        stage.train(params(kind), **faces)
    monkeypatch.setattr(Curves, "note", note)
    resumed = stage.train(params(kind), **faces)
    one, other = (load_file(run.path("model.safetensors")) for run in (whole, resumed))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert whole.path("losses.csv").read_text() == resumed.path("losses.csv").read_text()
    assert len(whole.path("losses.csv").read_text().splitlines()) == 4
    card = json.loads(whole.path("card.json").read_text())
    assert card["images"] == 5
    assert card["scores"]["before"] != card["scores"]["after"]
    assert USED[kind](whole.path("model.safetensors"))


def test_the_last_photos_of_a_folder_are_held_out(faces, tmp_path, monkeypatch):
    monkeypatch.setenv("BFR_STORE", str(tmp_path))
    with pytest.raises(BadInput, match="has 5 photos; 64 of them are held out"):
        stage.train(params("srcnn"), photos=faces["photos"])
    monkeypatch.setattr(stage, "HELD_OUT", 2)
    made = stage.train(params("srcnn"), photos=faces["photos"])
    assert json.loads(made.path("card.json").read_text())["images"] == 3
