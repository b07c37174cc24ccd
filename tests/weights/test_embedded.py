"""The networks that come with bfr: their cards, and what the one for photos does."""

import json

import pytest
import torch

from flows.restore import METHODS
from tasks.basics import ROOT, WEIGHTS
from tasks.degradation.presets import PRESETS
from tasks.heads.render import render
from tasks.metrics.full_reference import psnr
from tasks.noise import numpy_stream
from tasks.params.load import load_experiment, load_model
from tasks.pixels import to_tensor
from tasks.restorers import swinir
from tasks.store.keys import file_digest


@pytest.mark.parametrize("name", ["prior", "swinir", "swinir_l1", "idm", "lama"])
def test_a_card_is_of_the_file_beside_it_and_of_its_recipe(name):
    card = json.loads((WEIGHTS / "demo" / f"{name}.json").read_text())
    recipe = load_model(f"demo/{name}").training
    assert card["sha256"] == file_digest(WEIGHTS / "demo" / f"{name}.safetensors")
    assert type(recipe).model_validate(card["recipe"]) == recipe


def test_what_bfr_restore_runs_without_a_download_is_nearer_than_its_input_and_than_the_one_with_a_discriminator():
    experiment, row = METHODS["demo"]
    assert row == "pretrained"
    chosen, sharp = (load_experiment(name).restorer for name in (experiment, "demo"))
    pairs = [PRESETS["demo128"].training_pair(render(n, 128), numpy_stream(0, "embedded", str(n))) for n in range(3)]
    lq, hq = (torch.stack([to_tensor(image) for image in images]) for images in zip(*pairs, strict=True))
    with torch.inference_mode():
        soft, crisp = (swinir.restore(swinir.load(ROOT / network.weights), lq) for network in (chosen, sharp))
    assert psnr(soft, hq).mean() > max(psnr(lq, hq).mean(), psnr(crisp, hq).mean()) + 0.5
