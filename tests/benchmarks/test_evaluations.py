"""`python -m benchmarks.evaluations`: what it is told wrongly is said before any work."""

import sys

import pytest

from benchmarks import evaluations
from tasks.params.load import load_experiment

REFUSED = {
    "--ways ancestral:500 x": "way 'x': expected SAMPLER:RESPACING, like ancestral:500",
    "--ways ancestral:500 ancestral:0": "way 'ancestral:0': pseudo_targets.respacing: ",
    "--ways ancestral:500 foo:50": "way 'foo:50': pseudo_targets.sampler: ",
    "--ways ancestral:500 ancestral:2": "way 'ancestral:2': pseudo_targets: no kept step lies between",
    "--degradation raw_x2_sever": "degradation: unknown 'raw_x2_sever'. Did you mean 'raw_x2_severe'?",
    "--experiment dem": "experiments: there is no 'dem'. Did you mean 'demo'?",
    "--experiment dt_bfr_swinir --degradation raw_x4_severe": "experiment: its metrics lack",
}


@pytest.mark.parametrize(("words", "message"), REFUSED.items())
def test_what_cannot_be_is_refused_before_any_work(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.setattr(sys, "argv", ["evaluations", str(tmp_path), *words.split()])
    monkeypatch.setattr(evaluations, "STEPS", {})
    with pytest.raises(SystemExit):
        evaluations.main()
    assert f"error: {message}" in capsys.readouterr().err


def test_every_way_is_one_of_the_demo():
    base = load_experiment("demo")
    found = [evaluations.variant(base, "raw_x2_severe", way).pseudo_targets for way in evaluations.WAYS]
    assert [f"{targets.sampler}:{targets.respacing}" for targets in found] == evaluations.WAYS
