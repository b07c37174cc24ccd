"""What the scores say: means, intervals, changes against the baseline, tests."""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from tasks.metrics.bootstrap import mean_interval, paired_difference
from tasks.report.content import MetricInfo, ReportData
from tasks.report.ranking import holm_p

DECIDABLE = 6  # photos; the smallest n whose changes, all in one direction, are unlikely (2^(1-n) < 5 %) by chance


ALPHA = 0.05  # a method whose corrected p against the best one is above it cannot be told from it


class Result(NamedTuple):
    """One line of results.csv; NaN (None for `n` and `better`) where there is nothing to say.

    ci_low, ci_high, delta_ci_low, delta_ci_high: 95 % bootstrap intervals over photos, of mean and change; better: see
    `is_better`; spread: standard deviation of a value of a whole set.
    p_baseline, p_best: of the paired test against the baseline, and against the method with the best mean (its own is
    1), see tasks/report/ranking.py.
    """

    degradation: str
    method: str
    metric: str
    mean: float
    ci_low: float
    ci_high: float
    n: int | None
    delta: float
    delta_ci_low: float
    delta_ci_high: float
    better: bool | None
    p_baseline: float = math.nan
    p_best: float = math.nan
    spread: float = math.nan


Verdict = Literal["better", "worse", "unclear"]
VERDICTS: Mapping[bool | None, Verdict] = {True: "better", False: "worse", None: "unclear"}  # of Result.better
Results = Mapping[tuple[str, str, str], Result]


def compute_results(data: ReportData) -> dict[tuple[str, str, str], Result]:
    """(degradation, method, metric) to its result, in display order; only what was measured."""
    photos = {key: group.set_index("image_id")["value"] for key, group in _grouped(data.scores)}
    sets = {key: rows[["value", "spread"]].iloc[0].astype(float) for key, rows in _grouped(data.set_scores)}
    found: dict[tuple[str, str, str], Result] = {}
    for degradation, _ in data.degradations:
        for method in data.methods:
            for metric in data.metrics:
                key = (degradation, method.name, metric.name)
                base = (degradation, data.baseline.name, metric.name)
                is_baseline = method == data.baseline
                if key in photos:
                    others = None if is_baseline else photos.get(base)
                    found[key] = compare_photos(key, photos[key], others, metric.direction)
                elif key in sets:
                    found[key] = _set_result(key, sets[key], None if is_baseline else sets.get(base))
    for degradation, _ in data.degradations:
        for metric in data.metrics:
            keys = [(degradation, method.name, metric.name) for method in data.methods]
            _test({key[1]: found[key] for key in keys if key in photos and found[key].n}, photos, data, metric, found)
    return found


def _test(
    column: Mapping[str, Result],
    photos: Mapping[tuple[str, str, str], pd.Series],
    data: ReportData,
    metric: MetricInfo,
    found: dict[tuple[str, str, str], Result],
) -> None:
    """Put the paired tests into the results of one column."""
    if not column:
        return
    best = max(column, key=lambda name: metric.sign * column[name].mean)
    values = {name: finite(photos[result[:3]]) for name, result in column.items()}
    to_best = holm_p(values, best) | {best: 1.0}
    to_baseline = holm_p(values, data.baseline.name) if data.baseline.name in values else {}
    for name, result in column.items():
        p = (to_baseline.get(name, math.nan), to_best.get(name, math.nan))
        found[result[:3]] = result._replace(p_baseline=p[0], p_best=p[1])


def _grouped(frame: pd.DataFrame) -> list[tuple[tuple[str, str, str], pd.DataFrame]]:
    groups = frame.groupby(["degradation", "method", "metric"], sort=False) if not frame.empty else ()
    return [((str(degradation), str(method), str(metric)), rows) for (degradation, method, metric), rows in groups]


def compare_photos(key: tuple[str, str, str], values: pd.Series, baseline: pd.Series | None, direction: str) -> Result:
    """Mean over the photos that have a finite value; change over those that both methods have."""
    own = finite(values)
    mean, low, high = _interval(own) if len(own) else (math.nan, math.nan, math.nan)
    delta = delta_low = delta_high = math.nan
    better = None
    if baseline is not None:
        ours, theirs = own.align(finite(baseline), join="inner")
        if len(ours):
            delta, delta_low, delta_high = _paired_interval(ours, theirs)
            better = is_better(delta_low, delta_high, len(ours), direction)
    return Result(*key, mean, low, high, len(own), delta, delta_low, delta_high, better)


def _set_result(key: tuple[str, str, str], score: pd.Series, baseline: pd.Series | None) -> Result:
    """score, baseline: value and spread of one set."""
    value = float(score["value"]) if math.isfinite(score["value"]) else math.nan
    delta = math.nan if baseline is None else value - float(baseline["value"])
    nothing = (math.nan, math.nan)
    return Result(*key, value, *nothing, None, delta, *nothing, None, spread=float(score["spread"]))


def scores_of(scores: pd.DataFrame, degradation: str, method: str, metric: str) -> pd.Series:
    """One method's finite values of one metric, by image id."""
    chosen = (scores["degradation"] == degradation) & (scores["method"] == method) & (scores["metric"] == metric)
    return finite(scores[chosen].set_index("image_id")["value"])


def finite(values: pd.Series) -> pd.Series:
    """What is a number, in the order of the photos."""
    return values[np.isfinite(values)].sort_index()


def _interval(values: pd.Series) -> tuple[float, float, float]:
    """The mean with its interval; one photo has no interval."""
    if len(values) == 1:
        return float(values.iloc[0]), math.nan, math.nan
    return mean_interval(values.to_numpy(dtype=float))


def _paired_interval(ours: pd.Series, theirs: pd.Series) -> tuple[float, float, float]:
    if len(ours) == 1:
        return float(ours.iloc[0] - theirs.iloc[0]), math.nan, math.nan
    return paired_difference(ours.to_numpy(dtype=float), theirs.to_numpy(dtype=float))


def is_better(low: float, high: float, n: int, direction: str) -> bool | None:
    """Whether a change of this interval is for the better, or None where n photos do not decide it."""
    if n < DECIDABLE or not (low > 0 or high < 0):
        return None
    return (low > 0) == (direction == "higher")


def results_frame(results: Results) -> pd.DataFrame:
    """The tidy table of results.csv: one row per degradation, method and metric; blank where there is nothing.

    The column `spread` is there when a metric has one.
    """
    frame = pd.DataFrame(list(results.values()), columns=list(Result._fields))
    frame["n"] = frame["n"].astype("Int64")
    frame["better"] = frame["better"].map({True: "true", False: "false"}).fillna("")
    return frame if frame["spread"].notna().any() else frame.drop(columns="spread")


def metrics_json(results: Results) -> dict[str, dict[str, dict[str, float]]]:
    """{degradation: {method: {metric: mean}}} for `dvc metrics show`; what is not finite is left out."""
    nested: dict[str, dict[str, dict[str, float]]] = {}
    for (degradation, method, metric), result in results.items():
        if math.isfinite(result.mean):
            nested.setdefault(degradation, {}).setdefault(method, {})[metric] = result.mean
    return nested
