"""A photo that is identical to its original has an infinite PSNR: shown as ∞, the best, valid JSON, said in words."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from flows import publishing
from tasks.basics import Strict
from tasks.report import difference, index
from tasks.report.about import About
from tasks.report.browse import render_browser
from tasks.report.charts import heat_maps, scatters
from tasks.report.checks import authenticity_table, claims_table
from tasks.report.content import (
    PUBLISHED_COLUMNS,
    SCORE_COLUMNS,
    SET_SCORE_COLUMNS,
    Claim,
    Method,
    MetricInfo,
    ReportData,
)
from tasks.report.findings import finding, leaders
from tasks.report.results import compute_results, metrics_json
from tasks.report.tables import table_rows
from tasks.report.writing import write_report
from tasks.store.artifact import Manifest
from tasks.training.card import write_card

IDS = [f"face_{n}" for n in range(8)]
KEY = ("copies", "same", "psnr")


def report(identical: int, others: float = 20.0) -> ReportData:
    """Method "same" has `identical` photos of eight that are their originals; "near" has 40 dB, the baseline 25."""
    near, plain = [40 + 0.1 * n for n in range(8)], [25 + 0.1 * n for n in range(8)]
    psnr = {"plain": plain, "near": near, "same": [math.inf] * identical + [others] * (8 - identical)}
    rows = [("copies", name, "psnr", i, v) for name, values in psnr.items() for i, v in zip(IDS, values, strict=True)]
    rows += [("copies", name, "lpips", i, 0.5) for name in psnr for i in IDS]
    return ReportData(
        experiment="demo",
        title="Copies",
        settings={},
        environment={"commit": "c", "device": "d"},
        timings=[],
        methods=[
            Method(name="plain", label="Plain", kind="baseline", role="plain"),
            Method(name="near", label="Near", kind="other", role="near"),
            Method(name="same", label="Same", kind="adapted", role="same"),
        ],
        degradations=[("copies", "copies")],
        scores=pd.DataFrame(rows, columns=list(SCORE_COLUMNS)),
        set_scores=pd.DataFrame(columns=list(SET_SCORE_COLUMNS)),
        metrics=[
            MetricInfo("psnr", "PSNR", "higher", "full_reference", "RGB"),
            MetricInfo("lpips", "LPIPS", "lower", "no_reference", "VGG"),
        ],
        absent={},
        images=lambda degradation, role, image_id: np.zeros((8, 8, 3), np.uint8),
        ids=IDS,
        quarantine=[],
        published=pd.DataFrame([("copies", "same", "psnr", 30.0, "a paper")], columns=list(PUBLISHED_COLUMNS)),
    )


def strict(text: str):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("identical", [1, 3, 8])
def test_the_method_with_identical_photos_is_the_best_and_no_other_is_bold(identical):
    data = report(identical)
    results = compute_results(data)
    cells = {method.name: row[0] for method, row in table_rows(data, results, "copies")}
    assert {name for name, cell in cells.items() if cell.is_best} == {"same"}
    assert (cells["same"].value, cells["same"].interval) == ("∞", "")
    assert leaders(data, results, "copies")[0].methods.startswith("Same")
    found = results[KEY]
    assert (found.mean, found.n, found.identical) == (math.inf, 8, identical)
    assert found.finite_mean == pytest.approx(20.0, nan_ok=True) or identical == 8


def test_among_methods_with_identical_photos_more_of_them_is_better_then_the_others_decide():
    goodness = {n: compute_results(report(n))[KEY].goodness(1) for n in (1, 3, 8)}
    assert goodness[1] < goodness[3] < goodness[8]
    assert goodness[1] < compute_results(report(1, others=21.0))[KEY].goodness(1)


def test_an_infinite_change_is_judged_and_has_no_interval():
    results = compute_results(report(8))
    assert (results[KEY].delta, results[KEY].better) == (math.inf, True)
    assert math.isnan(results[KEY].delta_ci_low)
    assert results["copies", "near", "psnr"].p_best < 0.05
    worse = compute_results(report(1, others=20.0))[KEY]
    assert (worse.delta, worse.better) == (math.inf, None), "one photo of eight decides nothing"


def test_both_identical_is_no_change():
    data = report(8)
    results = compute_results(replace(data, scores=data.scores.assign(value=math.inf)))
    assert results[KEY].delta == 0
    assert results[KEY].p_best == 1


def test_an_infinitely_bad_value_is_missing():
    data = report(0)
    scores = data.scores.copy()
    scores.loc[(scores["metric"] == "lpips") & (scores["image_id"] == IDS[0]), "value"] = math.inf
    assert compute_results(replace(data, scores=scores))["copies", "same", "lpips"].n == 7


@pytest.mark.parametrize("identical", [3, 8])
def test_every_file_of_the_report_says_it(tmp_path, identical):
    data = report(identical)
    write_report(data, tmp_path)
    rest = "" if identical == 8 else "; the mean of the others is 20.00"
    sentence = f"PSNR of Same is infinite: {identical} of 8 photos are identical to their originals{rest}."
    for name in ("results.md", "report.html"):
        assert sentence in (tmp_path / name).read_text()
    assert "| Same | **∞** (+∞)" in (tmp_path / "results.md").read_text()
    assert r"\textbf{$\infty$}" in (tmp_path / "results.tex").read_text()
    table = pd.read_csv(tmp_path / "results.csv").set_index(["method", "metric"])
    assert table.loc[("same", "psnr"), "mean"] == math.inf
    assert table.loc[("same", "psnr"), "identical"] == identical
    assert strict((tmp_path / "metrics.json").read_text())["copies"]["same"]["psnr"] == "inf"
    for name in ("findings.json", "origins.json"):
        strict((tmp_path / name).read_text())


def test_nothing_is_added_where_nothing_is_infinite(tmp_path):
    write_report(report(0), tmp_path)
    assert "identical" not in (tmp_path / "results.csv").read_text() + (tmp_path / "results.md").read_text()
    assert all(isinstance(m["psnr"], float) for m in metrics_json(compute_results(report(0)))["copies"].values())


def test_the_browser_s_data_are_json():
    page = render_browser(report(3), compute_results(report(3)))
    assert "Infinity" not in page.partition("found = ")[2].partition("\n")[0]
    assert '"psnr": "inf"' in page or '"psnr":"inf"' in page


def test_charts_show_it_as_the_best():
    data = report(3)
    (scatter,) = scatters(data, compute_results(data))
    points = {point.label: point for point in scatter.points}
    assert points["Same"].x > points["Near"].x > points["Plain"].x
    assert (points["Same"].text.split(",")[0], scatter.x_ticks[-1].text) == ("∞", "∞")
    twice = replace(
        data,
        degradations=[("copies", "copies"), ("more", "more")],
        scores=pd.concat([data.scores, data.scores.assign(degradation="more")]),
    )
    psnr = next(heat for heat in heat_maps(twice, compute_results(twice)) if heat.metric.name == "psnr")
    assert {label: cells[0] for label, cells in psnr.rows}["Same"] == ("∞", 1.0)


def test_findings_claims_and_checks_count_it():
    data = report(8)
    assert "Same beats Plain on 1 of 2 metrics" in finding(data, compute_results(data), "copies").sentence
    claim = Claim(text="x", source="y", degradation="copies", metric="psnr", better="same", than="near")
    row = claims_table([claim], data.scores, {"same": "Same", "near": "Near"}).rows[0]
    assert row[1] == "holds"
    assert "Same ∞, Near 40.35; change +∞, n = 8" in row[3]
    runs = {"first": 30.0, "second": 30.0, "again": math.inf, "clean": math.inf}
    frames = {
        (run, "m"): pd.DataFrame({"metric": "psnr", "image_id": IDS, "value": value}) for run, value in runs.items()
    }
    assert authenticity_table({"m": "M"}, frames, ["psnr"]).rows[0][-2:] == ("∞", "∞")


def test_the_index_and_the_difference_of_runs_rank_it_first(tmp_path, monkeypatch):
    data = report(3)
    write_report(data, tmp_path)
    about = SimpleNamespace(
        methods=data.methods,
        degradations=["copies"],
        labels={method.name: method.label for method in data.methods},
        metrics={"psnr": "PSNR", "lpips": "LPIPS"},
        environment=data.environment,
    )
    monkeypatch.setattr(About, "read", lambda report: about)
    monkeypatch.setattr(index, "find", lambda name: next(metric for metric in data.metrics if metric.name == name))
    assert index._rows(tmp_path, "demo")[0][4:6] == ["Same", "∞"]
    run = difference.Run(tmp_path, about, data.scores, pd.read_csv(tmp_path / "results.csv"))
    better = report(8)
    write_report(better, tmp_path / "new")
    new = difference.Run(tmp_path, about, better.scores, pd.read_csv(tmp_path / "new" / "results.csv"))
    rows = {(row.method, row.metric[:4]): row for row in difference._rows(run, new)[0]}
    assert (rows["Same", "PSNR"].old, rows["Same", "PSNR"].new, rows["Same", "PSNR"].change) == ("∞", "∞", "+∞")
    assert rows["Same", "PSNR"].verdict != "equal"


def test_prefects_table_is_json(tmp_path, monkeypatch):
    write_report(report(3), tmp_path / "report")
    rows = []
    for name in ("markdown", "link"):
        monkeypatch.setattr(publishing, f"create_{name}_artifact", lambda *args, **kwargs: None)
    monkeypatch.setattr(publishing, "create_table_artifact", lambda table, **about: rows.extend(table))
    monkeypatch.setattr(publishing, "contact_sheet", lambda work: "")
    monkeypatch.setattr(publishing, "get_run_logger", lambda: SimpleNamespace(info=lambda *args: None))
    publishing.show_report(SimpleNamespace(root=tmp_path))
    assert next(row for row in rows if row["method"] == "same")["mean"] == "inf"
    assert strict(json.dumps(rows))


def test_a_card_holds_it_as_text(tmp_path):
    scores = {"before": {"psnr_input": 20.0}, "after": {"psnr_output": math.inf}}
    record = Manifest(stage="train", key="k", code="c", params={}, inputs={}, files={})
    write_card(tmp_path, record, Strict(), arch="a", licence="l", images=1, scores=scores)
    read = strict((tmp_path / "card.json").read_text())["scores"]
    assert read == {"before": {"psnr_input": 20.0}, "after": {"psnr_output": "inf"}}


def test_few_photos_are_not_judged_whatever_their_interval_says():
    data = report(8)
    few = replace(data, scores=data.scores[data.scores["image_id"].isin(sorted(set(data.scores["image_id"]))[:5])])
    found = finding(few, compute_results(few), "copies")
    assert found.sentence.startswith("Too few photos to judge Same with Plain, at least 6 are needed; PSNR")
    assert "(n = 5)" in found.sentence
    assert found.tone == "mixed"
