"""Kinds of training and recipes of fine-tuning: what they declare, and what their keys depend on."""

import json

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from tasks.methods.gen2res import Personalization
from tasks.models.table import AnyTraining
from tasks.params.experiment import Cleaning, Downstream
from tasks.stages.finetune import FineTuneParams
from tasks.stages.train import TrainParams
from tasks.store.artifact import Manifest
from tasks.store.keys import code_of
from tasks.training.card import write_card
from tasks.training.network import Recipe
from tasks.training.recipes import trainers

STEPS = {"seed": 1, "iterations": 10, "batch": 4, "lr": 1e-3, "lr_min": 1e-4}
GAN = STEPS | {"micro_batch": 2, "lambda_lpips": 0.1, "lambda_gan": 0.1, "degradation": "demo128"}
SHORT = {"iterations": 10, "batch": 4, "lr": 1e-3, "ema": 0.5, "bf16": True}
PAIRS = {"degradation": "demo128", "ema": 0}


def training(kind, arch, settings=STEPS, **others):
    return TypeAdapter(AnyTraining).validate_python(settings | {"kind": kind, "arch": arch} | others)


def code(given):
    return code_of("tasks.stages.train", TrainParams(training=given))


@pytest.mark.parametrize(
    ("given", "neighbours"),
    [
        (training("restorer", "swinir128", **PAIRS), "restorers.srcnn restorers.lama methods.idm models.gan"),
        (training("restorer", "srcnn", **PAIRS), "restorers.swinir restorers.lama training.swinir_gan"),
        (training("restorer_gan", "swinir128", GAN), "restorers.srcnn training.codeformer models.restorer"),
        (training("prior", "demo128", ema=0), "restorers.swinir methods.idm models.idm training.swinir_gan"),
        (training("idm", "idm128", **PAIRS), "restorers.swinir restorers.lama methods.gen2res models.prior"),
        (training("inpainting", "lama128", ema=0), "restorers.swinir models.restorer degradation.blur_jpeg"),
    ],
    ids=lambda value: getattr(value, "arch", ""),
)
def test_a_training_does_not_depend_on_other_networks_nor_kinds_nor_on_tables(given, neighbours):
    found = {name.removeprefix("tasks.") for name in code(given)}
    tables = {"training.card", "training.session", "models.table", "models.networks"}
    assert not found & {*neighbours.split(), *tables}
    assert {"models.kind", "training.loop"} <= found


def test_a_training_depends_on_its_network():
    assert "tasks.restorers.swinir" in code(training("restorer", "swinir128", **PAIRS))
    assert "tasks.restorers.srcnn" in code(training("restorer", "srcnn", **PAIRS))
    assert "tasks.restorers.swinir" in code(training("restorer_gan", "swinir128", GAN))


def test_fine_tuning_depends_on_its_recipe_and_network_alone():
    settings = {"iterations": 1, "batch": 1, "micro_batch": 1, "lr": 1, "lr_min": 1, "lambda_lpips": 1, "lambda_gan": 1}
    params = FineTuneParams.model_validate({"seed": 1, "arch": "swinir", "settings": settings})
    found = code_of("tasks.stages.finetune", params)
    assert {"tasks.training.swinir_gan", "tasks.restorers.swinir"} <= set(found)
    assert not {"tasks.training.codeformer", "tasks.restorers.faces", "tasks.restorers.srcnn"} & set(found)


@pytest.mark.parametrize("key", ["ema", "clip", "warmup"])
def test_a_setting_that_a_training_against_a_discriminator_would_ignore_is_refused(key):
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        training("restorer_gan", "swinir128", GAN, **{key: 1})
    with pytest.raises(ValidationError, match="micro_batch 3 must divide batch 4"):
        training("restorer_gan", "swinir128", GAN, micro_batch=3)


def test_every_restorer_that_can_be_adapted_has_one_recipe():
    assert trainers() == {"swinir": "swinir_gan", "codeformer": "codeformer"}


def test_the_steps_of_an_experiment_are_trained_at_a_constant_rate():
    method = {"kind": "idm", "arch": "idm128", "steps": 2}
    cleaning = Cleaning.model_validate(SHORT | {"method": method, "degradation": "demo128", "metrics": ["nima"]})
    drawing = {"from_scratch": True, "respacing": "3", "count": 5, "metrics": ["nima"]}
    downstream = Downstream.model_validate(SHORT | drawing)
    found = [cleaning.training(seed=7), downstream.training("demo128", seed=7)]
    assert [(made.kind, made.arch, made.clip) for made in found] == [("idm", "idm128", None), ("prior", "demo128", 1.0)]
    assert found[0].degradation == "demo128"
    for made in found:
        assert {name: getattr(made, name) for name in SHORT} == SHORT
        assert made.seed == 7
        assert {made.lr_at(step) for step in range(10)} == {1e-3}


def test_the_learning_rate_rises_then_falls_along_a_cosine():
    recipe = Recipe(iterations=10, batch=1, lr=1.0, lr_min=0.0, ema=0, warmup=2)
    assert [recipe.lr_at(step) for step in (0, 1, 5)] == pytest.approx([0.5, 0.97553, 0.5], abs=1e-5)


def test_the_learning_rate_of_an_album_is_a_line_that_stays_for_two_steps():
    settings = Personalization(iterations=4, batch=1, lr=1.0)
    assert [settings.lr_at(step) for step in range(4)] == [1.0, 1.0, 0.75, 0.5]


def test_the_first_weights_depend_on_the_seed_alone():
    for kind, arch, others in (("prior", "demo128", {"ema": 0}), ("restorer", "srcnn", PAIRS)):
        one, same = (training(kind, arch, **others).build().state_dict() for _ in range(2))
        other = training(kind, arch, **others, **{"seed": 2}).build().state_dict()
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_card_names_the_settings_the_data_and_the_parent(tmp_path):
    inputs = {"photos": "a", "held_out": "b", "weights": "c"}
    record = Manifest(stage="train", key="0", params={}, inputs=inputs, code="", files={})
    recipe = Recipe(iterations=1, batch=1, lr=1.0, lr_min=0.0, ema=0)
    write_card(tmp_path, record, recipe, arch="srcnn", licence="MIT", images=5, scores={"before": 1, "after": 2})
    assert json.loads((tmp_path / "card.json").read_text()) == {
        "architecture": "srcnn",
        "stage": "train",
        "recipe": recipe.model_dump(mode="json"),
        "parent": "c",
        "licence": "MIT",
        "data": {"photos": "a"},
        "images": 5,
        "scores": {"before": 1, "after": 2},
    }
