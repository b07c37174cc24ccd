"""params.yaml: whatever is wrong is named with its path and the nearest valid name, before any work starts."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.basics import BadInput
from tasks.params.load import PARAMS_FILE, load, load_experiment


@pytest.fixture
def raw() -> dict[str, Any]:
    return copy.deepcopy(yaml.safe_load(PARAMS_FILE.read_text(encoding="utf-8")))


@pytest.fixture
def error(tmp_path: Path):
    """The message that a changed parameter file gives."""

    def message(raw: Any) -> str:
        path = tmp_path / "params.yaml"
        path.write_text(raw if isinstance(raw, str) else yaml.safe_dump(raw), encoding="utf-8")
        with pytest.raises(BadInput) as caught:
            load(path)
        return str(caught.value)

    return message


def test_the_file_of_the_repository_is_valid():
    assert "demo" in load().experiments


@pytest.mark.parametrize(
    ("place", "key", "near"),
    [
        ("experiments.demo", "metricks", "metrics"),
        ("experiments.demo.finetune", "lambda_lpip", "lambda_lpips"),
        ("experiments.demo.dataset", "tests", "test"),
        ("experiments.demo.pseudo_targets", "stopt", "stop_t"),
        ("experiments.demo.degradations.raw_x4_severe", "presets", "preset"),
        ("experiments.demo_methods.compare.difface", "methods", "method"),
        ("experiments.demo_methods.compare.difface.method", "etaa", "eta"),
        ("experiments.demo_methods.cleaning.method", "step", "steps"),
        ("models.demo/prior.training", "iteration", "iterations"),
    ],
)
def test_an_unknown_key_is_named_with_its_path_and_the_nearest_valid_one(raw, error, place, key, near):
    node = raw
    for part in place.split("."):
        node = node[part]
    node[key] = 1
    message = error(raw)
    assert f"{place.split('.')[-1]}" in message
    assert f"{key}: unknown key. Did you mean '{near}'?" in message


def test_wrong_names_have_suggestions(raw, error):
    raw["experiments"]["demo"]["metrics"] = ["psrn"]
    raw["experiments"]["demo"]["degradations"]["raw_x4_severe"]["preset"] = "raw_x4_sever"
    message = error(raw)
    assert "experiments.demo.metrics.0: unknown metric 'psrn'. Did you mean 'psnr'?" in message
    assert "Did you mean 'raw_x4_severe'?" in message


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("finetune.lr", -1, "finetune.lr: Input should be greater than 0 (found: -1)"),
        ("finetune.lr", "fast", "finetune.lr: Input should be a valid number"),
        ("finetune.micro_batch", 3, "micro_batch 3 must divide batch 8"),
        ("pseudo_targets.stop_t", 300, "stop_t (L = 300) must be below start_t (K = 300)"),
        ("dataset.kind", "folder", "dataset"),
        ("degradations", {}, "real photos have none, other data sets need at least one"),
        ("finetune", None, "methods: 'adapted' needs the section `finetune`, which is missing"),
        ("prior", None, "needs the section `prior`, which is missing"),
        ("restorer.arch", "codeformer", "finetune.recipe 'swinir_gan' does not train restorer.arch 'codeformer'"),
        ("seed", None, "seed"),
        ("prior.arch", "demo46", "experiments.demo.prior.arch: unknown prior 'demo46'. Did you mean 'demo64'?"),
        ("restorer.arch", "swinr", "unknown restorer 'swinr'. Did you mean 'swinir'?"),
        ("compare.idm.method.kind", "imd", "compare.idm.method: Input tag 'imd'"),
        ("cleaning", None, "compare.idm: an idm needs `weights`, or the experiment a `cleaning`"),
        ("authenticity.degradation", "eq8", "unknown 'eq8'. Did you mean 'eq9'?"),
        (
            "compare.difface.method",
            {"kind": "difface_inpaint", "respacing": "50", "start_t": 300, "eta": 1},
            "compare.difface: its estimator is a 'lama', found 'swinir'",
        ),
        ("claims.0.than", "lqq", "unknown 'lqq'. Did you mean 'lq'?"),
    ],
)
def test_a_wrong_value_is_named_with_its_path_and_what_was_found(raw, error, place, value, expected):
    *parents, last = place.split(".")
    raw["experiments"]["demo"] |= {
        key: copy.deepcopy(raw["experiments"]["demo_methods"][key])
        for key in ("compare", "cleaning", "authenticity", "claims", "degradations", "metrics")
    }
    node = raw["experiments"]["demo"]
    for part in parents:
        node = node[int(part) if part.isdecimal() else part]
    node[last] = value
    assert expected in error(raw)


def test_all_mistakes_are_reported_at_once(raw, error):
    raw["experiments"]["demo"]["sed"] = 1
    del raw["experiments"]["demo"]["seed"]
    raw["models"]["demo/prior"]["training"]["lr"] = 0
    lines = error(raw).splitlines()
    assert len(lines) == 3
    assert any("experiments.demo.seed: this key is missing" in line for line in lines)


def test_a_camera_needs_an_iso(raw, error):
    raw["experiments"]["demo"]["degradations"]["raw_x4_severe"]["camera"] = "camera.json"
    assert "camera and iso go together" in error(raw)


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "42"])
def test_a_file_that_is_no_mapping_is_refused(error, text):
    assert "params.yaml" in error(text)


def test_a_missing_file_says_how_to_get_it_back(tmp_path):
    with pytest.raises(BadInput, match=r"git checkout -- params\.yaml"):
        load(tmp_path / "params.yaml")


def test_an_unknown_experiment_is_named_with_the_nearest():
    with pytest.raises(BadInput, match=r"there is no 'dem'\. Did you mean 'demo'\?"):
        load_experiment("dem")
