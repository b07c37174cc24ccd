"""What the scores say: means, intervals, changes against the baseline, tests."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from tasks.metrics.bootstrap import Interval, mean_interval
from tasks.metrics.registry import find
from tasks.report.content import MetricInfo, ReportData
from tasks.report.ranking import bounded, differences, holm_p, valued
from tasks.store.files import json_number

DECIDABLE = 6  # photos; the smallest n whose changes, all in one direction, are unlikely (2^(1-n) < 5 %) by chance


ALPHA = 0.05  # a method whose corrected p against the best one is above it cannot be told from it


class Result(NamedTuple):
    """One line of results.csv; NaN (None for `n` and `better`) where there is nothing to say.

    ci_low, ci_high, delta_ci_low, delta_ci_high: 95 % bootstrap intervals over photos, of mean and change; better: see
    `is_better`; spread: standard deviation of a value of a whole set.
    p_baseline, p_best: of the paired test against the baseline, and against the method with the best mean (its own is
    1), see tasks/report/ranking.py.
    identical: photos with an infinite value, as PSNR has for one that is its original; finite_mean: of the others.
    With one of them the mean is infinite, has no interval, and ranks best; of several, the one with the larger share.
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
    identical: int = 0
    finite_mean: float = math.nan

    def goodness(self, sign: int, digits: int | None = None) -> tuple[float, float, float]:
        """What methods are ranked by, more is better: mean, share of perfect photos, mean of the others; rounded.

        sign: 1 where higher values are better, else -1.
        """
        finite_mean = self.finite_mean if self.identical and math.isfinite(self.finite_mean) else 0.0
        share = self.identical / self.n if self.n else 0.0
        mean, rest = sign * self.mean, sign * finite_mean
        return (mean, share, rest) if digits is None else (round(mean, digits), share, round(rest, digits))


Verdict = Literal["better", "worse", "unclear"]
VERDICTS: Mapping[bool | None, Verdict] = {True: "better", False: "worse", None: "unclear"}  # of Result.better
Results = Mapping[tuple[str, str, str], Result]


def compute_results(data: ReportData) -> dict[tuple[str, str, str], Result]:
    """(degradation or mean, method, metric) to its result, in display order; only what was measured.

    In a mean over degradations, a photo's value is the mean of its own: the photos are what the interval is over.
    """
    photos = {key: group.set_index("image_id")["value"] for key, group in _grouped(data.scores)}
    sets = {key: rows[["value", "spread"]].iloc[0].astype(float) for key, rows in _grouped(data.set_scores)}
    for name, parts in data.means.items():
        photos |= {(name, *of): pd.concat(own, axis=1).dropna().mean(axis=1) for of, own in _over(parts, photos)}
        sets |= {(name, *of): _mean_of_sets(own) for of, own in _over(parts, sets)}
    found: dict[tuple[str, str, str], Result] = {}
    for degradation, _ in data.tables:
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
    for degradation, _ in data.tables:
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
    best = max(column, key=lambda name: column[name].goodness(metric.sign))
    values = {name: valued(photos[result[:3]], metric.sign) for name, result in column.items()}
    to_best = holm_p(values, best) | {best: 1.0}
    to_baseline = holm_p(values, data.baseline.name) if data.baseline.name in values else {}
    for name, result in column.items():
        p = (to_baseline.get(name, math.nan), to_best.get(name, math.nan))
        found[result[:3]] = result._replace(p_baseline=p[0], p_best=p[1])


def _mean_of_sets(scores: Sequence[pd.Series]) -> pd.Series:
    """The mean of one value per set has no spread that would be known."""
    return pd.Series({"value": sum(score["value"] for score in scores) / len(scores), "spread": math.nan})


def _over(
    parts: Sequence[str], scores: Mapping[tuple[str, str, str], pd.Series]
) -> list[tuple[tuple[str, str], list[pd.Series]]]:
    """(method, metric) and its scores on each of the parts, where it has them on all of them."""
    named = dict.fromkeys((method, metric) for _, method, metric in scores)
    own = {of: [scores[part, *of] for part in parts if (part, *of) in scores] for of in named}
    return [(of, found) for of, found in own.items() if len(found) == len(parts)]


