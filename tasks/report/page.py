"""report.html: one offline file with everything inside."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.durations import duration
from tasks.metrics.metric import Kind
from tasks.report.charts import heat_maps, loss_plots, scatters, severity_plots, sweep_plots
from tasks.report.content import Method, ReportData
from tasks.report.figures import Gallery, Picture, galleries, strips
from tasks.report.findings import Finding, Leader, cautions, finding, identical, leaders
from tasks.report.results import DECIDABLE, Results
from tasks.report.settings import setting_groups
from tasks.report.tables import Cell, published_rows, table_rows
from tasks.report.templates import template
from tasks.report.text import ARROWS, decimals, heading, number, photo_count

KINDS: dict[Kind, str] = {
    "full_reference": "compares each photo with its original",
    "input_reference": "compares each photo with the LQ photo that it was made from",
    "no_reference": "judges each photo alone, without the original",
    "distribution": "compares the whole set of photos with a reference set; one value, no interval",
}


@dataclass(frozen=True)
class Section:
    """What the page shows for one degradation or mean; counts[i] is the n of column i, "" for one value per set.

    origins: by method, the place on the page that says where its numbers come from.
    """

    name: str
    label: str
    finding: Finding
    strip: Sequence[Picture]
    leaders: Sequence[Leader]
    cautions: Sequence[str]
    rows: Sequence[tuple[Method, Sequence[Cell]]]
    counts: Sequence[str]
    gallery: Gallery
    captions: Mapping[tuple[str, str], str]
    origins: Mapping[str, str]


def render_page(data: ReportData, results: Results) -> str:
    """The HTML page: styles, script and images are inline, all text from `data` is escaped, nothing is fetched."""
    photos, pictures = galleries(data), strips(data)
    losses, sweeps = loss_plots(data), sweep_plots(data)
    sections = [
        Section(
            name,
            label,
            finding(data, results, name),
            pictures.get(name, []),
            leaders(data, results, name),
            [*identical(data, results, name), *cautions(results, name)],
            table_rows(data, results, name),
            [photo_count(results, name, metric.name) for metric in data.shown_metrics],
            photos.get(name, Gallery([], [], 0)),
            _captions(data, results, name),
            {of.method: f"o-{name}-{of.method}" for of in data.origins if of.degradation == name},
        )
        for name, label in data.tables
    ]
    return template("report.html.j2", duration=duration, heading=heading).render(
        data=data,
        sections=sections,
        metrics=data.shown_metrics,
        absent=[(data.metric_label(name), reason) for name, reason in data.absent.items()],
        published=published_rows(data, results),
        settings=setting_groups(data.settings),
        kinds=KINDS,
        arrows=ARROWS,
        decidable=DECIDABLE,
        heat_maps=heat_maps(data, results),
        scatters=scatters(data, results),
        severity_plots=severity_plots(data, results),
        sweep_plots={name: sweeps.get(name, []) for name, _ in data.tables},
        loss_plots={name: losses.get(name, []) for name, _ in data.tables},
        labels=dict(data.degradations),
        method_labels={method.name: method.label for method in data.methods},
        can_browse=bool(data.places.images),
        total_s=sum(seconds for _, seconds, _, cached in data.timings if not cached),
    )


def _captions(data: ReportData, results: Results, degradation: str) -> dict[tuple[str, str], str]:
    """(role, image id) to the first per-photo metric of that image."""
    if not data.photo_metrics or data.scores.empty:
        return {}
    metric = data.photo_metrics[0]
    scores = data.scores[(data.scores["degradation"] == degradation) & (data.scores["metric"] == metric.name)]
    digits = decimals(results, metric.name)
    roles = {method.name: method.role for method in data.methods}
    return {
        (roles[method], str(image_id)): f"{metric.label} {number(value, digits)}".rstrip()
        for method, image_id, value in zip(scores["method"], scores["image_id"], scores["value"], strict=True)
        if math.isfinite(value) or value == metric.sign * math.inf
    }
