"""Settings that differ by degradation: what a paper sets for x4 does not hold for x8."""

import pytest
import yaml

from flows.steps import pseudo_targets
from flows.workspace import Workspace
from tasks.basics import BadInput
from tasks.params.load import load, load_experiment


def test_codeformers_filter_is_8_at_x4_and_16_at_x8():
    experiment = load_experiment("dt_bfr_codeformer")
    targets = experiment.pseudo_targets
    assert targets is not None
    factors = {part: targets.on(part).factor for part in experiment.parts}
    assert factors == {"raw_x4_moderate": 8, "raw_x4_severe": 8, "raw_x8_moderate": 16, "raw_x8_severe": 16}


def test_the_stage_of_each_degradation_gets_its_own_settings(tmp_path):
    given = {}

    class Noted(Workspace):
        """Makes nothing, and knows what it was asked for."""

        def make(self, at, stage, params, **inputs):
            given[at] = params.settings

        def __getitem__(self, name):
            return name

    pseudo_targets(load_experiment("dt_bfr_codeformer"), Noted(tmp_path))
    assert {settings.start_t for settings in given.values()} == {600}
    for at, settings in given.items():
        assert settings.factor == (8 if "raw_x4" in at else 16), at


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ({"raw_x4_sever": {"factor": 8}}, "pseudo_targets.at: unknown 'raw_x4_sever'. Did you mean 'raw_x4_severe'?"),
        ({"raw_x4_severe": {"factr": 8}}, "pseudo_targets.at.raw_x4_severe.factr: unknown key. Did you mean 'factor'?"),
        ({"raw_x4_severe": {"factor": 5}}, "pseudo_targets.at.raw_x4_severe.factor 5 does not divide dataset.size 512"),
        ({"raw_x4_severe": {"stop_t": 900}}, "pseudo_targets.at.raw_x4_severe: stop_t (L = 900) must be below start_t"),
        ({"raw_x4_severe": {"stop_t": 599}}, "pseudo_targets.at.raw_x4_severe: no kept step lies between L = 599"),
    ],
)
def test_what_is_wrong_with_one_degradation_names_it(tmp_path, at, expected):
    assert expected in refusal(tmp_path, at=at)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"respacing": "2"}, "pseudo_targets: no kept step lies between L = 360 and K = 600"),
        ({"start_t": 1000}, "pseudo_targets: K = 1000 is above the last kept step, t = 999"),
    ],
)
def test_a_chain_that_keeps_no_step_to_make_is_refused(tmp_path, changes, expected):
    assert expected in refusal(tmp_path, **changes)


def refusal(folder, **changes) -> str:
    """What is said of an experiment whose pseudo-targets have these settings."""
    settings = load_experiment("dt_bfr_swinir").model_dump(
        mode="json", exclude={"claims", "published"}, exclude_none=True
    )
    settings["pseudo_targets"] |= changes
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump({"experiments": {"one": settings}}), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load(path)
    return str(caught.value)
