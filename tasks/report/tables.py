"""The tables as text: a cell for each method and metric, and our numbers beside published ones.

A change counts as better or worse only when its interval leaves out zero and at least `DECIDABLE` photos were compared;
everything else is "unclear". One value per set (FID) has no interval, so its change is shown but never judged.
"""

import math
from dataclasses import dataclass

from tasks.report.content import Method, MetricInfo, ReportData
from tasks.report.results import ALPHA, VERDICTS, Result, Results
from tasks.report.text import decimals, interval, number, plus_minus


@dataclass(frozen=True)
class Cell:
    """One method's result on one metric, as text; empty strings where nothing was measured.

    spread: of one value per set, where the metric has it; verdict: better, worse, unclear, single (one value per set).
    is_tied: not the best, but these photos cannot tell it from the best.
    bar: (low, mean, high) of the change in [-1, 1], right = better, on the scale of its column; None without interval.
    """

    value: str
    interval: str
    spread: str
    delta: str
    delta_interval: str
    verdict: str
    is_best: bool
    is_tied: bool
    bar: tuple[float, float, float] | None


EMPTY = Cell("", "", "", "", "", "", False, False, None)


def table_rows(data: ReportData, results: Results, degradation: str) -> list[tuple[Method, list[Cell]]]:
    """The comparison table of one degradation: a row per method that was measured, a cell per shown metric."""
    columns = [_column(data, results, degradation, metric) for metric in data.shown_metrics]
    rows = [(method, [column[method.name] for column in columns]) for method in data.methods]
    return [(method, cells) for method, cells in rows if any(cell.value for cell in cells)]


def _column(data: ReportData, results: Results, degradation: str, metric: MetricInfo) -> dict[str, Cell]:
    found = {m.name: results.get((degradation, m.name, metric.name)) for m in data.methods}
    digits = decimals(results, metric.name)
    measured = [r for r in found.values() if r is not None and not math.isnan(r.mean)]
    best = max((r.goodness(metric.sign, digits) for r in measured), default=None)
    reach = max((max(abs(r.delta_ci_low), abs(r.delta_ci_high)) for r in measured if _has_interval(r)), default=0.0)
    cells = dict.fromkeys(found, EMPTY)
    for r in measured:
        bar = None
        if _has_interval(r) and reach > 0:
            low, high = sorted((metric.sign * r.delta_ci_low / reach, metric.sign * r.delta_ci_high / reach))
            bar = (low, metric.sign * r.delta / reach, high)
        cells[r.method] = Cell(
            number(r.mean, digits),
            interval(r.ci_low, r.ci_high, digits),
            plus_minus(r.spread, digits),
            number(r.delta, digits, signed=True),
            interval(r.delta_ci_low, r.delta_ci_high, digits),
            _verdict(r, metric),
            r.goodness(metric.sign, digits) == best,
            r.goodness(metric.sign, digits) != best and r.p_best > ALPHA,
            bar,
        )
    return cells


def _has_interval(result: Result) -> bool:
    return math.isfinite(result.delta_ci_low)


def _verdict(result: Result, metric: MetricInfo) -> str:
    if math.isnan(result.delta):
        return ""
    return "single" if metric.is_of_sets else VERDICTS[result.better]


def published_rows(data: ReportData, results: Results) -> list[tuple[str, str, str, str, str, str, str]]:
    """(degradation, method, metric, ours, published, difference, source), as text; "" where we have no such number."""
    labels = dict(data.tables)
    methods = {method.name: method.label for method in data.methods}
    metrics = {metric.name: metric.label for metric in data.metrics}
    rows = []
    for row in data.published.to_dict("records"):
        ours = results.get((row["degradation"], row["method"], row["metric"]))
        digits = 0 if ours is None else decimals(results, ours.metric)
        rows.append(
            (
                labels.get(row["degradation"], row["degradation"]),
                methods.get(row["method"], row["method"]),
                metrics.get(row["metric"], row["metric"]),
                "" if ours is None else number(ours.mean, digits),
                f"{row['value']:g}".replace("-", "−"),
                "" if ours is None else number(ours.mean - row["value"], digits, signed=True),
                row["source"],
            )
        )
    return rows
