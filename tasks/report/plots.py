"""What `dvc plots show` draws of an experiment, as one tidy table."""

import math
from collections.abc import Iterator

import pandas as pd

from tasks.report.charts import smoothed
from tasks.report.content import ReportData
from tasks.report.results import Results
from tasks.report.text import heading

COLUMNS = ("plot", "x", "line", "value")


def plots_frame(data: ReportData, results: Results) -> pd.DataFrame:
    """Columns COLUMNS. A plot for each metric, over the degradations in their order, with a line for each method; and
    one for each fine-tuning, over its steps, with a line for each loss. What is not finite has no place in it.
    """
    rows = [*_of_metrics(data, results), *_of_losses(data)]
    return pd.DataFrame([row for row in rows if math.isfinite(row[-1])], columns=list(COLUMNS))


def _of_metrics(data: ReportData, results: Results) -> Iterator[tuple[str, str, str, float]]:
    for metric in data.shown_metrics:
        for method in data.methods:
            for degradation, _ in data.degradations:
                if result := results.get((degradation, method.name, metric.name)):
                    yield heading(metric), degradation, method.name, result.mean


def _of_losses(data: ReportData) -> Iterator[tuple[str, str, str, float]]:
    for degradation, frame in data.losses.items():
        for loss in frame.columns[1:]:
            for step, value in smoothed(frame, loss):
                yield f"losses of fine-tuning for {degradation} by step", f"{step:g}", loss, value
