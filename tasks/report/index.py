"""results/: the tables of every experiment that has run here, for a reviewer to read in a pull request."""

import re
from pathlib import Path

import pandas as pd

from tasks.basics import ROOT, BadInput
from tasks.metrics.registry import find
from tasks.report.about import About
from tasks.store.files import copy_file, write_text


def write_index(out: Path) -> Path:
    """Copy the tables of all reports below data/ to out/<experiment>.md (without links to images, which git does not
    have) and .csv, and list them in out/README.md.

    Raises BadInput where nothing has run yet.
    """
    reports = [ROOT / "data" / "demo" / "report", *sorted((ROOT / "data" / "experiments").glob("*/report"))]
    reports = [report for report in reports if (report / "run.json").exists()]
    if not reports:
        raise BadInput("No experiment has run yet: `make demo` runs one.")
    out.mkdir(exist_ok=True)
    lines = [
        "# Results",
        "",
        "The tables of the experiments that have run, as their reports have them; renewed by",
        "`bfr index`. Best: of the methods that restore, by the mean.",
        "",
        "| Experiment | Degradation | Photos | Metric | Best | Value | Commit | Device |",
        "|---|---|---:|---|---|---:|---|---|",
    ]
    for report in reports:
        name = report.parent.name
        text = (report / "results.md").read_text(encoding="utf-8")
        write_text(out / f"{name}.md", re.sub(r"\[([^]]*)\]\(\.\./[^)]*\)", r"\1", text))
        copy_file(report / "results.csv", out / f"{name}.csv")
        lines += [f"| {' | '.join(row)} |" for row in _rows(report, name)]
    index = out / "README.md"
    write_text(index, "\n".join(lines) + "\n")
    return index


def _rows(report: Path, name: str) -> list[list[str]]:
    """For each degradation, the best method by its first metric."""
    about = About.read(report)
    inputs = [method.name for method in about.methods if method.kind == "input"]
    table = pd.read_csv(report / "results.csv")
    table = table[~table["method"].isin(inputs) & table["mean"].notna()]
    rows = []
    for degradation in about.degradations:
        here = table[table["degradation"] == degradation]
        if here.empty:
            continue
        metric = find(str(here["metric"].iloc[0]))
        scores = here[here["metric"] == here["metric"].iloc[0]]
        goodness = {"mean": metric.sign * scores["mean"], "identical": 0, "finite_mean": 0.0}
        if "identical" in scores:  # a mean is infinite
            goodness |= {
                "identical": scores["identical"] / scores["n"],
                "finite_mean": metric.sign * scores["finite_mean"].fillna(0),
            }
        ranked = pd.DataFrame(goodness, index=scores.index).sort_values(list(goodness), ascending=False, kind="stable")
        best = scores.loc[ranked.index[0]]
        photos = "" if pd.isna(best["n"]) else f"{best['n']:.0f}"
        rows.append(
            [
                f"[{name}]({name}.md)",
                degradation.replace("_", " "),
                photos,
                metric.label,
                about.labels[best["method"]],
                f"{best['mean']:.4g}".replace("inf", "∞"),
                about.environment["commit"],
                about.environment["device"],
            ]
        )
    return rows
