"""The record of the five papers is whole: what is published stands beside what is run, and every file has a source."""

from pathlib import Path

import pytest

from tasks.basics import BadInput
from tasks.metrics.registry import METRICS
from tasks.params.experiment import Experiment
from tasks.params.load import Params, load, load_experiment
from tasks.params.published import FOLDER, with_published
from tasks.weights.official import OFFICIAL, WHOLE_PHOTOS

WEIGHTS = Path("data", "weights")


@pytest.fixture(scope="module")
def params() -> Params:
    return load()


def test_every_experiment_every_number_and_every_model_of_the_repository_is_valid(params):
    """A row of data/published that joins nothing and is not said to be from elsewhere makes `load` fail."""
    assert len(params.experiments) >= 39
    papers = {"Kuai", "Yue", "Ding", "Zhao", "Yu"}
    tables = [table for experiment in params.experiments.values() for table in experiment.published]
    assert {table.source.split()[0] for table in tables} == papers


def test_the_numbers_that_join_are_as_many_as_the_papers_print_for_methods_that_run_here(params):
    joined = [
        (name, part, method, metric)
        for name, experiment in params.experiments.items()
        for table in experiment.published
        for part, methods in table.scores.items()
        for method, values in methods.items()
        for metric in values
        if not {part, method, metric} & set(table.elsewhere)
    ]
    assert {"difface_celeba_test", "dt_bfr_codeformer", "dt_bfr_wider", "difbfsr"} <= {name for name, *_ in joined}
    for wanted in (
        ("dt_bfr_wider", "wider_test_200", "difface", "musiq"),
        ("dt_bfr_codeformer", "raw_x8_mean_of_both", "adapted", "fid@official"),
        ("difbfsr", "mean_of_the_eight", "difbfsr", "psnr"),
        ("difface_inpainting", "average", "difface", "lpips"),
    ):
        assert wanted in joined


def test_psnr_and_ssim_of_papers_whose_scripts_match_the_channels_stand_beside_ours_that_are_matched_too(params):
    """DT-BFR's and DifFace's: both take VQFR's script. The others do not say."""
    for name, experiment in params.experiments.items():
        for table in experiment.published:
            metrics = {metric for part in table.scores.values() for row in part.values() for metric in row}
            is_matched = table.source.startswith(("Kuai", "Yue")) and "ImageNet" not in table.source
            other = {"psnr", "ssim"} if is_matched else {"psnr_matched", "ssim_matched"}
            assert not metrics & other, f"{name}: {table.source}"


def test_every_file_of_an_experiment_has_an_address_or_is_trained_here(params):
    trained = {WEIGHTS / f"{name}.safetensors" for name in params.models}
    registered = {WEIGHTS / place for place in OFFICIAL}
    for name, experiment in params.experiments.items():
        for path in experiment.weights:
            assert path in trained | registered, f"{name}: {path} has no address"


def test_every_registered_file_is_used(params):
    used = {path for experiment in params.experiments.values() for path in experiment.weights}
    used |= {WEIGHTS / file.place for metric in METRICS.values() for file in metric.needs}
    used |= {WEIGHTS / file.place for file in WHOLE_PHOTOS}
    assert {WEIGHTS / place for place in OFFICIAL} <= used


def table(scores: str, elsewhere: str = "", part: str = "raw_x4_severe") -> dict[Path, object]:
    method, metric = scores.split()
    numbers = {part: {method: {metric: 1.0}}}
    raw = {"source": "Table 1", "scores": numbers, "elsewhere": elsewhere.split()}
    return {FOLDER / "kuai.yaml": {"one": {"tables": [raw]}}}


@pytest.mark.parametrize(
    ("scores", "elsewhere", "expected"),
    [
        ("Adapted psnr", "", "no method 'Adapted'. Did you mean 'adapted'? Correct it, or name it in `elsewhere`."),
        ("adapted pnsr", "", "raw_x4_severe: there is no metric 'pnsr'. Did you mean 'psnr'?"),
        ("adapted psnr", "adapted", "tables.0.elsewhere: 'adapted': the experiment has this method: take it out"),
        ("adapted psnr", "VQFR", "tables.0.elsewhere: 'VQFR': the table has no such name"),
    ],
)
def test_a_number_that_joins_nothing_is_refused(experiment, scores, elsewhere, expected):
    with pytest.raises(BadInput) as caught:
        with_published("one", experiment, table(scores, elsewhere))
    assert expected in str(caught.value)
    assert str(FOLDER / "kuai.yaml") in str(caught.value)


@pytest.mark.parametrize(
    ("part", "scores", "expected"),
    [
        ("idm", "before nima", "idm: there is no method 'before'"),
        ("idm", "idm nima", "idm: there is no metric 'nima'"),
        ("cleaning", "idm nima", "cleaning: there is no method 'idm'"),
        ("cleaning", "after psnr", "cleaning: there is no metric 'psnr'"),
    ],
)
def test_numbers_of_the_cleaned_photos_and_of_the_table_are_not_mixed(params, part, scores, expected):
    with pytest.raises(BadInput) as caught:
        with_published("one", params.experiments["idm"], table(scores, part=part))
    assert expected in str(caught.value)


def test_a_method_that_ran_elsewhere_is_named(experiment):
    found = with_published("one", experiment, table("VQFR psnr", "VQFR"))
    assert found.published[0].scores["raw_x4_severe"]["VQFR"]["psnr"] == 1.0


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return load_experiment("dt_bfr_swinir")
