"""What a report reads: its names are made and taken apart in one place, and results are found where they are."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.steps import report_places
from tasks.basics import BadInput
from tasks.params.load import load
from tasks.report.about import About
from tasks.report.content import Method
from tasks.report.inputs import PAIRED, ReportInputs, step_of
from tasks.running.stage import default_store
from tasks.stages.report import ReportParams, extras, holes_of
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import write_png

NAMES = st.text(min_size=1, max_size=8).filter(lambda name: "/" not in name)
PAIRS = st.dictionaries(st.tuples(NAMES, NAMES), st.integers(), max_size=3)
SINGLES = st.dictionaries(NAMES, st.integers(), max_size=3)
INPUTS = st.builds(
    ReportInputs,
    images=PAIRS,
    scores=PAIRS,
    models=PAIRS,
    authenticity=PAIRS,
    photos=SINGLES,
    cleaning=SINGLES,
    downstream=SINGLES,
)


@given(inputs=INPUTS)
def test_inputs_come_back_from_their_names(inputs):
    named = inputs.named()
    assert ReportInputs.of(named) == inputs
    assert list(ReportInputs.of(named).named()) == list(named)
    assert all(name.count("/") == (2 if name.split("/")[0] in PAIRED else 1) for name in named)


@pytest.mark.parametrize("name", ["pictures/x4/lq", "images/x4", "images/x4/lq/test", "photos", "photos/a/b", ""])
def test_another_name_is_refused(name):
    with pytest.raises(BadInput, match=r"is no input of a report\..*images/…/….*photos/…"):
        ReportInputs.of({name: 1})
    with pytest.raises(BadInput, match="Did you mean 'images'"):
        ReportInputs.of({"imagse/x4/lq": 1})


def test_a_name_that_could_not_be_taken_apart_is_refused():
    with pytest.raises(BadInput, match="'x4/severe': the name of a degradation or a method has no '/'"):
        ReportInputs(images={("x4/severe", "lq"): 1}).named()


def test_every_input_of_every_experiment_has_a_place_of_its_own_and_says_what_it_is():
    for name, experiment in load().experiments.items():
        places = report_places(experiment)
        images = list(places.images.values())
        assert len(set(images)) == len(images) == len(experiment.parts) * len(experiment.table), name
        assert places.scores.keys() == places.images.keys()
        assert {method for _, method in places.models} == ({"adapted"} & set(experiment.table))
        assert bool(places.cleaning) == bool(experiment.cleaning)
        assert bool(places.authenticity) == bool(experiment.authenticity)
        assert ReportInputs.of(places.named()) == places


def test_the_report_of_inpainting_says_how_much_of_the_photos_is_hole(tmp_path, monkeypatch):
    monkeypatch.setenv("BFR_STORE", str(tmp_path / "store"))
    photos = np.full((2, 8, 8, 3), 9, np.uint8)
    photos[0, :4], photos[1, :2, :4], photos[1, 4:, 4:, 0] = 0, 0, 0  # a half, an eighth; a cyan quarter is no hole

    def write(folder):
        for n, photo in enumerate(photos):
            write_png(folder / f"{n}.png", photo)

    record = Manifest(stage="degrade", key="1" * 64, params={}, inputs={}, code="", files={})
    lq = ImageFolder(default_store().build(record, write))
    row = Method(name="lq", label="LQ input", kind="input", role="LQ")
    params = ReportParams(
        name="n",
        title="t",
        settings={},
        degradations=("mask_half",),
        methods=(row,),
        metrics=(),
        published=(),
        places={},
    )
    images = {("mask_half", "lq"): lq}
    assert holes_of(params, images) == {"mask_half": [0.5, 0.125]}
    for fills in (False, True):
        tables = extras(params.model_copy(update={"fills": fills}), ReportInputs(images=images), pd.DataFrame())
        found = [list(table.rows) for table in tables if table.title == "Holes"]
        assert found == ([[("mask_half", "31.2 %", "12.5 %", "50.0 %")]] if fills else [])


def test_the_step_of_a_place_is_its_first_folder():
    assert step_of("compared/x4/adapted") == "compared"
    assert step_of("hq") == "hq"


def test_what_a_report_is_of_is_read_back_and_anything_else_says_what_to_do(tmp_path):
    about = About(
        title="t",
        settings={"seed": 1},
        degradations=("x4",),
        methods=({"name": "lq", "label": "LQ input", "kind": "input", "role": "LQ"},),
        metrics={"psnr": "PSNR (dB)"},
        places=ReportInputs(images={("x4", "lq"): "lq/x4/test"}).named(),
        environment={"torch": "2"},
    )
    (tmp_path / "run.json").write_text(json.dumps(about.model_dump(mode="json")), encoding="utf-8")
    read = About.read(tmp_path)
    assert read == about
    assert read.inputs.images == {("x4", "lq"): "lq/x4/test"}
    assert read.labels == {"lq": "LQ input"}
    (tmp_path / "run.json").write_text(json.dumps({"params": {}}), encoding="utf-8")
    with pytest.raises(BadInput, match=r"damaged or of another version of bfr.*\nRun its experiment again"):
        About.read(tmp_path)
    with pytest.raises(BadInput, match="holds no report"):
        About.read(tmp_path / "nowhere")
