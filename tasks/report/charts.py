"""The page's overviews: a heat map of methods by degradations, and faithfulness against realism."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.report.data import MetricInfo, ReportData
from tasks.report.tables import Results, decimals, number, shown_metrics

WIDTH, HEIGHT, MARGIN = 320.0, 220.0, 34.0  # of a scatter plot, in its own units


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
    """One degradation: better is to the right and further up, whichever way the metrics run. ends: of both axes."""

    label: str
    x_metric: MetricInfo
    y_metric: MetricInfo
    points: Sequence[Point]
    x_ends: tuple[str, str]
    y_ends: tuple[str, str]


def heat_maps(data: ReportData, results: Results) -> list[HeatMap]:
    """A map for every metric; nothing where there is one degradation or one method."""
    if len(data.degradations) < 2 or len(data.methods) < 2:
        return []
    return [_heat_map(data, results, metric) for metric in shown_metrics(data)]


def _heat_map(data: ReportData, results: Results, metric: MetricInfo) -> HeatMap:
    digits = decimals(results, metric.name)
    columns = []
    for degradation, _ in data.degradations:
        found = [results.get((degradation, method.name, metric.name)) for method in data.methods]
        means = [math.nan if result is None else result.mean for result in found]
        texts = [number(mean, digits) for mean in means]
        judged = [math.nan if m.kind == "input" else mean for m, mean in zip(data.methods, means, strict=True)]
        columns.append(list(zip(texts, _scaled(judged, metric), strict=True)))
    rows = [(method.label, [column[n] for column in columns]) for n, method in enumerate(data.methods)]
    return HeatMap(metric, [row for row in rows if any(text for text, _ in row[1])])


def _scaled(values: Sequence[float], metric: MetricInfo) -> list[float | None]:
    """0 for the worst, 1 for the best; None for what is missing."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    reach = high - low or 1.0
    scaled = [(value - low) / reach if math.isfinite(value) else None for value in values]
    return scaled if metric.direction == "higher" else [None if value is None else 1 - value for value in scaled]


def scatters(data: ReportData, results: Results) -> list[Scatter]:
    """For each degradation, the first metric that needs the original against the first that judges realism.

    Realism: of whole sets (FID), else of photos alone; Blau & Michaeli 2018 call the two distortion and perception.
    """
    x_metric = next((metric for metric in shown_metrics(data) if metric.kind == "full-reference"), None)
    by_kind = {metric.kind: metric for metric in reversed(shown_metrics(data))}
    realism = by_kind.get("distribution") or by_kind.get("no-reference")
    return list(_scatters(data, results, x_metric, realism)) if x_metric and realism else []


def _scatters(data: ReportData, results: Results, x_metric: MetricInfo, y_metric: MetricInfo) -> Iterator[Scatter]:
    for degradation, label in data.degradations:
        pairs = [
            [results.get((degradation, method.name, metric.name)) for metric in (x_metric, y_metric)]
            for method in data.methods
        ]
        means = [[math.nan if result is None else result.mean for result in pair] for pair in pairs]
        is_measured = [math.isfinite(x) and math.isfinite(y) for x, y in means]
        kept = [n for n, m in enumerate(data.methods) if is_measured[n] and m.kind != "input"]
        if len(kept) < 2:
            continue
        axes, ends, texts = [], [], []
        for axis, metric in enumerate((x_metric, y_metric)):
            values = [means[n][axis] for n in kept]
            axes.append([goodness or 0.0 for goodness in _scaled(values, metric)])
            worst, best = sorted((min(values), max(values)), reverse=metric.direction == "lower")
            digits = decimals(results, metric.name)
            ends.append((number(worst, digits), number(best, digits)))
            texts.append([number(value, digits) for value in values])
        points = [
            Point(
                n + 1,
                data.methods[n].label,
                MARGIN + x * (WIDTH - 2 * MARGIN),
                HEIGHT - MARGIN - y * (HEIGHT - 2 * MARGIN),
                f"{x_text}, {y_text}",
            )
            for n, x, y, x_text, y_text in zip(kept, *axes, *texts, strict=True)
        ]
        yield Scatter(label, x_metric, y_metric, points, ends[0], ends[1])
