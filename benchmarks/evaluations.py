"""Fewer evaluations of the prior for the same restorer (DT-BFR, Algorithm 1): quality against their number.

    python -m benchmarks.evaluations OUT [--experiment demo] [--degradation raw_x2_severe] [--ways ancestral:500 ...]

A way is SAMPLER:RESPACING; the first is what the others are compared with. Each makes pseudo-targets, adapts the
restorer to those of the photos without ground truth, and judges both on the test photos. Differences to the first way
are means over photos with their 95 % intervals; FID is of the whole set and has none. What is in the store is not
computed again.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.ways import difference, on_one
from flows.steps import STEPS
from flows.workspace import Workspace
from tasks.params.load import load_experiment
from tasks.store.files import read_json

WAYS = [f"{sampler}:{steps}" for sampler in ("ancestral", "dpm_solver") for steps in (500, 250, 100, 50, 34, 17)]
METHODS = ("pseudo_target", "adapted")
METRICS = ("psnr", "ssim", "lpips_seeded")
SETS = ("fid_prior", "fid_seeded")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the results of every way")
    parser.add_argument("--experiment", default="demo")
    parser.add_argument("--degradation", default="raw_x2_severe")
    parser.add_argument("--ways", nargs="+", default=WAYS)
    given = parser.parse_args()
    base = load_experiment(given.experiment)
    first = None
    for way in given.ways:
        sampler, respacing = way.split(":")
        experiment = on_one(base, given.degradation, sampler=sampler, respacing=respacing)
        folder = given.out / way.replace(":", "_")
        for step in STEPS.values():
            step(experiment, Workspace(folder))
        first = first or folder
        for line in lines(folder, first, given.degradation):
            print(f"| {way} | {experiment.pseudo_targets.evaluations} | {line} |", flush=True)


def lines(folder: Path, first: Path, degradation: str) -> Iterator[str]:
    """For pseudo-targets and restorer: method, each metric with its difference to the first way, both FIDs."""
    scores, reference = (photo_scores(path) for path in (folder, first))
    sets = read_json(folder / "report" / "metrics.json")[degradation]
    for method in METHODS:
        cells = [
            f"{scores[method, m].mean():.4g} ({difference(scores[method, m], reference[method, m])})" for m in METRICS
        ]
        yield " | ".join([method, *cells, *(f"{sets[method][metric]:.3f}" for metric in SETS)])


def photo_scores(folder: Path) -> pd.DataFrame:
    """A row a photo, columns (method, metric)."""
    scores = pd.read_parquet(folder / "report" / "scores.parquet")
    return scores.pivot(index="image_id", columns=["method", "metric"], values="value")


if __name__ == "__main__":
    main()
