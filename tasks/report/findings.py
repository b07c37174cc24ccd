"""Findings: what the results say in words, for each degradation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.report.content import Method, MetricInfo, ReportData
from tasks.report.results import ALPHA, DECIDABLE, Result, Results
from tasks.report.tables import _verdict
from tasks.report.text import decimals, interval, number, photo_count, shown_metrics

ROUGH = 20  # photos; below this the report says that its intervals are rough


@dataclass(frozen=True)
class Finding:
    """The headline of one degradation: a sentence, and whether the adapted restorer won, lost, or neither."""

    sentence: str
    tone: Literal["better", "worse", "mixed"]


def find(data: ReportData, results: Results, degradation: str) -> Finding:
    """Does the adapted restorer (without one: the first other method) beat the baseline here?"""
    subject = subject_of(data)
    if subject is None:
        return Finding(f"Only {data.baseline.label} was run, so there is nothing to compare.", "mixed")
    pairs = f"{subject.label} with {data.baseline.label}"
    judged: dict[str, list[str]] = {"better": [], "worse": [], "unclear": []}
    changes, singles = [], []
    for metric in shown_metrics(data):
        result = results.get((degradation, subject.name, metric.name))
        if result is None or math.isnan(result.delta):
            continue
        digits = decimals(results, metric.name)
        if metric.kind == "distribution":
            before, after = number(result.mean - result.delta, digits), number(result.mean, digits)
            singles.append(f"{metric.label} went from {before} to {after} ({metric.direction} is better)")
        else:
            judged[_verdict(result, metric)].append(metric.label)
            changes.append(_change(result, metric, digits))
    tail = f" {'; '.join(singles)}: one value per set, so no interval." if singles else ""
    if not changes:
        return Finding(f"No metric with an interval compares {pairs}.{tail}", "mixed")
    count = photo_count(results, degradation)
    sentence = f"{_tally(subject, data.baseline, judged)}; {changes[0]} (n = {count}).{tail}"
    return Finding(sentence, _tone(judged))


def leaders(data: ReportData, results: Results, degradation: str) -> list[tuple[str, str]]:
    """(metric, the best restoring method by its mean, and those that these photos cannot tell from it), as text.

    Nothing where there are fewer than three methods to choose from.
    """
    methods = [method for method in data.methods if method.kind != "input"]
    found = []
    for metric in shown_metrics(data):
        here = [(m.label, r) for m in methods if (r := results.get((degradation, m.name, metric.name))) is not None]
        here = [(label, r) for label, r in here if math.isfinite(r.mean)]
        if len(here) < 3:
            continue
        sign = 1 if metric.direction == "higher" else -1
        label, best = max(here, key=lambda pair: sign * pair[1].mean)
        is_tested = best.p_best == 1  # the tests are against the column's best, which may be the input itself
        tied = [other for other, r in here if is_tested and r is not best and r.p_best > ALPHA]
        found.append((metric.label, label + (f" (≈ {', '.join(tied)})" if tied else "")))
    return found


def subject_of(data: ReportData) -> Method | None:
    """The method that the findings are about: the adapted restorer, else the first other one."""
    adapted = [method for method in data.methods if method.kind == "adapted"]
    others = [method for method in data.methods if method.kind == "other"]
    return next(iter(adapted + others), None)


def _change(result: Result, metric: MetricInfo, digits: int) -> str:
    bounds = interval(result.delta_ci_low, result.delta_ci_high, digits)
    return f"{metric.label} {number(result.delta, digits, signed=True)} {bounds}".rstrip()


def _tally(subject: Method, baseline: Method, judged: Mapping[str, Sequence[str]]) -> str:
    total = sum(len(labels) for labels in judged.values())
    wins = len(judged["better"])
    metrics = "metric" if total == 1 else "metrics"
    if wins:
        start = f"{subject.label} beats {baseline.label} on {wins} of {total} {metrics}"
    else:
        start = f"{subject.label} does not beat {baseline.label} on any of {total} {metrics}"
    rest = [
        f"{words} on {len(judged[verdict])} ({', '.join(judged[verdict])})"
        for verdict, words in (("worse", "is worse"), ("unclear", "shows no clear change"))
        if judged[verdict]
    ]
    return ", ".join([start, " and ".join(rest)]) if rest else start


def _tone(judged: Mapping[str, Sequence[str]]) -> Literal["better", "worse", "mixed"]:
    if judged["better"] and not judged["worse"]:
        return "better"
    return "worse" if judged["worse"] and not judged["better"] else "mixed"


def cautions(results: Results, degradation: str) -> list[str]:
    """What weakens this degradation's numbers: few photos, or values that are missing for some of them."""
    counts = [r.n for r in results.values() if r.degradation == degradation and r.n is not None]
    if not counts:
        return []
    found = []
    if max(counts) < DECIDABLE:
        found.append(f"Only {max(counts)} photos: fewer than {DECIDABLE} cannot decide what is better.")
    elif max(counts) < ROUGH:
        found.append(f"Only {max(counts)} photos: with fewer than {ROUGH} the intervals are rough.")
    if min(counts) < max(counts):
        found.append("Some photos have no value on some metric; each n says how many were used.")
    return found


def published_rows(data: ReportData, results: Results) -> list[tuple[str, str, str, str, str, str, str]]:
    """(degradation, method, metric, ours, published, difference, source), as text; "" where we have no such number."""
    labels = dict(data.degradations)
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
