"""Numbers, intervals, counts, durations and headings as text."""

import math
from statistics import median

from tasks.report.content import MetricInfo
from tasks.report.results import Results

ARROWS = {"higher": "↑", "lower": "↓"}


def digits_for(mean: float) -> int:
    """Decimals of a number that stands alone."""
    return 2 if abs(mean) > 1.5 else 4


def decimals(results: Results, metric: str) -> int:
    """Digits after the point for a metric's column: 4 for those that mostly lie in [0, 1], 2 for the others."""
    means = [abs(r.mean) for r in results.values() if r.metric == metric and math.isfinite(r.mean)]
    return 2 if median(means or [0.0]) > 1.5 else 4


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """A number with a real minus sign; "" for NaN; ∞ for infinity; no sign on what rounds to zero."""
    if math.isnan(value):
        return ""
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    if not text.strip("+-0."):
        text = text.strip("+-")
    return text.replace("-", "−").replace("inf", "∞")


def interval(low: float, high: float, digits: int) -> str:
    """[low, high], or "" when there is none."""
    return "" if math.isnan(low) else f"[{number(low, digits)}, {number(high, digits)}]"


def plus_minus(spread: float, digits: int) -> str:
    """± a standard deviation, or "" when there is none."""
    return "" if math.isnan(spread) else f"± {number(spread, digits)}"


def photo_count(results: Results, degradation: str, metric: str | None = None) -> str:
    """ "40", or "38-40" when it differs between methods or metrics; "" when none was counted."""
    counts = {
        r.n for r in results.values() if r.degradation == degradation and r.n is not None and metric in (None, r.metric)
    }
    return "" if not counts else "–".join(str(n) for n in sorted({min(counts), max(counts)}))


def heading(metric: MetricInfo) -> str:
    """A column's title: label, direction, and the set that it compares with."""
    return f"{metric.label} {ARROWS[metric.direction]}" + (f" ({metric.reference})" if metric.reference else "")
