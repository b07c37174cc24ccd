"""`python -m benchmarks.choosing`: what a way may say, the rule on made-up numbers, and a whole study in little."""

import sys

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_of

from benchmarks import choosing
from tasks.basics import BadInput
from tasks.params.experiment import Experiment
from tasks.params.load import load_experiment
from tasks.params.messages import validated
from tasks.store.ownership import manifest_of

WAY = "start_t=300,stop_t=100,factor=4"


@pytest.fixture(scope="module")
def tiny() -> Experiment:
    return validated(Experiment, tiny_of(load_experiment("demo").model_dump(mode="json")))


def test_a_way_changes_what_it_names_and_nothing_else(tiny):
    found = choosing.variant(tiny, "noise", "adapted", "factor=8,iterations=5,rounds=2")
    assert found.pseudo_targets == tiny.pseudo_targets.model_copy(update={"factor": 8})
    assert found.finetune == tiny.finetune.model_copy(update={"iterations": 5, "rounds": 2})


def test_what_an_experiment_sets_for_a_degradation_gives_way_to_the_way(tiny):
    base = tiny.model_copy(
        update={"pseudo_targets": validated(type(tiny.pseudo_targets), targets_with_exception(tiny))}
    )
    found = choosing.variant(base, "noise", "pseudo_target", "stop_t=200").pseudo_targets.on("noise")
    assert (found.start_t, found.stop_t, found.factor) == (300, 200, 16)


def targets_with_exception(tiny):
    return tiny.pseudo_targets.model_dump(mode="json") | {"at": {"noise": {"stop_t": 50, "factor": 16}}}


@pytest.mark.parametrize(
    ("method", "way", "message"),
    [
        ("adapted", "factr=4", "unknown key 'factr'. Did you mean 'factor'.*Valid: start_t"),
        ("adapted", "", "unknown key ''"),
        ("pseudo_target", "rounds=2", "unknown key 'rounds'"),
        ("adapted", "factor=x", "expected factor=NUMBER, found 'factor=x'"),
        ("adapted", "factor=4,factor=8", "factor comes twice"),
        ("adapted", "start_t=100,stop_t=300", "stop_t .L = 300. must be below start_t"),
        ("adapted", "start_t=1000", "way 'start_t=1000': pseudo_targets: K = 1000 is above the last kept step"),
        ("adapted", "factor=5", "factor 5 does not divide dataset.size 32"),
    ],
)
def test_a_way_that_cannot_be_is_refused(tiny, method, way, message):
    with pytest.raises(BadInput, match=message):
        choosing.variant(tiny, "noise", method, way)


def test_a_degradation_that_the_experiment_has_not_is_refused(tiny):
    with pytest.raises(BadInput, match=r"unknown 'noize'\. Did you mean 'noise'"):
        choosing.variant(tiny, "noize", "adapted", WAY)


def test_the_rule_takes_the_most_realistic_of_the_consistent_ways():
    table = pd.DataFrame(
        {"psnr_input": [29.0, 27.0, 25.6, 25.4, 20.0], "fid_prior@real": [1.1, 0.8, 0.5, 0.3, 0.1]},
        index=["artefacts", "blurred", "good", "another face", "anybody"],
    )
    assert choosing.ranked(table, 29.0).to_dict() == {
        "good": 1, "blurred": 2, "artefacts": 3, "another face": 4, "anybody": 5
    }  # fmt: skip


def test_the_choice_says_between_which_margins_it_stays():
    table = pd.DataFrame({"psnr_input": [27.0, 26.0, 24.0], "fid_prior@real": [0.8, 0.5, 0.3]}, index=["a", "b", "c"])
    assert choosing.margins(table, 29.0, "b") == (3, 5)
    assert choosing.margins(table, 29.0, "c") == (5, np.inf)


def judged(psnr_input: float, realism: float, psnr: float, lpips: float) -> pd.DataFrame:
    """Four photos, each a little other than the next."""
    spread = np.arange(4) - 1.5
    sets = {"fid_prior@real": realism, "fid_seeded@real": 2 * realism, "fid_prior": realism}
    photos = {"psnr_input": psnr_input, "piqe": 20 / realism, "psnr": psnr, "ssim": 0.7, "lpips_seeded": lpips}
    return pd.DataFrame({name: value * (1 + spread / 100) for name, value in photos.items()}).assign(**sets)


def test_the_report_says_what_choosing_blindly_costs():
    photos = {"a": judged(29, 1.1, 22, 0.35), "b": judged(27, 0.8, 24.5, 0.25), "c": judged(26.5, 0.7, 24.2, 0.27)}
    others = {"pre-trained": judged(29, 1.2, 22, 0.35), "ground truth": judged(24, 0.1, 99, 0)}
    lines = choosing.report(photos, others)
    assert [line.split(" | ")[-2:] for line in lines[2:5]] == [["3", "3 |"], ["2", "1 |"], ["1", "2 |"]]
    assert [line[:20] for line in lines[5:7]] == ["| pre-trained | 29 |", "| ground truth | 24 "]
    assert "chooses `c` (with any margin of 2.50 to inf dB); best by LPIPS (seeded) is `b`" in lines[-1]
    assert "changes LPIPS (seeded) by +0.02 [+0.02, +0.02], PSNR by -0.3 [-0.3, -0.3] dB" in lines[-1]
    assert "the rule 0.50, PSNR to the input (dB) -0.50, PIQE -0.50, FID (prior), to unpaired photos 0.50" in lines[-1]


def test_a_study_from_the_command_line(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(choosing, "load_experiment", {"tiny": tiny}.get)
    words = f"{tmp_path} --experiment tiny --degradation noise --targets-only --ways stop_t=200 factor=8".split()
    monkeypatch.setattr(sys, "argv", ["choosing", *words])
    choosing.main()
    lines = capsys.readouterr().out.splitlines()
    names = [line.split(" | ")[0] for line in lines[2:7]]
    assert names == ["| stop_t=200", "| factor=8", "| LQ photos", "| pre-trained", "| ground truth"]
    assert lines[-1].startswith("The rule chooses `")
    assert "nan" not in "\n".join(lines[2:4])
    blind, truth = (manifest_of(*tmp_path.glob(f"*/factor-8/judged/{kind}/*/noise/*")) for kind in ("blind", "truth"))
    assert ("lq" in blind.inputs, "hq" in blind.inputs) == (True, False)
    assert ("lq" in truth.inputs, "hq" in truth.inputs) == (False, True)


def test_one_way_is_no_choice(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(choosing, "load_experiment", lambda name: tiny)
    monkeypatch.setattr(sys, "argv", ["choosing", str(tmp_path), "--degradation", "noise", "--ways", WAY, WAY])
    with pytest.raises(SystemExit):
        choosing.main()
    assert "expected two ways or more" in capsys.readouterr().err