def _grouped(frame: pd.DataFrame) -> list[tuple[tuple[str, str, str], pd.DataFrame]]:
    groups = frame.groupby(["degradation", "method", "metric"], sort=False) if not frame.empty else ()
    return [((str(degradation), str(method), str(metric)), rows) for (degradation, method, metric), rows in groups]


def compare_photos(key: tuple[str, str, str], values: pd.Series, baseline: pd.Series | None, direction: str) -> Result:
    """Mean over the photos that have a value; change over those that both methods have."""
    sign = 1 if direction == "higher" else -1
    own = valued(values, sign)
    mean, low, high = interval_of(own.to_numpy(dtype=float))
    delta = delta_low = delta_high = math.nan
    better = None
    if baseline is not None:
        ours, theirs = own.align(valued(baseline, sign), join="inner")
        (delta, delta_low, delta_high), better = paired_change(ours, theirs, direction)
    found = Result(*key, mean, low, high, len(own), delta, delta_low, delta_high, better)
    rest = own[np.isfinite(own)]
    return found if len(rest) == len(own) else found._replace(identical=len(own) - len(rest), finite_mean=rest.mean())


def _set_result(key: tuple[str, str, str], score: pd.Series, baseline: pd.Series | None) -> Result:
    """score, baseline: value and spread of one set."""
    value = float(score["value"]) if math.isfinite(score["value"]) else math.nan
    delta = math.nan if baseline is None else value - float(baseline["value"])
    nothing = (math.nan, math.nan)
    return Result(*key, value, *nothing, None, delta, *nothing, None, spread=float(score["spread"]))


def scores_of(scores: pd.DataFrame, degradation: str, method: str, metric: str) -> pd.Series:
    """One method's values of one metric, by image id."""
    chosen = (scores["degradation"] == degradation) & (scores["method"] == method) & (scores["metric"] == metric)
    return valued(scores[chosen].set_index("image_id")["value"], find(metric).sign)


def interval_of(values: np.ndarray) -> Interval:
    """The mean of float64 [n] with its interval. One value has no interval; infinite ones have none, and an infinite
    mean, NaN where their signs differ."""
    infinite = np.unique(values[np.isinf(values)])
    if len(values) < 2 or len(infinite):
        mean = values[0] if len(values) == 1 else infinite[0] if len(infinite) == 1 else math.nan
        return Interval(float(mean), math.nan, math.nan)
    return mean_interval(values)


def paired_change(ours: pd.Series, theirs: pd.Series, direction: str) -> tuple[Interval, bool | None]:
    """The mean change over the same photos, with its interval, and `is_better`.

    To judge it, an infinite change counts as much as the largest finite one; where that contradicts the infinite mean,
    nothing is decided.
    """
    change = differences(ours, theirs)
    found = interval_of(change)
    infinite = change[np.isinf(change)]
    _, low, high = interval_of(bounded(change)) if len(infinite) else found
    is_contradicted = ((infinite > 0) != (low > 0)).any()
    return found, None if is_contradicted else is_better(low, high, len(change), direction)


def is_better(low: float, high: float, n: int, direction: str) -> bool | None:
    """Whether a change of this interval is for the better, or None where n photos do not decide it."""
    if n < DECIDABLE or not (low > 0 or high < 0):
        return None
    return (low > 0) == (direction == "higher")


def results_frame(results: Results) -> pd.DataFrame:
    """The tidy table of results.csv: one row per degradation, method and metric; blank where there is nothing.

    The column `spread` is there when a metric has one, `identical` and `finite_mean` when a mean is infinite ("inf").
    """
    frame = pd.DataFrame(list(results.values()), columns=list(Result._fields))
    frame["n"] = frame["n"].astype("Int64")
    frame["better"] = frame["better"].map({True: "true", False: "false"}).fillna("")
    if frame["spread"].isna().all():
        frame = frame.drop(columns="spread")
    return frame if frame["identical"].any() else frame.drop(columns=["identical", "finite_mean"])


def metrics_json(results: Results) -> dict[str, dict[str, dict[str, float | str]]]:
    """{degradation: {method: {metric: mean}}} for `dvc metrics show`; "inf" where it is infinite; NaN is left out."""
    nested: dict[str, dict[str, dict[str, float | str]]] = {}
    for (degradation, method, metric), result in results.items():
        if (mean := json_number(result.mean)) is not None:
            nested.setdefault(degradation, {}).setdefault(method, {})[metric] = mean
    return nested
