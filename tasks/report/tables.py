"""The numbers of the report: means, changes against the baseline with intervals, and the sentence that sums them up.

Every interval is a 95 % bootstrap interval over photos. A change counts as better or worse only when its interval
leaves out zero and at least `DECIDABLE` photos were compared; everything else is "unclear". One value per set (FID)
has no interval, so its change is shown but never judged.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple
from urllib.parse import quote

import numpy as np
import pandas as pd

from tasks.metrics.bootstrap import mean_interval, paired_difference
from tasks.report.data import Method, MetricInfo, ReportData
from tasks.report.ranking import holm_p

DECIDABLE = 6  # photos; the smallest n whose changes, all in one direction, are unlikely (2^(1-n) < 5 %) by chance
ALPHA = 0.05  # a method whose corrected p against the best one is above it cannot be told from it
ROUGH = 20  # photos; below this the report says that its intervals are rough
ARROWS = {"higher": "↑", "lower": "↓"}
MARKS = {"better": " ✓", "worse": " ✗"}

Verdict = Literal["better", "worse", "unclear", "single", ""]


class Result(NamedTuple):
    """One line of results.csv; NaN (None for `n` and `better`) where there is nothing to say.

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


Results = Mapping[tuple[str, str, str], Result]


def compute_results(data: ReportData) -> dict[tuple[str, str, str], Result]:
    """(degradation, method, metric) to its result, in display order; only what was measured."""
    photos = {key: group.set_index("image_id")["value"] for key, group in _grouped(data.scores)}
    sets = {key: float(group["value"].iloc[0]) for key, group in _grouped(data.set_scores)}
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
                    found[key] = _set_result(key, sets[key], math.nan if is_baseline else sets.get(base, math.nan))
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
    sign = 1 if metric.direction == "higher" else -1
    best = max(column, key=lambda name: sign * column[name].mean)
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
            better = _is_better(delta_low, delta_high, len(ours), direction)
    return Result(*key, mean, low, high, len(own), delta, delta_low, delta_high, better)


def _set_result(key: tuple[str, str, str], value: float, baseline: float) -> Result:
    value = value if math.isfinite(value) else math.nan
    return Result(*key, value, math.nan, math.nan, None, value - baseline, math.nan, math.nan, None)


def scores_of(scores: pd.DataFrame, degradation: str, method: str, metric: str) -> pd.Series:
    """One method's finite values of one metric, by image id."""
    chosen = (scores["degradation"] == degradation) & (scores["method"] == method) & (scores["metric"] == metric)
    return finite(scores[chosen].set_index("image_id")["value"])


def digits_for(mean: float) -> int:
    """Decimals of a number that stands alone."""
    return 2 if abs(mean) > 1.5 else 4


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


def _is_better(low: float, high: float, n: int, direction: str) -> bool | None:
    """Whether the change is for the better, or None when the photos do not decide it."""
    if n < DECIDABLE or not (low > 0 or high < 0):
        return None
    return (low > 0) == (direction == "higher")


def results_frame(results: Results) -> pd.DataFrame:
    """The tidy table of results.csv: one row per degradation, method and metric; blank where there is nothing."""
    frame = pd.DataFrame(list(results.values()), columns=list(Result._fields))
    frame["n"] = frame["n"].astype("Int64")
    frame["better"] = frame["better"].map({True: "true", False: "false"}).fillna("")
    return frame


def metrics_json(data: ReportData) -> dict[str, dict[str, dict[str, float]]]:
    """{degradation: {method: {metric: mean}}} for `dvc metrics show`; what is not finite is left out."""
    nested: dict[str, dict[str, dict[str, float]]] = {}
    for (degradation, method, metric), result in compute_results(data).items():
        if math.isfinite(result.mean):
            nested.setdefault(degradation, {}).setdefault(method, {})[metric] = result.mean
    return nested


# ------------------------------------------------------------------------------------------------- numbers as text


def decimals(results: Results, metric: str) -> int:
    """Digits after the point for a metric's column: 4 for those that mostly lie in [0, 1], 2 for the others."""
    means = [abs(r.mean) for r in results.values() if r.metric == metric and math.isfinite(r.mean)]
    return 2 if median(means or [0.0]) > 1.5 else 4


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """A number with a real minus sign; "" for NaN; no sign on what rounds to zero."""
    if math.isnan(value):
        return ""
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    if not text.strip("+-0."):
        text = text.strip("+-")
    return text.replace("-", "−")


def interval(low: float, high: float, digits: int) -> str:
    """[low, high], or "" when there is none."""
    return "" if math.isnan(low) else f"[{number(low, digits)}, {number(high, digits)}]"


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


def shown_metrics(data: ReportData) -> list[MetricInfo]:
    """The metrics that have numbers: a metric that is absent has no column, only its reason."""
    return [metric for metric in data.metrics if metric.name not in data.absent]


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


# ------------------------------------------------------------------------------------------------- sentences


def photo_count(results: Results, degradation: str, metric: str | None = None) -> str:
    """ "40", or "38-40" when it differs between methods or metrics; "" when none was counted."""
    counts = {
        r.n for r in results.values() if r.degradation == degradation and r.n is not None and metric in (None, r.metric)
    }
    return "" if not counts else "–".join(str(n) for n in sorted({min(counts), max(counts)}))


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


# ------------------------------------------------------------------------------------------------- Markdown


