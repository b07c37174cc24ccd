"""The page's charts: methods by degradations, faithfulness against realism, growing severity, training losses."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.report.content import MetricInfo, ReportData
from tasks.report.results import Results, scores_of
from tasks.report.text import decimals, digits_for, heading, number
from tasks.report.ticks import Tick, ticks

LEFT, RIGHT, TOP, BOTTOM = 34.0, 286.0, 34.0, 186.0  # of a plot of 320 x 220, in its own units
LABEL_GAP = 11.0  # between the numbers at the ends of lines
PERFECT_SHARE = 0.8  # of an axis, for the finite values where one is infinite
LOSS_POINTS = 80  # of a training curve: means over equal runs of steps


@dataclass(frozen=True)
class HeatMap:
    """One metric: rows[i] is a method's label and its cells: text, and goodness 0 … 1 within the column or None.

    The unrestored input has no goodness: it would leave no difference between the methods.
    """

    metric: MetricInfo
    rows: Sequence[tuple[str, Sequence[tuple[str, float | None]]]]


@dataclass(frozen=True)
class Point:
    """A method in a scatter plot: its number in the legend and its place, in the plot's units."""

    index: int
    label: str
    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Scatter:
    """One degradation: better is to the right and further up, whichever way the metrics run."""

    label: str
    x_metric: MetricInfo
    y_metric: MetricInfo
    points: Sequence[Point]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


@dataclass(frozen=True)
class Line:
    """One line of a plot: its number in the legend, its path (SVG) and the place of that number."""

    index: int
    label: str
    path: str
    end: tuple[float, float]
    text: str


@dataclass(frozen=True)
class LinePlot:
    """Lines over one axis."""

    title: str
    x_label: str
    lines: Sequence[Line]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


def severity_plots(data: ReportData, results: Results) -> list[LinePlot]:
    """For each metric, the methods over growing severity: falling faithfulness of the input itself.

    An infinite mean has no place on the axes and is left out.
    Nothing without an input, a metric that needs the original, or three degradations.
    """
    lq = next((method for method in data.methods if method.kind == "input"), None)
    x_metric = next((metric for metric in data.shown_metrics if metric.kind == "full_reference"), None)
    if lq is None or x_metric is None:
        return []
    sign = -x_metric.sign
    measured = [
        (sign * result.mean, name)
        for name, _ in data.degradations
        if (result := results.get((name, lq.name, x_metric.name))) and math.isfinite(result.mean)
    ]
    if len(measured) < 3:
        return []
    severities = {name: severity for severity, name in sorted(measured)}
    x_label = f"{x_metric.label} of the {lq.label}"
    return [_severity_plot(data, results, metric, severities, x_label, sign) for metric in data.shown_metrics]


def _severity_plot(
    data: ReportData,
    results: Results,
    metric: MetricInfo,
    severities: Mapping[str, float],
    x_label: str,
    sign: int,
) -> LinePlot:
    points = {}
    for n, method in enumerate(data.methods):
        found = {name: results.get((name, method.name, metric.name)) for name in severities}
        values = [(severities[name], r.mean) for name, r in found.items() if r is not None and math.isfinite(r.mean)]
        if len(values) > 1:
            points[n + 1, method.label] = np.array(values)
    return _line_plot(heading(metric), x_label, points, decimals(results, metric.name), sign)


def sweep_plots(data: ReportData) -> dict[str, list[LinePlot]]:
    """By degradation whose photos have scales of their own, a plot for each metric of photos: means over the scale."""
    return {
        name: [_sweep_plot(data, name, scales, metric) for metric in data.photo_metrics]
        for name, scales in data.sweeps.items()
        if len(scales) > 1
    }


def _sweep_plot(data: ReportData, name: str, scales: Mapping[int, Sequence[str]], metric: MetricInfo) -> LinePlot:
    points = {}
    for n, method in enumerate(data.methods):
        scores = scores_of(data.scores, name, method.name, metric.name)
        means = [(scale, scores[scores.index.isin(ids)].mean()) for scale, ids in scales.items()]
        values = [(scale, mean) for scale, mean in means if math.isfinite(mean)]
        if len(values) > 1:
            points[n + 1, method.label] = np.array(values, dtype=float)
    digits = digits_for(float(np.median(np.concatenate([line[:, 1] for line in points.values()])))) if points else 2
    return _line_plot(heading(metric), "scale", points, digits, prefix="x")


def loss_plots(data: ReportData) -> dict[str, list[LinePlot]]:
    """By degradation, one plot for each loss of the fine-tuning, smoothed."""
    return {name: [_loss_plot(frame, loss) for loss in frame.columns[1:]] for name, frame in data.losses.items()}


def _loss_plot(frame: pd.DataFrame, loss: str) -> LinePlot:
    return _line_plot(loss, "step", {(0, loss): smoothed(frame, loss)}, 4)


def smoothed(frame: pd.DataFrame, loss: str) -> np.ndarray:
    """(step, loss) [N, 2]: means over equal runs of steps, LOSS_POINTS at most."""
    runs = np.array_split(frame[["step", loss]].to_numpy(dtype=float), min(LOSS_POINTS, len(frame)))
    return np.array([run.mean(axis=0) for run in runs])


