"""browse.html: every photo of an experiment with its scores, page by page; the images stay where they are."""

import math

from tasks.report.content import HQ, ReportData
from tasks.report.results import Results
from tasks.report.templates import template
from tasks.report.text import decimals
from tasks.store.files import json_number


def render_browser(data: ReportData, results: Results) -> str:
    """The page; it names the images by their places beside the report's folder, and so moves with them only."""
    adapted = [method.name for method in data.methods if method.kind == "adapted"]
    places: dict[str, dict[str, str]] = {name: {} for name, _ in data.degradations}
    for (degradation, method), place in data.places.images.items():
        places[degradation][method] = f"../{place}/"
    truth = data.places.photos.get("test")
    found = {
        "degradations": [{"name": name, "label": label} for name, label in data.degradations],
        "methods": [{"name": m.name, "label": m.label, "role": m.role} for m in data.methods],
        "baseline": data.baseline.name,
        "metrics": [
            {"name": m.name, "label": m.label, "higher": m.direction == "higher", "digits": decimals(results, m.name)}
            for m in data.photo_metrics
        ],
        "chosen": adapted[0] if adapted else data.methods[-1].name,
        "places": places,
        "truth": truth and f"../{truth}/",
        "hq": HQ,
        "scores": _scores(data),
    }
    return template("browse.html.j2").render(title=data.title, experiment=data.experiment, found=found)


def _scores(data: ReportData) -> dict[str, dict[str, dict[str, dict[str, float | str | None]]]]:
    """degradation, image id, method, metric: value to six digits, "inf" for a perfect one; none where it is missing.

    All photos are there, also those without a value.
    """
    found: dict[str, dict[str, dict[str, dict[str, float | str | None]]]] = {
        name: {image_id: {} for image_id in data.photos.get(name, data.ids)} for name, _ in data.degradations
    }
    perfect = {metric.name: metric.sign * math.inf for metric in data.metrics}
    columns = [data.scores[name] for name in ("degradation", "image_id", "method", "metric", "value")]
    for degradation, image_id, method, metric, value in zip(*columns, strict=True):
        if math.isfinite(value) or value == perfect[metric]:
            photo = found[degradation].setdefault(str(image_id), {})
            photo.setdefault(method, {})[metric] = json_number(float(f"{value:.6g}"))
    return found
