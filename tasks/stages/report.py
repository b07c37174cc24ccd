"""Stage `report`: the results of one experiment as CSV, Markdown, JSON and one offline page."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from tasks.metrics.registry import find
from tasks.report.data import (
    HQ,
    PUBLISHED_COLUMNS,
    SCORE_COLUMNS,
    SET_SCORE_COLUMNS,
    Extra,
    Method,
    MetricInfo,
    ReportData,
)
from tasks.report.extra import Claim, authenticity_table, claims_table, cleaning_table, cost_table, downstream_table
from tasks.report.page import write_report
from tasks.report.tables import metrics_json
from tasks.stage import default_store, stage
from tasks.store import ImageFolder, Manifest, Quarantined, write_json

if TYPE_CHECKING:
    from tasks.params import ReportParams

KINDS = {"lq": "input", "adapted": "adapted"}
ROLES = {"lq": "LQ", "pretrained": "pre-trained", "pseudo_target": "pseudo-target", "adapted": "adapted"}
PACKAGES = ("torch", "numpy", "lpips", "pytorch-fid", "pyiqa", "spandrel", "prefect", "dvc")
GRID = 12


@stage
def report(out: Path, params: ReportParams, record: Manifest, **results: ImageFolder) -> None:
    """results: by name, photos/…, images/<degradation>/<method>, scores/<degradation>/<method>, cleaning/…,
    authenticity/<run>/<method>.

    Writes results.csv, results.md, report.html and metrics.json.
    """
    data = collect(params, results)
    write_report(data, out)
    write_json(out / "metrics.json", metrics_json(data))


def collect(params: ReportParams, results: dict[str, ImageFolder]) -> ReportData:
    """Everything that the report shows, read from the results."""
    scores, set_scores, absent = read_scores(results)
    methods = methods_of(params)
    reference = "ground truth" if "photos/test" in results else "real photos"

    def image(degradation: str, role: str, image_id: str) -> np.ndarray | None:
        places = {method.role: f"images/{degradation}/{method.name}" for method in methods} | {HQ: "photos/test"}
        folder = results.get(places[role])
        return folder.read(image_id) if folder and image_id in folder.ids else None

    return ReportData(
        experiment=params.name,
        title=params.title,
        settings=params.settings,
        environment=environment(),
        timings=timings(results),
        methods=methods,
        degradations=[(name, name.replace("_", " ")) for name in params.degradations],
        scores=scores,
        set_scores=set_scores,
        metrics=[info(name, reference) for name in params.metrics],
        absent=absent,
        images=image,
        grid_ids=results[f"images/{params.degradations[0]}/{methods[0].name}"].ids[:GRID],
        quarantine=quarantine(results),
        published=published(params),
        extras=extras(params, results, scores),
    )


def methods_of(params: ReportParams) -> list[Method]:
    """The rows of the tables; changes are against the pre-trained restorer, or without it against the first method."""
    baseline = "pretrained" if "pretrained" in params.methods else next(iter(params.methods))
    return [
        Method(name, label, "baseline" if name == baseline else KINDS.get(name, "other"), ROLES.get(name, label))  # type: ignore[arg-type]
        for name, label in params.methods.items()
    ]


def extras(params: ReportParams, results: dict[str, ImageFolder], scores: pd.DataFrame) -> list[Extra]:
    """The smaller tables that this experiment has results for."""
    tables = [cost_table(params.methods, seconds_per_photo(params, results), params.evaluations)]
    if params.claims:
        claims = [Claim(**claim.model_dump()) for claim in params.claims]
        tables.append(claims_table(claims, scores, params.methods))
    checks = {
        (name.split("/")[1], name.split("/")[2]): read_csv(folder)
        for name, folder in results.items()
        if name.startswith("authenticity/")
    }
    if checks:
        tables.append(authenticity_table(params.methods, checks, params.authenticity_metrics))
    if "cleaning/before" in results:
        before, after = results["cleaning/before"], results["cleaning/after"]
        absent = read_json(before, "absent.json")
        tables.append(cleaning_table(read_csv(before), read_csv(after), absent))
    if "downstream/before" in results:
        faces = [results[f"downstream/{name}"] for name in ("before", "after")]
        old, new = (read_json(folder, "set_scores.json") for folder in faces)
        tables.append(downstream_table(old, new, read_json(faces[0], "absent.json")))
    return tables


def read_json(folder: ImageFolder, name: str) -> dict[str, Any]:
    """One JSON file of an artefact."""
    found: dict[str, Any] = json.loads(folder.path(name).read_text(encoding="utf-8"))
    return found


def read_csv(folder: ImageFolder) -> pd.DataFrame:
    return pd.read_csv(folder.path("scores.csv"), dtype={"image_id": str})


def seconds_per_photo(params: ReportParams, results: dict[str, ImageFolder]) -> dict[str, float]:
    """By method, mean over the degradations whose time is known."""
    found: dict[str, list[float]] = {}
    for method in set(params.methods) - {"lq"}:
        for degradation in params.degradations:
            folder = results[f"images/{degradation}/{method}"]
            seconds = default_store().seconds(folder.manifest.key)
            if seconds is not None and folder.manifest.stage != "external":
                found.setdefault(method, []).append(seconds / len(folder.ids))
    return {method: float(np.mean(seconds)) for method, seconds in found.items()}


def read_scores(results: dict[str, ImageFolder]) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Per-image scores, per-set scores and absent metrics of every scores/<degradation>/<method>."""
    images: list[pd.DataFrame] = []
    sets: list[tuple[str, str, str, float]] = []
    absent: dict[str, str] = {}
    for name, folder in results.items():
        if not name.startswith("scores/"):
            continue
        _, degradation, method = name.split("/")
        table = read_csv(folder)
        images.append(table.assign(degradation=degradation, method=method))
        values = json.loads(folder.path("set_scores.json").read_text(encoding="utf-8"))
        sets += [(degradation, method, metric, value) for metric, value in values.items()]
        absent |= json.loads(folder.path("absent.json").read_text(encoding="utf-8"))
    return (
        pd.concat(images)[list(SCORE_COLUMNS)],
        pd.DataFrame(sets, columns=list(SET_SCORE_COLUMNS)),
        absent,
    )


