"""One page about two runs: what changed in their parameters, their numbers and their images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tasks.basics import BadInput
from tasks.metrics.registry import find
from tasks.report.about import About
from tasks.report.figures import Picture, picture
from tasks.report.results import VERDICTS, compare_photos, scores_of
from tasks.report.settings import flatten
from tasks.report.templates import template
from tasks.report.text import digits_for, interval, number
from tasks.store.files import read_png, write_text

SHOWN = 3  # photos that gained most, and as many that lost most, for each degradation and method


@dataclass(frozen=True)
class Run:
    """The report of one run, as its files hold it. root: the experiment's folder, the parent of `report`."""

    root: Path
    about: About
    scores: pd.DataFrame
    means: pd.DataFrame

    @classmethod
    def read(cls, root: Path) -> "Run":
        """Raises BadInput where `root` holds no report."""
        report = root / "report"
        try:
            return cls(
                root,
                About.read(report),
                pd.read_parquet(report / "scores.parquet"),
                pd.read_csv(report / "results.csv"),
            )
        except (OSError, ValueError) as error:
            raise BadInput(
                f"{root} has no report that can be read ({error}). Name the folder of an experiment that has run, "
                "like data/demo."
            ) from error

    @property
    def settings(self) -> dict[str, str]:
        """Every parameter by its dotted name."""
        return dict(flatten(self.about.settings))


@dataclass(frozen=True)
class Row:
    """One number in both runs, as text."""

    degradation: str
    method: str
    metric: str
    old: str
    new: str
    change: str
    verdict: str


OURS = "bfr · two runs"  # in each of these pages


@dataclass(frozen=True)
class Case:
    """A photo that changed much: in the old run, the new one, and its original where there is one."""

    title: str
    pictures: list[Picture]


def write_difference(old: Path, new: Path, out: Path) -> None:
    """Write the page `out` about the runs in the experiment folders `old` and `new`. Raises BadInput."""
    check_page(out)
    runs = Run.read(old), Run.read(new)
    settings = [run.settings for run in runs]
    environments = [run.about.environment for run in runs]
    rows, left_out = _rows(*runs)
    text = template("difference.html.j2").render(
        ours=OURS,
        runs=runs,
        changed=_changed(*settings),
        environment=_changed(*environments),
        rows=rows,
        left_out=left_out,
        cases=_cases(*runs),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)


def check_page(out: Path) -> None:
    """Raises BadInput unless the page may be written: there is none yet, or it is one that this command made."""
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if there == out.absolute() and not (out.is_file() and OURS.encode() in out.read_bytes()):
        raise BadInput(f"{out} is not a page of this command, which would replace it. Name another one as `out`.")
    if there != out.absolute() and not there.is_dir():
        raise BadInput(f"{there} is a file; expected a folder for the page.")


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[tuple[str, str, str]]:
    names = dict.fromkeys([*old, *new])
    return [(name, old.get(name, "–"), new.get(name, "–")) for name in names if old.get(name) != new.get(name)]


def _rows(old: Run, new: Run) -> tuple[list[Row], list[str]]:
    """The numbers that both runs have; and the names of those that only one has."""
    keys = ["degradation", "method", "metric"]
    both = old.means.merge(new.means, on=keys, suffixes=("_old", "_new"))
    methods, metrics = new.about.labels, new.about.metrics
    rows = []
    for row in both.to_dict("records"):
        metric = find(row["metric"])
        digits = digits_for(row["mean_old"])
        change, bounds = number(row["mean_new"] - row["mean_old"], digits, signed=True), ""
        verdict: str = "one value"
        if not metric.is_of_sets:
            key = (row["degradation"], row["method"], row["metric"])
            result = compare_photos(key, _values(new, *key), _values(old, *key), metric.direction)
            change = number(result.delta, digits, signed=True)
            bounds = interval(result.delta_ci_low, result.delta_ci_high, digits)
            verdict = VERDICTS[result.better]
        rows.append(
            Row(
                row["degradation"],
                methods.get(row["method"], row["method"]),
                f"{metrics[row['metric']]} ({metric.direction} is better)",
                number(row["mean_old"], digits),
                number(row["mean_new"], digits),
                f"{change} {bounds}".rstrip(),
                "equal" if row["mean_old"] == row["mean_new"] and math.isfinite(row["mean_new"]) else verdict,
            )
        )
    found = [{tuple(key) for key in run.means[keys].itertuples(index=False)} for run in (old, new)]
    names = [" / ".join(key) for key in sorted(found[0] ^ found[1])]
    return rows, names


def _values(run: Run, degradation: str, method: str, metric: str) -> pd.Series:
    return scores_of(run.scores, degradation, method, metric)


def _cases(old: Run, new: Run) -> list[Case]:
    """The photos that gained and lost most by the first metric of single photos that both runs have."""
    names = list(dict.fromkeys(new.scores["metric"]))
    metric = next((name for name in names if name in set(old.scores["metric"])), None)
    before, after = old.about.inputs, new.about.inputs
    truth = after.photos.get("test")
    cases: list[Case] = []
    if metric is None:
        return cases
    sign = find(metric).sign
    for degradation, method in [of for of in after.images if of in before.images]:
        ours, theirs = (_values(run, degradation, method, metric) for run in (new, old))
        gain = (sign * (ours - theirs)).dropna().sort_values(ascending=False)
        gain = gain[gain != 0]
        for image_id in dict.fromkeys([*gain.index[:SHOWN], *gain.index[-SHOWN:]]):
            folders = {
                "old": old.root / before.images[degradation, method],
                "new": new.root / after.images[degradation, method],
            } | ({"original": new.root / truth} if truth else {})
            paths = {role: folder / f"{image_id}.png" for role, folder in folders.items()}
            pictures = [picture(role, read_png(path)) for role, path in paths.items() if path.exists()]
            change = number(sign * gain[image_id], 4, signed=True)
            cases.append(Case(f"{degradation}, {method}, {image_id}: {find(metric).label} {change}", pictures))
    return cases
