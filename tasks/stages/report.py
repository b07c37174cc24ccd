"""Stage `report`: the results of one experiment as CSV, Markdown, JSON and one offline page."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.basics import Strict
from tasks.data.holes import hole_shares
from tasks.degradation.presets import PRESETS, DegradationName
from tasks.metrics.registry import MetricName, TableMetric, find
from tasks.metrics.sets import SetScore
from tasks.report.about import About
from tasks.report.checks import (
    authenticity_table,
    claims_table,
    cleaning_table,
    cost_table,
    downstream_table,
    holes_table,
)
from tasks.report.content import (
    CLEANING,
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
from tasks.report.inputs import Pair, ReportInputs, step_of
from tasks.report.writing import write_report
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
    means: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="over some of the degradations")
    sweeps: dict[str, DegradationName] = Field(
        default_factory=dict, description="the presets of degradations whose photos have scales of their own"
    )
    methods: tuple[Method, ...]
    metrics: tuple[TableMetric, ...]
    fills: bool = Field(default=False, description="whether a method fills holes, so that their shares are of interest")
    authenticity_metrics: tuple[MetricName, ...] = ()
    claims: tuple[Claim, ...] = ()
    published: tuple[Published, ...]
    places: dict[str, str] = Field(description="of the inputs by their names, below the experiment's folder")
    dvc: dict[str, str] = Field(default_factory=dict, description="DVC's digests of folders there")


PACKAGES = ("torch", "numpy", "lpips", "pytorch-fid", "pyiqa", "spandrel", "prefect", "dvc")


@stage
def report(out: Path, params: ReportParams, record: Manifest, **results: ImageFolder) -> None:
    """results: named by `ReportInputs`. Writes what `write_report` does, and run.json, see `About`."""
    data = collect(params, ReportInputs.of(results))
    write_report(data, out)
    about = About(
        title=params.title,
        settings=params.settings,
        degradations=params.degradations,
        methods=params.methods,
        metrics={metric.name: metric.label for metric in data.metrics},
        places=params.places,
        environment=dict(data.environment),
    )
    write_json(out / "run.json", about.model_dump(mode="json"))


def collect(params: ReportParams, results: ReportInputs[ImageFolder]) -> ReportData:
    """Everything that the report shows, read from the results."""
    scores, set_scores, absent = read_scores(results.scores)
    methods = params.methods
    names = {method.role: method.name for method in methods}

    def image(degradation: str, role: str, image_id: str) -> np.ndarray | None:
        folder = results.photos.get("test") if role == HQ else results.images.get((degradation, names[role]))
        return folder.read(image_id) if folder and image_id in folder.ids else None

    return ReportData(
        experiment=params.name,
        title=params.title,
        settings=params.settings,
        environment=environment(),
        timings=timings(results.named()),
        methods=methods,
        degradations=[(name, name.replace("_", " ")) for name in params.degradations],
        scores=scores,
        set_scores=set_scores,
        metrics=[info(name, results) for name in params.metrics],
        absent=absent,
        images=image,
        ids=results.images[params.degradations[0], methods[0].name].ids,
        photos={part: results.images[part, methods[0].name].ids for part in params.degradations},
        quarantine=quarantine(results.named().values()),
        published=published(params),
        extras=extras(params, results, scores),
        origins=origins(params, results),
        losses=losses(results.models),
        places=ReportInputs.of(params.places),
        means=params.means,
        sweeps={name: by_scale(preset, results.photos["test"].ids) for name, preset in params.sweeps.items()},
    )


def by_scale(preset: str, ids: Sequence[str]) -> dict[int, list[str]]:
    """The photos of each scale."""
    return {scale: [ids[n] for n in positions] for scale, positions in PRESETS[preset].groups(len(ids)).items()}


def extras(params: ReportParams, results: ReportInputs[ImageFolder], scores: pd.DataFrame) -> list[Extra]:
    """The smaller tables that this experiment has results for."""
    labels = {method.name: method.label for method in params.methods}
    printed = {f"{table.source}, seconds": table.seconds for table in params.published if table.seconds}
    tables = [cost_table(params.methods, seconds_per_photo(params, results.images), printed)]
    if params.fills and (holes := holes_of(params, results.images)):
        tables.append(holes_table(holes))
    if params.claims:
        tables.append(claims_table(params.claims, scores, labels))
    if results.authenticity:
        checks = {of: photo_scores(folder) for of, folder in results.authenticity.items()}
        tables.append(authenticity_table(labels, checks, params.authenticity_metrics))
    if results.cleaning:
        before, after = results.cleaning["before"], results.cleaning["after"]
        absent = read_json(before.path("absent.json"))
        theirs = {table.source: table.scores[CLEANING] for table in params.published if CLEANING in table.scores}
        tables.append(cleaning_table(photo_scores(before), photo_scores(after), absent, theirs))
    if results.downstream:
        before, after = results.downstream["before"], results.downstream["after"]
        absent = read_json(before.path("absent.json"))
        tables.append(downstream_table(set_scores(before), set_scores(after), absent))
    return tables


def holes_of(params: ReportParams, images: Mapping[Pair, ImageFolder]) -> dict[str, list[float]]:
    """The share of each LQ photo that is hole, by degradation; of none where the table has no LQ photos."""
    rows = [row.name for row in params.methods if row.kind == "input"]
    return {part: [*hole_shares(images[part, row]).values()] for part, row in product(params.degradations, rows)}


def photo_scores(folder: ImageFolder) -> pd.DataFrame:
    """Scores of single photos, as the stage `evaluate` wrote them."""
    return pd.read_parquet(folder.path("scores.parquet"))


def set_scores(folder: ImageFolder) -> dict[str, SetScore]:
    """Scores of the whole set, as the stage `evaluate` wrote them, by metric."""
    return {name: SetScore(**score) for name, score in read_json(folder.path("set_scores.json")).items()}


def seconds_per_photo(params: ReportParams, images: Mapping[Pair, ImageFolder]) -> dict[str, float]:
    """By method, mean over the degradations whose time is known."""
    found: dict[str, list[float]] = {}
    for method in params.methods:
        for degradation in params.degradations:
            folder = images[degradation, method.name]
            seconds = default_store().seconds(folder.manifest.key)
            if seconds is not None and method.evaluations:
                found.setdefault(method.name, []).append(seconds / len(folder.ids))
    return {method: float(np.mean(seconds)) for method, seconds in found.items()}


def read_scores(scores: Mapping[Pair, ImageFolder]) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Per-image scores, per-set scores and absent metrics of all methods and degradations."""
    images: list[pd.DataFrame] = []
    sets: list[tuple[str, str, str, float, float]] = []
    absent: dict[str, str] = {}
    for (degradation, method), folder in scores.items():
        images.append(photo_scores(folder).assign(degradation=degradation, method=method))
        for metric, (value, spread) in set_scores(folder).items():
            sets.append((degradation, method, metric, value, math.nan if spread is None else spread))
        absent |= read_json(folder.path("absent.json"))
    return (
        pd.concat(images)[list(SCORE_COLUMNS)],
        pd.DataFrame(sets, columns=list(SET_SCORE_COLUMNS)),
        absent,
    )


