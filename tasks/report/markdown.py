"""The report as Markdown."""

import html
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from tasks.report.content import MetricInfo, ReportData
from tasks.report.findings import cautions, finding, identical, leaders
from tasks.report.results import ALPHA, DECIDABLE, Results
from tasks.report.tables import Cell, published_rows, table_rows
from tasks.report.text import heading, photo_count

MARKS = {"better": " ✓", "worse": " ✗"}


def results_markdown(data: ReportData, results: Results) -> str:
    """results.md: the findings, a table per degradation, what is absent, and each metric's protocol."""
    parts = [f"# {_plain(data.title)}", f"Experiment {_plain(data.experiment)}."]
    for name, label in data.tables:
        parts += [f"## {_plain(label)}", _plain(finding(data, results, name).sentence)]
        if best := leaders(data, results, name):
            parts += [
                "Best by: " + "; ".join(f"{_plain(leader.metric)}: {_plain(leader.methods)}" for leader in best) + "."
            ]
        parts += [_markdown_table(data, results, name)]
        parts += [f"*{_plain(text)}*" for text in (*identical(data, results, name), *cautions(results, name))]
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
        parts += [
            "## Not measured",
            _markdown_list((data.metric_label(name), why) for name, why in data.absent.items()),
        ]
    if data.quarantine:
        parts += ["## Set aside", _markdown_list(data.quarantine)]
    parts += ["## Protocols", _markdown_list((m.label, _protocol(data, results, m)) for m in data.shown_metrics)]
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


def _markdown_table(data: ReportData, results: Results, degradation: str) -> str:
    header = ["Method"] + [_plain(heading(metric)) for metric in data.shown_metrics]
    rows = [
        [_plain(method.label), *map(_markdown_cell, cells)] for method, cells in table_rows(data, results, degradation)
    ]
    if not rows:
        return "No numbers for this degradation."
    counts = [photo_count(results, degradation, metric.name) or "one set" for metric in data.shown_metrics]
    return _markdown_rows(header, [*rows, ["n", *counts]])


def _markdown_cell(cell: Cell) -> str:
    if not cell.value:
        return "–"
    value = f"{cell.value} {cell.spread}".rstrip()
    value = f"**{value}**" if cell.is_best else f"{value} ≈" if cell.is_tied else value
    change = f" ({cell.delta} {cell.delta_interval}".rstrip() + ")" if cell.delta else ""
    return value + change + MARKS.get(cell.verdict, "")


def _markdown_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _markdown_list(items: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- **{_plain(label)}**: {_plain(text)}" for label, text in items)


def _protocol(data: ReportData, results: Results, metric: MetricInfo) -> str:
    counts = {photo_count(results, name, metric.name) for name, _ in data.tables} - {""}
    return metric.protocol + (f" (n = {', '.join(sorted(counts))})" if counts else "")


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: no tags, links or images, no table columns, no lines of its own."""
    text = html.escape(" ".join(str(text).split()), quote=False)
    return text.replace("|", "\\|").replace("*", "\\*").replace("`", "\\`").replace("](", "]\\(")
