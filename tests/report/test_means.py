"""Means over degradations: tables of their own, over the photos that all of them have."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tasks.report.charts import sweep_plots
from tasks.report.checks import cleaning_table, cost_table
from tasks.report.content import PUBLISHED_COLUMNS, SCORE_COLUMNS, SET_SCORE_COLUMNS, Method, MetricInfo, ReportData
from tasks.report.markdown import results_markdown
from tasks.report.results import compute_results
from tasks.report.writing import write_report

IDS = [f"face_{n:02d}" for n in range(12)]
METHODS = [
    Method(name="pretrained", label="Pre-trained", kind="baseline", role="before"),
    Method(name="adapted", label="Adapted", kind="adapted", role="after", evaluations=1),
]


@pytest.fixture
def data() -> ReportData:
    rng = np.random.default_rng(0)
    rows = [
        (part, method.name, "psnr", image_id, 20 + 5 * n + m + rng.random())
        for n, part in enumerate(("easy", "hard"))
        for m, method in enumerate(METHODS)
        for image_id in IDS
    ]
    sets = [
        (part, m.name, "fid", 10.0 * (n + 1) + k, np.nan)
        for n, part in enumerate(("easy", "hard"))
        for k, m in enumerate(METHODS)
    ]
    return ReportData(
        experiment="e",
        title="t",
        settings={},
        environment={},
        timings=[],
        methods=METHODS,
        degradations=[("easy", "easy"), ("hard", "hard")],
        scores=pd.DataFrame(rows, columns=list(SCORE_COLUMNS)),
        set_scores=pd.DataFrame(sets, columns=list(SET_SCORE_COLUMNS)),
        metrics=[
            MetricInfo("psnr", "PSNR (dB)", "higher", "full_reference", "RGB"),
            MetricInfo("fid", "FID", "lower", "distribution", "2048 features"),
        ],
        absent={},
        images={},
        ids=IDS,
        quarantine=[],
        published=pd.DataFrame(columns=list(PUBLISHED_COLUMNS)),
        means={"both": ("easy", "hard")},
    )


def test_a_photo_counts_once_with_its_mean(data):
    results = compute_results(data)
    both, easy, hard = (results[part, "adapted", "psnr"] for part in ("both", "easy", "hard"))
    assert both.mean == pytest.approx((easy.mean + hard.mean) / 2)
    assert both.n == len(IDS)
    assert both.ci_low < both.mean < both.ci_high
    assert both.delta == pytest.approx((easy.delta + hard.delta) / 2)
    assert both.better is True
    assert results["both", "adapted", "fid"].mean == pytest.approx(16.0)
    assert np.isnan(results["both", "adapted", "fid"].spread)


def test_a_photo_that_one_degradation_lacks_is_in_no_mean(data):
    scores = data.scores[(data.scores["degradation"] != "hard") | (data.scores["image_id"] != IDS[0])]
    assert compute_results(replace(data, scores=scores))["both", "adapted", "psnr"].n == len(IDS) - 1


def test_a_method_that_one_degradation_lacks_has_no_mean(data):
    scores = data.scores[(data.scores["degradation"] != "hard") | (data.scores["method"] != "adapted")]
    assert ("both", "adapted", "psnr") not in compute_results(replace(data, scores=scores))


def test_a_published_mean_stands_beside_ours_in_every_form_of_the_report(data, tmp_path):
    published = pd.DataFrame([("both", "adapted", "psnr", 20.0, "Table 2")], columns=list(PUBLISHED_COLUMNS))
    write_report(replace(data, published=published), tmp_path)
    rows = pd.read_csv(tmp_path / "results.csv").set_index(["degradation", "method", "metric"])
    ours = rows.loc[("both", "adapted", "psnr"), "mean"]
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert f"| both | Adapted | PSNR (dB) | {ours:.2f} | 20 | +{ours - 20:.2f} | Table 2 |" in text
    assert "## both" in text
    assert "t: both." in (tmp_path / "results.tex").read_text(encoding="utf-8")
    assert ">both</h2>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_published_seconds_stand_beside_ours(data):
    table = cost_table(METHODS, {"adapted": 0.5}, {"Table IX, seconds": {"adapted": 4.32, "DFDNet": 1.4}})
    assert table.header[-1] == "Table IX, seconds"
    assert [tuple(row) for row in table.rows] == [
        ("Pre-trained", "–", "–", "–"),
        ("Adapted", "0.500", "1", "4.32"),
        ("DFDNet", "–", "–", "1.4"),
    ]
    assert "4.32" in results_markdown(replace(data, extras=[table]), {})


def test_photos_of_several_scales_have_curves_over_the_scale(data, tmp_path):
    scales = {4: IDS[:6], 8: IDS[6:]}
    data = replace(data, sweeps={"easy": scales})
    plots = sweep_plots(data)
    assert [plot.title for plot in plots["easy"]] == ["PSNR (dB) ↑"]
    rows = data.scores[(data.scores["degradation"] == "easy") & (data.scores["method"] == "adapted")]
    means = [rows[rows["image_id"].isin(ids)]["value"].mean() for ids in scales.values()]
    line = next(line for line in plots["easy"][0].lines if line.label == "Adapted")
    assert line.text == ", ".join(f"{mean:.2f}" for mean in means)
    write_report(data, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<h3>By scale</h3>") == 1
    assert ">x4</text>" in page


def test_published_scores_of_the_cleaning_stand_in_its_table():
    scores = pd.DataFrame([("nima", f"{n}", 4.0 + n / 10) for n in range(4)], columns=["metric", "image_id", "value"])
    printed = {"Zhao et al., 4.1: FFHQ": {"before": {"nima": 4.51}, "after": {"nima": 4.85}}}
    rows = [tuple(row) for row in cleaning_table(scores, scores, {}, printed).rows]
    assert rows[0] == ("NIMA (AVA)", "4.51", "4.85", "", "Zhao et al., 4.1: FFHQ")
    assert len(rows) == 2