def info(name: str, results: ReportInputs[ImageFolder]) -> MetricInfo:
    """A metric's column, as the report wants it, with the set that it compares with and the weights that it used."""
    metric = find(name)
    scored = [*results.scores.values()]
    compared = next(
        (card[name] for folder in scored if name in (card := read_json(folder.path("references.json")))), None
    )
    label, reference = metric.label, ""
    if compared:
        label = f"{metric.label} to {compared['label']}"
        reference = f"{compared['count']} images, {compared['digest'][:8]}"
    used = {name: sha for folder in scored for name, sha in folder.manifest.inputs.items()}
    weights = [f"{need.place} (SHA-256 {used[need.place][:12]})" for need in metric.needs if need.place in used]
    protocol = "; ".join([metric.protocol, *(f"weights {text}" for text in weights)])
    return MetricInfo(name, label, metric.direction, metric.kind, protocol, reference=reference)


def origins(params: ReportParams, results: ReportInputs[ImageFolder]) -> list[Origin]:
    """Where each method's numbers on each degradation come from."""
    places = ReportInputs.of(params.places)
    found = []
    for degradation, method in product(params.degradations, [row.name for row in params.methods]):
        of = degradation, method
        folder, scored = results.images[of], results.scores[of]
        manifest, made = folder.manifest, default_store().made(folder.manifest.key)
        place = places.images[of]
        found.append(
            Origin(
                degradation,
                method,
                images=place,
                scores=places.scores[of],
                card=f"{places.models[of]}/card.json" if of in places.models else "",
                facts={
                    "stage": manifest.stage,
                    "key in the store": manifest.key,
                    "contents (SHA-256)": folder.digest,
                    "DVC": params.dvc.get(step_of(place), ""),
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


def losses(models: Mapping[Pair, ImageFolder]) -> dict[str, pd.DataFrame]:
    """The losses of the fine-tuning, by degradation."""
    return {degradation: pd.read_csv(model.path("losses.csv")) for (degradation, _), model in models.items()}


def timings(results: Mapping[str, ImageFolder]) -> list[tuple[str, float, int, bool]]:
    """(result, seconds that it took when it was made, its images, not cached): the store remembers."""
    rows = []
    for name, folder in results.items():
        seconds = default_store().seconds(folder.manifest.key)
        if seconds is not None:
            rows.append((name, seconds, len(folder.ids), False))
    return rows


def quarantine(results: Iterable[ImageFolder]) -> list[Quarantined]:
    """Files that were set aside, each once."""
    return sorted({row for folder in results for row in folder.quarantine})


def environment() -> dict[str, str]:
    """What the numbers were made with."""
    here = {"python": platform.python_version(), "device": device(), "commit": commit()}
    return here | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def published(params: ReportParams) -> pd.DataFrame:
    """The papers' numbers, one row each."""
    rows = [
        (degradation, method, metric, value, "; ".join([table.source, *table.differs]))
        for table in params.published
        for degradation, methods in table.scores.items()
        if degradation != CLEANING
        for method, values in methods.items()
        for metric, value in values.items()
    ]
    return pd.DataFrame(rows, columns=list(PUBLISHED_COLUMNS))