def info(name: str, reference: str) -> MetricInfo:
    """A metric's column, as the report wants it; a distance of sets names the set that it is measured to."""
    metric = find(name)
    label = f"{metric.label} to {reference}" if metric.kind == "distribution" else metric.label
    return MetricInfo(metric.name, label, metric.direction, metric.kind.replace("_", "-"), metric.protocol)  # type: ignore[arg-type]


def timings(results: dict[str, ImageFolder]) -> list[tuple[str, float, int, bool]]:
    """(result, seconds that it took when it was made, its images, not cached): the store remembers."""
    rows = []
    for name, folder in results.items():
        seconds = default_store().seconds(folder.manifest.key)
        if seconds is not None:
            rows.append((name, seconds, len(folder.ids), False))
    return rows


def quarantine(results: dict[str, ImageFolder]) -> list[Quarantined]:
    """Files that were set aside, each once."""
    return sorted({row for folder in results.values() for row in folder.quarantine})


def environment() -> dict[str, str]:
    """What the numbers were made with."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {"python": platform.python_version(), "device": device} | {name: version(name) for name in PACKAGES}


def published(params: ReportParams) -> pd.DataFrame:
    """The papers' numbers, one row each."""
    rows = [
        (degradation, method, metric, value, table.source)
        for table in params.published
        for degradation, methods in table.scores.items()
        for method, values in methods.items()
        for metric, value in values.items()
    ]
    return pd.DataFrame(rows, columns=list(PUBLISHED_COLUMNS))
