"""Findings: what the results say in words, for each degradation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tasks.metrics.metric import Kind
from tasks.report.content import Method, MetricInfo, ReportData
from tasks.report.results import ALPHA, DECIDABLE, VERDICTS, Result, Results, Verdict
from tasks.report.text import decimals, interval, number, photo_count

MEANINGS: dict[Kind, str] = {
    "full_reference": "nearer to its original",
    "input_reference": "nearer to the LQ photo",
    "no_reference": "judged by itself",
    "distribution": "as a set, more like the reference photos",
}
ROUGH = 20  # photos; below this the report says that its intervals are rough


@dataclass(frozen=True)
class Finding:
    """The headline of one degradation: a sentence, and whether the adapted restorer won, lost, or neither."""

    sentence: str
    tone: Literal["better", "worse", "mixed"]


def finding(data: ReportData, results: Results, degradation: str) -> Finding:
    """Does the adapted restorer (without one: the first other method) beat the baseline here?"""
    subject = subject_of(data)
    if subject is None:
        return Finding(f"Only {data.baseline.label} was run, so there is nothing to compare.", "mixed")
    pairs = f"{subject.label} with {data.baseline.label}"
    judged: dict[Verdict, list[str]] = {"better": [], "worse": [], "unclear": []}
    changes, singles, photos = [], [], []
    for metric in data.shown_metrics:
        result = results.get((degradation, subject.name, metric.name))
        if result is None or math.isnan(result.delta):
            continue
        digits = decimals(results, metric.name)
        if metric.is_of_sets:
            before, after = number(result.mean - result.delta, digits), number(result.mean, digits)
            singles.append(f"{metric.label} went from {before} to {after} ({metric.direction} is better)")
        else:
            judged[VERDICTS[result.better]].append(metric.label)
            changes.append(_change(result, metric, digits))
            photos.append(result.n or 0)
    tail = f" {'; '.join(singles)}: one value per set, so no interval." if singles else ""
    if not changes:
        return Finding(f"No metric with an interval compares {pairs}.{tail}", "mixed")
    count = photo_count(results, degradation)
    if max(photos) < DECIDABLE:
        few = f"Too few photos to judge {pairs}, at least {DECIDABLE} are needed"
        return Finding(f"{few}; {changes[0]} (n = {count}).{tail}", "mixed")
    sentence = f"{_tally(subject, data.baseline, judged)}; {changes[0]} (n = {count}).{tail}"
    return Finding(sentence, _tone(judged))


class Leader(NamedTuple):
    """As text; meaning: of better; methods: the best one, and those that these photos cannot tell from it."""

    metric: str
    meaning: str
    methods: str


def leaders(data: ReportData, results: Results, degradation: str) -> list[Leader]:
    """The best restoring method of each metric by its mean.

    Nothing where there are fewer than three methods to choose from.
    """
    methods = [method for method in data.methods if method.kind != "input"]
    found = []
    for metric in data.shown_metrics:
        here = [(m.label, r) for m in methods if (r := results.get((degradation, m.name, metric.name))) is not None]
        here = [(label, r) for label, r in here if not math.isnan(r.mean)]
        if len(here) < 3:
            continue
        label, best = max(here, key=lambda pair: pair[1].goodness(metric.sign))
        is_tested = best.p_best == 1  # the tests are against the column's best, which may be the input itself
        tied = [other for other, r in here if is_tested and r is not best and r.p_best > ALPHA]
        best_ones = label + (f" (≈ {', '.join(tied)})" if tied else "")
        found.append(Leader(metric.label, MEANINGS[metric.kind], best_ones))
    return found


def subject_of(data: ReportData) -> Method | None:
    """The method that the findings are about: the adapted restorer, else the first other one."""
    adapted = [method for method in data.methods if method.kind == "adapted"]
    others = [method for method in data.methods if method.kind == "other"]
    return next(iter(adapted + others), None)


def _change(result: Result, metric: MetricInfo, digits: int) -> str:
    bounds = interval(result.delta_ci_low, result.delta_ci_high, digits)
    return f"{metric.label} {number(result.delta, digits, signed=True)} {bounds}".rstrip()


def _tally(subject: Method, baseline: Method, judged: Mapping[Verdict, Sequence[str]]) -> str:
    total = sum(len(labels) for labels in judged.values())
    wins = len(judged["better"])
    metrics = "metric" if total == 1 else "metrics"
    if wins:
        start = f"{subject.label} beats {baseline.label} on {wins} of {total} {metrics}"
    else:
        start = f"{subject.label} does not beat {baseline.label} on any of {total} {metrics}"
    others = (("is worse", judged["worse"]), ("shows no clear change", judged["unclear"]))
    rest = [f"{words} on {len(labels)} ({', '.join(labels)})" for words, labels in others if labels]
    return ", ".join([start, " and ".join(rest)]) if rest else start


def _tone(judged: Mapping[Verdict, Sequence[str]]) -> Literal["better", "worse", "mixed"]:
    if judged["better"] and not judged["worse"]:
        return "better"
    return "worse" if judged["worse"] and not judged["better"] else "mixed"


def identical(data: ReportData, results: Results, degradation: str) -> list[str]:
    """Of each infinite mean: how many photos are identical to their originals, and the mean of the others."""
    found = []
    for metric in data.photo_metrics:
        digits = decimals(results, metric.name)
        for method in data.methods:
            result = results.get((degradation, method.name, metric.name))
            if result is None or not result.identical:
                continue
            others = number(result.finite_mean, digits)
            rest = f"; the mean of the others is {others}" if others else ""
            found.append(
                f"{metric.label} of {method.label} is infinite: {result.identical} of {result.n} photos are identical "
                f"to their originals{rest}."
            )
    return found


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
