"""The numbers of the report: means, changes against the baseline with intervals, and the sentence that sums them up.

Every interval is a 95 % bootstrap interval over photos. A change counts as better or worse only when its interval
leaves out zero and at least `DECIDABLE` photos were compared; everything else is "unclear". One value per set (FID)
has no interval, so its change is shown but never judged.
"""

import math
from dataclasses import dataclass
from typing import Literal

from tasks.report.content import Method, MetricInfo, ReportData
from tasks.report.results import ALPHA, Result, Results
from tasks.report.text import decimals, interval, number, shown_metrics

Verdict = Literal["better", "worse", "unclear", "single", ""]


@dataclass(frozen=True)
class Cell:
    """One method's result on one metric, as text; empty strings where nothing was measured.

    is_tied: not the best, but these photos cannot tell it from the best.
    bar: (low, mean, high) of the change in [-1, 1], right = better, on the scale of its column; None without interval.
    """

    value: str
    interval: str
    delta: str
    delta_interval: str
    verdict: Verdict
    is_best: bool
    is_tied: bool
    bar: tuple[float, float, float] | None


EMPTY = Cell("", "", "", "", "", False, False, None)


def table_rows(data: ReportData, results: Results, degradation: str) -> list[tuple[Method, list[Cell]]]:
    """The comparison table of one degradation: a row per method that was measured, a cell per shown metric."""
    columns = [_column(data, results, degradation, metric) for metric in shown_metrics(data)]
    rows = [(method, [column[method.name] for column in columns]) for method in data.methods]
    return [(method, cells) for method, cells in rows if any(cell.value for cell in cells)]


def _column(data: ReportData, results: Results, degradation: str, metric: MetricInfo) -> dict[str, Cell]:
    found = {m.name: results.get((degradation, m.name, metric.name)) for m in data.methods}
    digits = decimals(results, metric.name)
    sign = 1 if metric.direction == "higher" else -1
    measured = [r for r in found.values() if r is not None and math.isfinite(r.mean)]
    best = max((round(sign * r.mean, digits) for r in measured), default=math.nan)
    reach = max((max(abs(r.delta_ci_low), abs(r.delta_ci_high)) for r in measured if _has_interval(r)), default=0.0)
    cells = dict.fromkeys(found, EMPTY)
    for r in measured:
        bar = None
        if _has_interval(r) and reach > 0:
            low, high = sorted((sign * r.delta_ci_low / reach, sign * r.delta_ci_high / reach))
            bar = (low, sign * r.delta / reach, high)
        cells[r.method] = Cell(
            number(r.mean, digits),
            interval(r.ci_low, r.ci_high, digits),
            number(r.delta, digits, signed=True),
            interval(r.delta_ci_low, r.delta_ci_high, digits),
            _verdict(r, metric),
            round(sign * r.mean, digits) == best,
            round(sign * r.mean, digits) != best and r.p_best > ALPHA,
            bar,
        )
    return cells


def _has_interval(result: Result) -> bool:
    return math.isfinite(result.delta_ci_low)


def _verdict(result: Result, metric: MetricInfo) -> Verdict:
    if math.isnan(result.delta):
        return ""
    if metric.kind == "distribution":
        return "single"
    return {True: "better", False: "worse", None: "unclear"}[result.better]  # type: ignore[return-value]