def results_markdown(data: ReportData, results: Results) -> str:
    """results.md: the findings, a table per degradation, what is absent, and each metric's protocol."""
    parts = [f"# {_plain(data.title)}", f"Experiment {_plain(data.experiment)}."]
    for name, label in data.degradations:
        parts += [f"## {_plain(label)}", _plain(find(data, results, name).sentence)]
        if best := leaders(data, results, name):
            parts += ["Best by: " + "; ".join(f"{_plain(metric)}: {_plain(method)}" for metric, method in best) + "."]
        parts += [_markdown_table(data, results, name)]
        parts += [f"*{_plain(text)}*" for text in cautions(results, name)]
    parts += [
        f"In brackets: change against {_plain(data.baseline.label)} with its 95 % bootstrap interval over photos. "
        f"✓ better, ✗ worse: the interval leaves out zero and n is at least {DECIDABLE}. **Bold**: best of its column; "
        f"≈: these photos cannot tell it from the best (paired Wilcoxon test, Holm-corrected over the column, "
        f"p > {ALPHA})."
    ]
    for extra in data.extras:
        rows = [[_plain(text) for text in row] for row in extra.rows]
        parts += [f"## {_plain(extra.title)}", _markdown_rows(extra.header, rows), _plain(extra.note)]
    if data.origins:
        parts += ["## Where the numbers come from", _origins_table(data)]
    if data.absent:
        parts += ["## Not measured", _markdown_list((_label(data, name), why) for name, why in data.absent.items())]
    if data.quarantine:
        parts += ["## Set aside", _markdown_list(data.quarantine)]
    parts += ["## Protocols", _markdown_list((m.label, _protocol(data, results, m)) for m in shown_metrics(data))]
    if not data.published.empty:
        header = ["Degradation", "Method", "Metric", "Ours", "Published", "Difference", "Source"]
        rows = [[_plain(text) for text in row] for row in published_rows(data, results)]
        parts += ["## Beside the published numbers", _markdown_rows(header, rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _origins_table(data: ReportData) -> str:
    degradations, methods = dict(data.degradations), {method.name: method.label for method in data.methods}
    columns = ("contents (SHA-256)", "DVC", "commit", "device", "made")
    rows = [
        [
            degradations[origin.degradation],
            methods[origin.method],
            f"[{_plain(origin.images)}](../{quote(origin.images)})",
            *(_plain(origin.facts.get(column, "")[:40]) or "–" for column in columns),
        ]
        for origin in data.origins
    ]
    return _markdown_rows(["Degradation", "Method", "Images", *columns], rows)


def results_latex(data: ReportData, results: Results) -> str:
    """results.tex: a booktabs table for each degradation (means alone, the best in bold) and for each further table."""
    metrics = shown_metrics(data)
    parts = ["% needs \\usepackage{booktabs}"]
    for name, label in data.degradations:
        head = ["Method", *map(heading, metrics)]
        rows = [
            [
                _tex(method.label),
                *(rf"\textbf{{{_tex(c.value)}}}" if c.is_best else _tex(c.value or "–") for c in cells),
            ]
            for method, cells in table_rows(data, results, name)
        ]
        parts.append(_latex_table(f"{data.title}: {label}. Bold: best of its column.", head, rows))
    for extra in data.extras:
        rows = [[_tex(text) for text in row] for row in extra.rows]
        parts.append(_latex_table(f"{extra.title}. {extra.note}", extra.header, rows))
    return "\n\n".join(parts) + "\n"


def _latex_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """rows: LaTeX; caption and head: plain text."""
    lines = [" & ".join(line) + r" \\" for line in (list(map(_tex, head)), *rows)]
    return "\n".join(
        [
            r"\begin{table}\centering",
            rf"\caption{{{_tex(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}\end{table}",
        ]
    )


TEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"↑": r"$\uparrow$", "↓": r"$\downarrow$", "−": "$-$", "–": "--"},
}


def _tex(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(TEX.get(character, character) for character in " ".join(text.split()))


def _markdown_table(data: ReportData, results: Results, degradation: str) -> str:
    header = ["Method"] + [_plain(heading(metric)) for metric in shown_metrics(data)]
    rows = [
        [_plain(method.label), *map(_markdown_cell, cells)] for method, cells in table_rows(data, results, degradation)
    ]
    if not rows:
        return "No numbers for this degradation."
    counts = [photo_count(results, degradation, metric.name) or "one set" for metric in shown_metrics(data)]
    return _markdown_rows(header, [*rows, ["n", *counts]])


def heading(metric: MetricInfo) -> str:
    """A column's title: label, direction, and the set that it compares with."""
    return f"{metric.label} {ARROWS[metric.direction]}" + (f" ({metric.reference})" if metric.reference else "")


def _markdown_cell(cell: Cell) -> str:
    if not cell.value:
        return "–"
    value = f"**{cell.value}**" if cell.is_best else f"{cell.value} ≈" if cell.is_tied else cell.value
    change = f" ({cell.delta} {cell.delta_interval}".rstrip() + ")" if cell.delta else ""
    return value + change + MARKS.get(cell.verdict, "")


def _markdown_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _markdown_list(items: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- **{_plain(label)}**: {_plain(text)}" for label, text in items)


def _label(data: ReportData, name: str) -> str:
    return next((metric.label for metric in data.metrics if metric.name == name), name)


def _protocol(data: ReportData, results: Results, metric: MetricInfo) -> str:
    counts = {photo_count(results, name, metric.name) for name, _ in data.degradations} - {""}
    return metric.protocol + (f" (n = {', '.join(sorted(counts))})" if counts else "")


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: no tags, links or images, no table columns, no lines of its own."""
    text = html.escape(" ".join(str(text).split()), quote=False)
    return text.replace("|", "\\|").replace("*", "\\*").replace("`", "\\`").replace("](", "]\\(")
