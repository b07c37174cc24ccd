"""Write the report: tables, scores and origins as files, and report.html, one offline file with everything inside."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.report.browse import render_browser
from tasks.report.charts import heat_maps, loss_plots, scatters, severity_plots
from tasks.report.content import Method, MetricInfo, ReportData
from tasks.report.figures import Gallery, Picture, galleries, strips
from tasks.report.findings import Finding, cautions, find, leaders, published_rows
from tasks.report.latex import results_latex
from tasks.report.markdown import results_markdown
from tasks.report.results import DECIDABLE, Results, compute_results, results_frame
from tasks.report.tables import Cell, table_rows
from tasks.report.templates import template
from tasks.report.text import ARROWS, decimals, heading, number, photo_count, shown_metrics
from tasks.store.files import write_json

KINDS = {
    "full-reference": "compares each photo with its original",
    "no-reference": "judges each photo alone, without the original",
    "identity": "compares the face with the one in the original",
    "distribution": "compares the whole set of photos with a reference set; one value, no interval",
}


@dataclass(frozen=True)
class Section:
    """What the page shows for one degradation; counts[i] is the n of column i, "" for one value per set."""

    name: str
    label: str
    finding: Finding
    strip: Sequence[Picture]
    leaders: Sequence[tuple[str, str]]
    cautions: Sequence[str]
    rows: Sequence[tuple[Method, Sequence[Cell]]]
    counts: Sequence[str]
    gallery: Gallery
    captions: Mapping[tuple[str, str], str]


def write_report(data: ReportData, out_dir: Path) -> list[Path]:
    """Write results.csv, results.md, results.tex and report.html into `out_dir`; returns their paths in that order.

    Beside them: scores.parquet (every photo's), origins.json, and browse.html, where the images have places.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    results = compute_results(data)
    data.scores.to_parquet(out_dir / "scores.parquet", index=False)
    write_json(out_dir / "origins.json", [asdict(origin) for origin in data.origins])
    if data.places:
        (out_dir / "browse.html").write_text(render_browser(data, results), encoding="utf-8")
    names = ("results.csv", "results.md", "results.tex", "report.html")
    table, text, latex, page = (out_dir / name for name in names)
    results_frame(results).to_csv(table, index=False, float_format="%.6g")
    text.write_text(results_markdown(data, results), encoding="utf-8")
    latex.write_text(results_latex(data, results), encoding="utf-8")
    page.write_text(render_page(data, results), encoding="utf-8")
    return [table, text, latex, page]


def render_page(data: ReportData, results: Results) -> str:
    """The HTML page: styles, script and images are inline, all text from `data` is escaped, nothing is fetched."""
    photos, pictures = galleries(data), strips(data)
    losses = loss_plots(data)
    sections = [
        Section(
            name,
            label,
            find(data, results, name),
            pictures[name],
            leaders(data, results, name),
            cautions(results, name),
            table_rows(data, results, name),
            [photo_count(results, name, metric.name) for metric in shown_metrics(data)],
            photos[name],
            _captions(data, results, name),
        )
        for name, label in data.degradations
    ]
    return template("report.html.j2", duration=duration, heading=heading).render(
        data=data,
        sections=sections,
        metrics=shown_metrics(data),
        absent=[(_metric_label(data, name), reason) for name, reason in data.absent.items()],
        published=published_rows(data, results),
        settings=setting_groups(data.settings),
        kinds=KINDS,
        arrows=ARROWS,
        decidable=DECIDABLE,
        heat_maps=heat_maps(data, results),
        scatters=scatters(data, results),
        severity_plots=severity_plots(data, results),
        loss_plots={name: losses.get(name, []) for name, _ in data.degradations},
        labels=dict(data.degradations),
        method_labels={method.name: method.label for method in data.methods},
        places=data.places,
        total_s=sum(seconds for _, seconds, _, cached in data.timings if not cached),
    )


def duration(seconds: float) -> str:
    """Seconds as people say them: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min"; "–" when unknown."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds * 1000:.0f} ms"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def setting_groups(settings: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Nested settings as groups of (dotted name, value); the first group, named "", holds the plain top-level ones."""
    plain = [(str(key), _value_text(value)) for key, value in settings.items() if not isinstance(value, Mapping)]
    groups = [(str(key), flatten(value)) for key, value in settings.items() if isinstance(value, Mapping)]
    return ([("", plain)] if plain else []) + groups


def flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(dotted name, value) of every setting."""
    lines: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            lines += flatten(value, f"{prefix}{key}.")
        else:
            lines.append((f"{prefix}{key}", _value_text(value)))
    return lines


def _value_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _captions(data: ReportData, results: Results, degradation: str) -> dict[tuple[str, str], str]:
    """(role, image id) to the first per-photo metric of that image."""
    metric = _first_photo_metric(data)
    if metric is None or data.scores.empty:
        return {}
    scores = data.scores[(data.scores["degradation"] == degradation) & (data.scores["metric"] == metric.name)]
    digits = decimals(results, metric.name)
    roles = {method.name: method.role for method in data.methods}
    return {
        (roles[method], str(image_id)): f"{metric.label} {number(value, digits)}".rstrip()
        for method, image_id, value in zip(scores["method"], scores["image_id"], scores["value"], strict=True)
        if math.isfinite(value)
    }


def _first_photo_metric(data: ReportData) -> MetricInfo | None:
    return next((metric for metric in shown_metrics(data) if metric.kind != "distribution"), None)


def _metric_label(data: ReportData, name: str) -> str:
    return next((metric.label for metric in data.metrics if metric.name == name), name)
