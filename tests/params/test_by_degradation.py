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
        ({"raw_x2_sever": {"factor": 8}}, "pseudo_targets.at: unknown 'raw_x2_sever'. Did you mean 'raw_x2_severe'?"),
        ({"raw_x2_severe": {"factr": 8}}, "pseudo_targets.at.raw_x2_severe.factr: unknown key. Did you mean 'factor'?"),
        ({"raw_x2_severe": {"factor": 5}}, "pseudo_targets.at.raw_x2_severe.factor 5 does not divide dataset.size 128"),
        ({"raw_x2_severe": {"stop_t": 900}}, "pseudo_targets.at.raw_x2_severe: stop_t (L = 900) must be below start_t"),
    ],
)
def test_what_is_wrong_with_one_degradation_names_it(tmp_path, at, expected):
    settings = load_experiment("demo").model_dump(mode="json", exclude={"claims", "published"}, exclude_none=True)
    settings["pseudo_targets"]["at"] = at
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"experiments": {"demo": settings}}), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load(path)
    assert expected in str(caught.value)
