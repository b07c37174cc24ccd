"""The preset `fast`: fewer evaluations wherever there is a chain to shorten, and never more."""

import logging

import pytest

from tasks.basics import BadInput
from tasks.diffusion.schedule import Schedule
from tasks.methods.dt_bfr import variant_of
from tasks.params import fast as preset
from tasks.params.experiment import Targets
from tasks.params.fast import chain_of, evaluations, fast, shortened
from tasks.params.load import load

EXPERIMENTS = load().experiments
CHAINS = [
    (name, row)
    for name, experiment in EXPERIMENTS.items()
    for row in ("pseudo_target", *experiment.compare)
    if chain_of(experiment, row)
]
SHARES = (  # of a row's evaluations, at most
    ("dt_bfr_swinir", "pseudo_target", 0.2),
    ("dt_bfr_codeformer", "pseudo_target", 0.2),
    ("difface_sr", "difface", 0.4),
    ("demo", "pseudo_target", 0.9),
)


@pytest.mark.parametrize(("name", "row"), CHAINS)
def test_no_experiment_has_more_evaluations_in_fast_and_all_are_valid(name, row):
    experiment = EXPERIMENTS[name]
    before, now = chain_of(experiment, row), chain_of(fast(experiment, row), row)
    assert before is not None
    assert now is not None
    assert type(now).model_validate(now.model_dump()) == now
    assert now == before or all(a < b for a, b in zip(evaluations(now), evaluations(before), strict=True))
    if isinstance(now, Targets):
        schedule = Schedule.linear().respace(now.respacing)
        for part in ("", *experiment.parts):
            variant_of(now.on(part), schedule)  # raises ValueError where no step is left between K and L


@pytest.mark.parametrize(("name", "row", "share"), SHARES)
def test_a_published_chain_takes_a_part_of_its_evaluations_and_the_demo_s_fewer(name, row, share):
    experiment = EXPERIMENTS[name]
    before, now = (max(evaluations(chain_of(each, row))) for each in (experiment, fast(experiment, row)))
    assert 2 <= now <= before * share


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("dt_bfr_swinir", "pseudo_target", "Fast: 10 evaluations of the prior for a face, not 150."),
        ("difface_celeba_test", "difface", "Fast: 40 evaluations of the prior for a face, not 100."),
    ],
)
def test_it_says_how_many_evaluations_are_left_and_changes_no_other_row(name, row, said, caplog, monkeypatch):
    monkeypatch.setattr(preset, "RESPACING", "17")
    caplog.set_level(logging.INFO)
    experiment = EXPERIMENTS[name]
    changed = fast(experiment, row)
    assert caplog.messages == [said]
    assert chain_of(changed, row) == shortened(chain_of(experiment, row)) != chain_of(experiment, row)
    section = "pseudo_targets" if row == "pseudo_target" else "compare"
    kept = {name: each for name, each in experiment.compare.items() if name != row}
    assert {name: each for name, each in changed.compare.items() if name != row} == kept
    assert changed.model_dump(exclude={section}) == experiment.model_dump(exclude={section})


@pytest.mark.parametrize(
    "chain",
    [
        {"respacing": "17", "sampler": "dpm_solver"},  # fast already
        {"respacing": "5"},  # shorter
        {"start_t": 300, "stop_t": 280},  # of 17 steps none lies between
        {"at": {"raw_x2_severe": {"stop_t": 280}}},
    ],
)
def test_a_chain_that_would_not_be_shorter_or_not_be_valid_stays(chain, caplog, monkeypatch):
    monkeypatch.setattr(preset, "RESPACING", "17")
    demo = EXPERIMENTS["demo"]
    targets = Targets.model_validate(demo.pseudo_targets.model_dump() | chain)
    given = demo.model_copy(update={"pseudo_targets": targets})
    assert fast(given, "pseudo_target") == given
    assert "Fast changes nothing here" in caplog.text


def test_difface_keeps_the_steps_without_which_noise_stays_in_its_results():
    chain = chain_of(EXPERIMENTS["difface_sr"], "difface")
    assert chain is not None
    assert shortened(chain).respacing == "100"


@pytest.mark.parametrize(("name", "row"), [("demo", "pretrained"), ("demo_methods", "gen2res"), ("gen2res", "gen2res")])
def test_a_row_without_a_fast_variant_is_refused_with_those_that_have_one(name, row):
    with pytest.raises(BadInput, match=r"no variant with fewer .* choose pseudo_target or difface"):
        fast(EXPERIMENTS[name], row)


def test_the_experiment_demo_fast_has_the_preset_s_targets():
    demo, demo_fast = (EXPERIMENTS[name] for name in ("demo", "demo_fast"))
    assert demo_fast.pseudo_targets == fast(demo, "pseudo_target").pseudo_targets
