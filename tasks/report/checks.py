"""The report's smaller tables: cost of each method, holes, the papers' claims, IDM's cleaning, its downstream test and
its authenticity check.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from tasks.metrics.bootstrap import Interval
from tasks.metrics.registry import find
from tasks.metrics.sets import SetScore
from tasks.report.content import Claim, Extra, Method
from tasks.report.ranking import valued
from tasks.report.results import VERDICTS, paired_change, scores_of
from tasks.report.text import digits_for, interval, number, plus_minus


def cost_table(
    methods: Sequence[Method], seconds: Mapping[str, float], printed: Mapping[str, Mapping[str, float]]
) -> Extra:
    """Seconds (of the method's own step) and network evaluations for one photo.

    printed: seconds by method that papers print, by what the column is called; methods that ran elsewhere follow ours.
    """
    evaluations = {m.name: "–" if m.evaluations is None else str(m.evaluations) for m in methods}
    labels = {name: name for column in printed.values() for name in column} | {m.name: m.label for m in methods}
    rows = [
        (
            labels[name],
            number(seconds[name], 3) if name in seconds else "–",
            evaluations.get(name, "–"),
            *(f"{column[name]:g}" if name in column else "–" for column in printed.values()),
        )
        for name in (*evaluations, *(name for name in labels if name not in evaluations))
    ]
    note = (
        "Seconds: of the method's own step, mean over the degradations, when it was last computed. Evaluations: of its "
        "networks; gen2res counts the photos of its fine-tuning, DifBFSR not its two small networks."
    )
    return Extra("Cost per photo", note, ("Method", "seconds", "network evaluations", *printed), rows)


def holes_table(shares: Mapping[str, Sequence[float]]) -> Extra:
    """How much of the LQ photos is to be filled. shares: of each photo, 0 to 1, by the degradation's label."""
    rows = [
        (label, *(f"{100 * share:.1f} %" for share in (sum(found) / len(found), min(found), max(found))))
        for label, found in shares.items()
    ]
    note = "Hole: the photo's truly black pixels, which are filled; the share of the photo that they are."
    return Extra("Holes", note, ("Degradation", "mean", "smallest", "largest"), rows)


def claims_table(claims: Sequence[Claim], scores: pd.DataFrame, labels: Mapping[str, str]) -> Extra:
    """Whether each claim holds here, with the figures."""
    rows = []
    for claim in claims:
        metric = find(claim.metric)
        ours, theirs = (scores_of(scores, claim.degradation, name, claim.metric) for name in (claim.better, claim.than))
        ours, theirs = ours.align(theirs, join="inner")
        if len(ours) < 2:
            verdict, figures = "not measured", "–"
        else:
            change, better = paired_change(ours, theirs, metric.direction)
            verdict = {True: "holds", False: "does not hold", None: "undecided"}[better]
            digits = digits_for(ours.mean())
            figures = (
                f"{metric.label}: {labels[claim.better]} {number(ours.mean(), digits)}, {labels[claim.than]} "
                f"{number(theirs.mean(), digits)}; change {_change(change, digits)}, n = {len(ours)}"
            )
        rows.append((claim.text, verdict, claim.degradation.replace("_", " "), figures, claim.source))
    note = "Holds: the change's 95 % interval lies on the claimed side of zero."
    return Extra("The papers' claims", note, ("Claim", "Here", "Degradation", "Figures", "Source"), rows)


def cleaning_table(
    before: pd.DataFrame,
    after: pd.DataFrame,
    absent: Mapping[str, str],
    printed: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> Extra:
    """No-reference scores of the training photos before and after the first model cleaned them.

    printed: what papers print, {source: {"before": {metric: value}, "after": …}}.
    """
    rows = [
        (find(name).label, f"{scores['before'][name]:g}", f"{scores['after'][name]:g}", "", source)
        for source, scores in printed.items()
        for name in scores["before"]
    ]
    for name in dict.fromkeys([*before["metric"], *absent]):
        metric = find(str(name))
        old, new = (_values(frame, str(name)) for frame in (before, after))
        old, new = old.align(new, join="inner")
        if len(old) < 2:
            rows.append((metric.label, "–", "–", "–", absent.get(str(name), "too few photos")))
            continue
        change, better = paired_change(new, old, metric.direction)
        digits = digits_for(old.mean())
        figures = (number(old.mean(), digits), number(new.mean(), digits), _change(change, digits))
        rows.append((f"{metric.label} ({metric.direction} is better)", *figures, VERDICTS[better]))
    note = "IDM's extrinsic iteration: its first model restores the photos that the second is trained on."
    return Extra("Cleaning of the training photos", note, ("Metric", "Before", "After", "Change", "Verdict"), rows)


def downstream_table(before: Mapping[str, SetScore], after: Mapping[str, SetScore], absent: Mapping[str, str]) -> Extra:
    """Scores of the faces that a generator draws, trained on the photos before and after cleaning."""
    rows = []
    for name in dict.fromkeys([*before, *absent]):
        metric = find(name)
        label = f"{metric.label} ({metric.direction} is better)"
        if name in before and name in after:
            old, new = before[name], after[name]
            rows.append((label, _set_score(old), _set_score(new), number(new.value - old.value, 4)))
        else:
            rows.append((label, "–", "–", absent.get(name, "–")))
    note = "The same generator, trained on the photos before and after cleaning; its faces against unpaired HQ photos."
    return Extra("Downstream: a generator's faces", note, ("Metric", "Before", "After", "Change"), rows)


def authenticity_table(
    labels: Mapping[str, str], scores: Mapping[tuple[str, str], pd.DataFrame], metrics: Sequence[str]
) -> Extra:
    """IDM's check. scores: of (run, method), run "first", "second" (to the ground truth), "again" (second to first)
    and "clean" (restored clean photos to the clean ones)."""
    rows = []
    for method in dict.fromkeys(method for _, method in scores):
        for name in metrics:
            metric = find(name)
            runs = {run: _values(frame, name) for (run, of), frame in scores.items() if of == method}
            first, second = runs["first"].align(runs["second"], join="inner")
            if len(first) < 2:
                continue
            change, better = paired_change(second, first, metric.direction)
            digits = digits_for(first.mean())
            verdict = "worse" if better is False else "not worse"
            rows.append(
                (
                    labels[method],
                    metric.label,
                    number(first.mean(), digits),
                    f"{_change(change, digits)}: {verdict}",
                    number(float(runs["again"].mean()), digits),
                    number(float(runs["clean"].mean()), digits),
                )
            )
    note = (
        "Restoring a restored photo should not make it worse, restoring a clean one should not damage it. First pass "
        "and its change in the second: against the ground truth. Then the second pass against the first, and the "
        "restored clean photos against the clean ones."
    )
    header = ("Method", "Metric", "First pass", "Second pass, change", "Second to first", "Clean restored")
    return Extra("Authenticity check", note, header, rows)


def _values(scores: pd.DataFrame, metric: str) -> pd.Series:
    """A metric's values, by image id."""
    return valued(scores[scores["metric"] == metric].set_index("image_id")["value"], find(metric).sign)


def _set_score(score: SetScore) -> str:
    spread = float("nan") if score.spread is None else score.spread
    return f"{number(score.value, 4)} {plus_minus(spread, 4)}".rstrip()


def _change(change: Interval, digits: int) -> str:
    mean = number(change.mean, digits, signed=True) or "infinite both ways"
    return f"{mean} {interval(change.low, change.high, digits)}".rstrip()
