"""Stage `report`: the results of one experiment as CSV, Markdown, JSON and one offline page."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import (
    Field,
)

from tasks.basics import Strict
from tasks.metrics.registry import MetricName, TableMetric, find
from tasks.report.checks import authenticity_table, claims_table, cleaning_table, cost_table, downstream_table
from tasks.report.content import (
    HQ,
    PUBLISHED_COLUMNS,
    SCORE_COLUMNS,
    SET_SCORE_COLUMNS,
    Claim,
    Extra,
    Method,
    MetricInfo,
    Origin,
    Published,
    ReportData,
)
from tasks.report.page import write_report
from tasks.report.results import metrics_json
from tasks.running.stage import default_store, stage
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import Quarantined, read_json, write_json
from tasks.store.provenance import commit, device


class ReportParams(Strict):
    """Stage `report`. `settings` are shown as they are."""

    name: str
    title: str
    settings: dict[str, Any]
    degradations: tuple[str, ...]
    methods: tuple[Method, ...]
    metrics: tuple[TableMetric, ...]
    authenticity_metrics: tuple[MetricName, ...] = ()
    claims: tuple[Claim, ...] = ()
    published: tuple[Published, ...]
    places: dict[str, str] = Field(default_factory=dict, description="of results, below the experiment's folder")
    dvc: dict[str, str] = Field(default_factory=dict, description="DVC's digests of folders there")


PACKAGES = ("torch", "numpy", "lpips", "pytorch-fid", "pyiqa", "spandrel", "prefect", "dvc")


@stage
def report(out: Path, params: ReportParams, record: Manifest, **results: ImageFolder) -> None:
    """results: by name, photos/…, images/<degradation>/<method>, scores/<degradation>/<method>, cleaning/…,
    authenticity/<run>/<method>.

    Writes what `write_report` does, metrics.json for DVC, and run.json, which `tasks.report.difference` compares.
    """
    data = collect(params, results)
    write_report(data, out)
    write_json(out / "metrics.json", metrics_json(data))
    labels = {metric.name: metric.label for metric in data.metrics}
    about = {"params": params.model_dump(mode="json"), "metrics": labels, "environment": dict(data.environment)}
    write_json(out / "run.json", about)


def collect(params: ReportParams, results: dict[str, ImageFolder]) -> ReportData:
    """Everything that the report shows, read from the results."""
    scores, set_scores, absent = read_scores(results)
    methods = params.methods
    metrics = [info(name, results) for name in params.metrics]

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
        metrics=metrics,
        absent=absent,
        images=image,
        ids=results[f"images/{params.degradations[0]}/{methods[0].name}"].ids,
        quarantine=quarantine(results),
        published=published(params),
        extras=extras(params, results, scores),
        origins=origins(params, results),
        losses=losses(params, results),
        places=params.places,
    )


def extras(params: ReportParams, results: dict[str, ImageFolder], scores: pd.DataFrame) -> list[Extra]:
    """The smaller tables that this experiment has results for."""
    labels = {method.name: method.label for method in params.methods}
    tables = [cost_table(params.methods, seconds_per_photo(params, results))]
    if params.claims:
        tables.append(claims_table(params.claims, scores, labels))
    checks = {
        (name.split("/")[1], name.split("/")[2]): photo_scores(folder)
        for name, folder in results.items()
        if name.startswith("authenticity/")
    }
    if checks:
        tables.append(authenticity_table(labels, checks, params.authenticity_metrics))
    if "cleaning/before" in results:
        before, after = results["cleaning/before"], results["cleaning/after"]
        absent = read_json(before.path("absent.json"))
        tables.append(cleaning_table(photo_scores(before), photo_scores(after), absent))
    if "downstream/before" in results:
        faces = [results[f"downstream/{name}"] for name in ("before", "after")]
        old, new = (read_json(folder.path("set_scores.json")) for folder in faces)
        tables.append(downstream_table(old, new, read_json(faces[0].path("absent.json"))))
    return tables


def photo_scores(folder: ImageFolder) -> pd.DataFrame:
    """Scores of single photos, as the stage `evaluate` wrote them."""
    return pd.read_parquet(folder.path("scores.parquet"))


def seconds_per_photo(params: ReportParams, results: dict[str, ImageFolder]) -> dict[str, float]:
    """By method, mean over the degradations whose time is known."""
    found: dict[str, list[float]] = {}
    for method in params.methods:
        for degradation in params.degradations:
            folder = results[f"images/{degradation}/{method.name}"]
            seconds = default_store().seconds(folder.manifest.key)
            if seconds is not None and method.evaluations:
                found.setdefault(method.name, []).append(seconds / len(folder.ids))
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
        table = photo_scores(folder)
        images.append(table.assign(degradation=degradation, method=method))
        values = read_json(folder.path("set_scores.json"))
        sets += [(degradation, method, metric, value) for metric, value in values.items()]
        absent |= read_json(folder.path("absent.json"))
    return (
        pd.concat(images)[list(SCORE_COLUMNS)],
        pd.DataFrame(sets, columns=list(SET_SCORE_COLUMNS)),
        absent,
    )


def info(name: str, results: dict[str, ImageFolder]) -> MetricInfo:
    """A metric's column, as the report wants it, with the set that it compares with and the weights that it used."""
    metric = find(name)
    scored = [folder for result, folder in results.items() if result.startswith("scores/")]
    compared = next(
        (card[name] for folder in scored if name in (card := read_json(folder.path("references.json")))), None
    )
    label, reference = metric.label, ""
    if compared:
        label = f"{metric.label} to {compared['label']}"
        reference = f"{compared['count']} images, {compared['digest'][:8]}"
    used = scored[0].manifest.inputs
    weights = [f"{need.place} (SHA-256 {used[need.place][:12]})" for need in metric.needs if need.place in used]
    protocol = "; ".join([metric.protocol, *(f"weights {text}" for text in weights)])
    kind = metric.kind.replace("_", "-")
    return MetricInfo(name, label, metric.direction, kind, protocol, reference=reference)  # type: ignore[arg-type]