def _line_plot(
    title: str,
    x_label: str,
    points: Mapping[tuple[int, str], np.ndarray],
    digits: int,
    sign: int = 1,
    prefix: str = "",
) -> LinePlot:
    """points: by number and label, (x, y) [N, 2] in order; sign and prefix: of the texts below the x axis."""
    everything = np.concatenate([*points.values()]) if points else np.zeros((1, 2))
    low, reach = everything.min(axis=0), np.ptp(everything, axis=0)
    scale = np.where(reach > 0, reach, 1.0)
    lines: list[Line] = []
    taken = -math.inf
    for (index, label), values in sorted(points.items(), key=lambda item: -item[1][-1, 1]):  # from the top down
        x, y = ((values - low) / scale).T
        places = np.stack([LEFT + x * (RIGHT - LEFT), BOTTOM + y * (TOP - BOTTOM)], axis=1)
        path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
        text = ", ".join(number(value, digits) for value in (values[0, 1], values[-1, 1]))
        taken = max(taken + LABEL_GAP, float(places[-1, 1]))
        lines.append(Line(index, label, path, (float(places[-1, 0]), taken), text))
    high = low + reach
    x_ticks = ticks(float(low[0]), float(high[0]), LEFT, RIGHT, sign, prefix)
    return LinePlot(title, x_label, lines, x_ticks, ticks(float(low[1]), float(high[1]), BOTTOM, TOP))


def heat_maps(data: ReportData, results: Results) -> list[HeatMap]:
    """A map for every metric; nothing where there is one degradation or one method."""
    if len(data.degradations) < 2 or len(data.methods) < 2:
        return []
    return [_heat_map(data, results, metric) for metric in data.shown_metrics]


def _heat_map(data: ReportData, results: Results, metric: MetricInfo) -> HeatMap:
    digits = decimals(results, metric.name)
    columns = []
    for degradation, _ in data.tables:
        found = [results.get((degradation, method.name, metric.name)) for method in data.methods]
        means = [math.nan if result is None else result.mean for result in found]
        texts = [number(mean, digits) for mean in means]
        judged = [math.nan if m.kind == "input" else mean for m, mean in zip(data.methods, means, strict=True)]
        columns.append(list(zip(texts, _scaled(judged, metric), strict=True)))
    rows = [(method.label, [column[n] for column in columns]) for n, method in enumerate(data.methods)]
    return HeatMap(metric, [row for row in rows if any(text for text, _ in row[1])])


def _scaled(values: Sequence[float], metric: MetricInfo) -> list[float | None]:
    """0 for the worst, 1 for the best; None for what is missing. An infinite one is the best, well above the others."""
    perfect = metric.sign * math.inf
    share = PERFECT_SHARE if perfect in values else 1.0
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    reach = high - low or 1.0
    scaled = [(value - low) / reach if math.isfinite(value) else None for value in values]
    if metric.direction == "lower":
        scaled = [None if value is None else 1 - value for value in scaled]
    goodness = [None if value is None else share * value for value in scaled]
    return [1.0 if value == perfect else good for value, good in zip(values, goodness, strict=True)]


def scatters(data: ReportData, results: Results) -> list[Scatter]:
    """For each degradation, the first metric that needs the original against the first that judges realism.

    Realism: of whole sets (FID), else of photos alone; Blau & Michaeli 2018 call the two distortion and perception.
    """
    x_metric = next((metric for metric in data.shown_metrics if metric.kind == "full_reference"), None)
    by_kind = {metric.kind: metric for metric in reversed(data.shown_metrics)}
    realism = by_kind.get("distribution") or by_kind.get("no_reference")
    return list(_scatters(data, results, x_metric, realism)) if x_metric and realism else []


def _scatters(data: ReportData, results: Results, x_metric: MetricInfo, y_metric: MetricInfo) -> Iterator[Scatter]:
    for degradation, label in data.degradations:
        pairs = [
            [results.get((degradation, method.name, metric.name)) for metric in (x_metric, y_metric)]
            for method in data.methods
        ]
        means = [[math.nan if result is None else result.mean for result in pair] for pair in pairs]
        is_measured = [not math.isnan(x) and not math.isnan(y) for x, y in means]
        kept = [n for n, m in enumerate(data.methods) if is_measured[n] and m.kind != "input"]
        if len(kept) < 2:
            continue
        axes, texts = [], []
        for axis, metric in enumerate((x_metric, y_metric)):
            values = [means[n][axis] for n in kept]
            axes.append([goodness or 0.0 for goodness in _scaled(values, metric)])
            texts.append([number(value, decimals(results, metric.name)) for value in values])
        points = [
            Point(
                n + 1,
                data.methods[n].label,
                LEFT + x * (RIGHT - LEFT),
                BOTTOM + y * (TOP - BOTTOM),
                f"{x_text}, {y_text}",
            )
            for n, x, y, x_text, y_text in zip(kept, *axes, *texts, strict=True)
        ]
        x_ticks = _judged_ticks([means[n][0] for n in kept], x_metric, LEFT, RIGHT)
        y_ticks = _judged_ticks([means[n][1] for n in kept], y_metric, BOTTOM, TOP)
        yield Scatter(label, x_metric, y_metric, points, x_ticks, y_ticks)


def _judged_ticks(values: Sequence[float], metric: MetricInfo, worst: float, best: float) -> list[Tick]:
    """Ticks of an axis from the worst value to the best, as `_scaled` places them."""
    finite = [value for value in values if math.isfinite(value)]
    share = PERFECT_SHARE if len(finite) < len(values) else 1.0
    start, end = worst, worst + share * (best - worst)
    if metric.direction == "lower":
        start, end = end, start
    found = [*ticks(min(finite), max(finite), start, end)] if finite else []
    return [*found, Tick(best, number(metric.sign * math.inf, 0))] if len(finite) < len(values) else found
