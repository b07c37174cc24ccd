"""The report: its tables say what the scores say, its page is self-contained and escapes what users name."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from tasks.metrics.sets import SetScore
from tasks.report.charts import heat_maps, scatters
from tasks.report.checks import downstream_table
from tasks.report.content import PUBLISHED_COLUMNS, SCORE_COLUMNS, SET_SCORE_COLUMNS, Method, MetricInfo, ReportData
from tasks.report.figures import thumbnail
from tasks.report.markdown import results_markdown
from tasks.report.ranking import holm, holm_p
from tasks.report.results import compute_results, metrics_json
from tasks.report.writing import write_report

IDS = [f"face_{n}" for n in range(24)]
METRICS = [
    MetricInfo("psnr", "PSNR (dB)", "higher", "full_reference", "RGB, no crop"),
    MetricInfo("lpips", "LPIPS", "lower", "full_reference", "VGG"),
    MetricInfo("fid", "FID", "lower", "distribution", "2048 features"),
    MetricInfo("musiq", "MUSIQ", "higher", "no_reference", "KonIQ"),
]


def scores(method: str, psnr: float, lpips: float) -> list[tuple[str, str, str, str, float]]:
    return [
        row
        for n, image_id in enumerate(IDS)
        for row in (
            ("noise", method, "psnr", image_id, psnr + 0.1 * (n % 5)),
            ("noise", method, "lpips", image_id, lpips + 0.01 * (n % 3)),
        )
    ]


@pytest.fixture
def data() -> ReportData:
    return ReportData(
        experiment="demo",
        title="A <b>title</b>",
        settings={"seed": 1, "finetune": {"lr": 1e-4}},
        environment={"torch": "2"},
        timings=[("finetune", 12.0, 24, False)],
        methods=[
            Method(name="pretrained", label="Pre-trained", kind="baseline", role="before"),
            Method(name="adapted", label="Adapted", kind="adapted", role="after"),
        ],
        degradations=[("noise", "noise")],
        scores=pd.DataFrame(scores("pretrained", 20, 0.5) + scores("adapted", 21, 0.6), columns=list(SCORE_COLUMNS)),
        set_scores=pd.DataFrame(
            [("noise", "pretrained", "fid", 40.0, np.nan), ("noise", "adapted", "fid", 30.0, np.nan)],
            columns=list(SET_SCORE_COLUMNS),
        ),
        metrics=METRICS,
        absent={"musiq": "musiq.pth is missing"},
        images=lambda degradation, role, image_id: (
            None if role == "HQ" else np.full((8, 8, 3), IDS.index(image_id), np.uint8)
        ),
        ids=IDS,
        quarantine=[("<script>alert(1)</script>.png", "truncated & broken")],
        published=pd.DataFrame(columns=list(PUBLISHED_COLUMNS)),
    )


def test_what_dvc_plots_is_every_metric_over_degradations_and_every_loss_over_steps(data, tmp_path):
    losses = pd.DataFrame({"step": [1, 2], "l1": [0.5, 0.25], "gan": [1.0, np.nan]})
    write_report(replace(data, losses={"noise": losses}), tmp_path)
    rows = (tmp_path / "plots.csv").read_text().splitlines()
    assert rows[0] == "plot,x,line,value"
    assert "FID ↓,noise,adapted,30" in rows
    assert rows[-3:] == [
        f"losses of fine-tuning for noise by step,{row}" for row in ("1,l1,0.5", "2,l1,0.25", "1,gan,1")
    ]
    assert len(rows) == 1 + 3 * 2 + 3


def test_the_csv_has_means_changes_and_verdicts_in_the_metric_s_direction(data, tmp_path):
    write_report(data, tmp_path)
    rows = pd.read_csv(tmp_path / "results.csv").set_index(["method", "metric"])
    psnr, lpips, fid = (rows.loc[("adapted", name)] for name in ("psnr", "lpips", "fid"))
    assert psnr["mean"] == pytest.approx(21 + 0.1 * np.mean([n % 5 for n in range(24)]), abs=1e-4)
    assert psnr["delta"] == pytest.approx(1.0)
    assert psnr["n"] == 24
    assert psnr["ci_low"] < psnr["mean"] < psnr["ci_high"]
    assert str(psnr["better"]) == "True"
    assert lpips["delta"] == pytest.approx(0.1)
    assert str(lpips["better"]) == "False"
    assert fid["delta"] == pytest.approx(-10)
    assert np.isnan(fid["delta_ci_low"])


def test_an_absent_metric_shows_its_reason_and_no_number(data, tmp_path):
    write_report(data, tmp_path)
    assert "musiq" not in set(pd.read_csv(tmp_path / "results.csv")["metric"])
    assert "musiq.pth is missing" in (tmp_path / "results.md").read_text()
    assert "musiq.pth is missing" in (tmp_path / "report.html").read_text()


def test_the_page_loads_nothing_from_anywhere(data, tmp_path):
    write_report(data, tmp_path)
    page = (tmp_path / "report.html").read_text()
    sources = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page) + re.findall(r"url\(([^)]*)\)", page)
    assert [source for source in sources if not source.startswith(("#", "data:", "'data:", '"data:'))] == []
    assert page.count("data:image/png;base64,") >= 2 * 3


def test_names_from_outside_are_escaped(data, tmp_path):
    write_report(data, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert(1)</script>" not in page
    assert "A <b>title</b>" not in page
    assert "truncated &amp; broken" in page


def test_values_that_are_not_finite_count_as_missing(data, tmp_path):
    table = data.scores.copy()
    table.loc[table.index[0], "value"] = np.nan
    write_report(replace(data, scores=table), tmp_path)
    rows = pd.read_csv(tmp_path / "results.csv").set_index(["method", "metric"])
    assert rows.loc[("pretrained", "psnr"), "n"] == 23
    assert np.isfinite(rows.loc[("adapted", "psnr"), "delta"])


def test_the_numbers_for_dvc_are_the_means(data):
    means = metrics_json(compute_results(data))["noise"]["adapted"]
    assert means["fid"] == 30
    assert set(means) == {"psnr", "lpips", "fid"}


def test_contradicting_parts_are_refused(data):
    with pytest.raises(ValueError, match="exactly one of kind 'baseline'"):
        replace(data, methods=[Method(name="adapted", label="Adapted", kind="adapted", role="after")])
    with pytest.raises(ValueError, match=r"scores\.metric: expected one of"):
        replace(data, scores=data.scores.assign(metric="psrn"))


def test_the_tests_are_scipys_and_corrected_by_holm(data):
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.5, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    rng = np.random.default_rng(0)
    best, near, far = (pd.Series(rng.normal(mean, 1, 24), index=IDS) for mean in (1.0, 0.99, -1.0))
    found = holm_p({"best": best, "near": near, "far": far.iloc[::-1]}, "best")
    raw = {"near": wilcoxon(near - best).pvalue, "far": wilcoxon(far - best).pvalue}
    assert found == pytest.approx({"far": min(1, 2 * raw["far"]), "near": max(raw["near"], 2 * raw["far"])})
    assert holm_p({"best": best, "same": best}, "best") == {"same": 1.0}
    assert holm_p({"best": best, "other": far.rename(lambda name: f"x{name}")}, "best") == {}

    tied = data.scores.copy()
    is_ours = (tied["method"] == "adapted") & (tied["metric"] == "psnr")
    tied.loc[is_ours, "value"] = 20.2 + 0.1 * np.tile([-1, 1], 12)
    data = replace(data, scores=tied)
    results = compute_results(data)
    assert results["noise", "adapted", "psnr"].p_best == 1.0 or results["noise", "pretrained", "psnr"].p_best == 1.0
    assert results["noise", "adapted", "lpips"].p_baseline < 0.001
    assert np.isnan(results["noise", "adapted", "fid"].p_best)
    assert " ≈" in results_markdown(data, results)


def test_the_difference_from_a_published_number_is_shown(data):
    row = ("noise", "adapted", "psnr", 20.0, "Somebody, Table 1")
    data = replace(data, published=pd.DataFrame([row], columns=list(PUBLISHED_COLUMNS)))
    line = "| noise | Adapted | PSNR (dB) | 21.19 | 20 | +1.19 | Somebody, Table 1 |"
    assert line in results_markdown(data, compute_results(data))


def test_latex_says_what_the_table_says_and_names_cannot_break_it(data, tmp_path):
    data = replace(data, methods=[data.methods[0], data.methods[1].model_copy(update={"label": "50 % & {a_b}\\c"})])
    write_report(data, tmp_path)
    text = (tmp_path / "results.tex").read_text()
    assert r"50 \% \& \{a\_b\}\textbackslash{}c & \textbf{21.19} & 0.6100 & \textbf{30.00} \\" in text
    assert r"Method & PSNR (dB) $\uparrow$ & LPIPS $\downarrow$ & FID $\downarrow$ \\" in text


def test_a_value_of_a_set_shows_its_spread_wherever_it_stands(data, tmp_path):
    sets = [("noise", "pretrained", "fid", 4.0, 0.25), ("noise", "adapted", "fid", 3.0, np.nan)]
    data = replace(data, set_scores=pd.DataFrame(sets, columns=list(SET_SCORE_COLUMNS)))
    write_report(data, tmp_path)
    text, latex, page = (
        (tmp_path / name).read_text(encoding="utf-8") for name in ("results.md", "results.tex", "report.html")
    )
    assert "| 4.00 ± 0.25 |" in text
    assert "**3.00** (−1.00)" in text
    assert r"4.00 $\pm$ 0.25 \\" in latex
    assert '<span class="ci">± 0.25</span>' in page
    rows = pd.read_csv(tmp_path / "results.csv").set_index(["method", "metric"])
    assert rows.loc[("pretrained", "fid"), "spread"] == 0.25
    assert np.isnan(rows.loc[("adapted", "fid"), "spread"])
    assert np.isnan(rows.loc[("adapted", "psnr"), "spread"])


def test_without_a_spread_the_csv_has_no_column_for_it(data, tmp_path):
    write_report(data, tmp_path)
    assert "spread" not in pd.read_csv(tmp_path / "results.csv")


def test_the_downstream_table_shows_a_spread_too():
    before, after = {"kid": SetScore(0.02, 0.001)}, {"kid": SetScore(0.01, 0.002)}
    extra = downstream_table(before, after, {"fid": "no weights"})
    assert extra.rows == [
        ("KID (lower is better)", "0.0200 ± 0.0010", "0.0100 ± 0.0020", "−0.0100"),
        ("FID (lower is better)", "–", "–", "no weights"),
    ]


def test_overviews_put_the_better_method_further(data):
    twice = [frame.assign(degradation="blur") for frame in (data.scores, data.set_scores)]
    data = replace(
        data,
        degradations=[("noise", "noise"), ("blur", "blur")],
        scores=pd.concat([data.scores, twice[0]]),
        set_scores=pd.concat([data.set_scores, twice[1]]),
    )
    results = compute_results(data)
    maps = {each.metric.name: dict(each.rows) for each in heat_maps(data, results)}
    assert maps["psnr"]["Adapted"] == [("21.19", 1.0)] * 2
    assert maps["lpips"]["Adapted"] == [("0.6100", 0.0)] * 2
    assert [plot.label for plot in scatters(data, results)] == ["noise", "blur"]
    before, after = scatters(data, results)[0].points
    assert after.x > before.x  # PSNR is higher
    assert after.y < before.y  # FID is lower: further up


@pytest.mark.parametrize(("side", "kind", "shown"), [(64, "png", 64), (512, "jpeg", 160)])
def test_large_photos_are_small_beside_the_findings(side, kind, shown):
    small = thumbnail("HQ", np.full((side, side, 3), 99, np.uint8))
    assert small.uri.startswith(f"data:image/{kind};base64,")
    assert (small.width, small.height) == (shown, shown)
    assert len(small.uri) < 20_000