def origins(params: ReportParams, results: dict[str, ImageFolder]) -> list[Origin]:
    """Where each method's numbers on each degradation come from."""
    found = []
    for degradation in params.degradations:
        for method in (row.name for row in params.methods):
            folder, scored = (results[f"{what}/{degradation}/{method}"] for what in ("images", "scores"))
            place = params.places.get(f"images/{degradation}/{method}", "")
            manifest, made = folder.manifest, default_store().made(folder.manifest.key)
            has_card = method == "adapted" and f"adapted_models/{degradation}" in params.places
            found.append(
                Origin(
                    degradation,
                    method,
                    images=place,
                    scores=params.places.get(f"scores/{degradation}/{method}", ""),
                    card=params.places[f"adapted_models/{degradation}"] + "/card.json" if has_card else "",
                    facts={
                        "stage": manifest.stage,
                        "key in the store": manifest.key,
                        "contents (SHA-256)": folder.digest,
                        "DVC": params.dvc.get(place.split("/")[0], ""),
                        "code (SHA-256)": manifest.code,
                        "commit": made.get("commit", ""),
                        "made": made.get("made", ""),
                        "device": made.get("device", ""),
                        "seconds": f"{made['seconds']:.1f}" if made else "",
                        "scores (SHA-256)": scored.digest,
                    },
                    params=manifest.params,
                    inputs=manifest.inputs,
                )
            )
    return found


def losses(params: ReportParams, results: dict[str, ImageFolder]) -> dict[str, pd.DataFrame]:
    """The losses of the fine-tuning, by degradation."""
    names = {name: results.get(f"adapted_models/{name}") for name in params.degradations}
    return {name: pd.read_csv(folder.path("losses.csv")) for name, folder in names.items() if folder}


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
    here = {"python": platform.python_version(), "device": device(), "commit": commit()}
    return here | {name: version(name) for name in PACKAGES}


def published(params: ReportParams) -> pd.DataFrame:
    """The papers' numbers, one row each."""
    rows = [
        (degradation, method, metric, value, "; ".join([table.source, *table.differs]))
        for table in params.published
        for degradation, methods in table.scores.items()
        for method, values in methods.items()
        for metric, value in values.items()
    ]
    return pd.DataFrame(rows, columns=list(PUBLISHED_COLUMNS))
