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

from benchmarks.ways import checked, difference, on_one
from flows.steps import STEPS
from flows.workspace import Workspace
from tasks.basics import BadInput
from tasks.params.experiment import Experiment
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
    try:
        base = load_experiment(given.experiment)
        experiments = {way: variant(base, given.degradation, way) for way in given.ways}
    except BadInput as error:
        parser.error(str(error))
    first = None
    for way, experiment in experiments.items():
        folder = given.out / way.replace(":", "_")
        for step in STEPS.values():
            step(experiment, Workspace(folder))
        first = first or folder
        for line in lines(folder, first, given.degradation):
            print(f"| {way} | {experiment.pseudo_targets.evaluations} | {line} |", flush=True)


def variant(base: Experiment, degradation: str, way: str) -> Experiment:
    """The experiment with one degradation, the methods that are compared here and a way's chain. Raises BadInput where
    they do not fit, or where the experiment does not make and judge these.
    """
    sampler, colon, respacing = way.partition(":")
    if not colon:
        raise BadInput(f"way {way!r}: expected SAMPLER:RESPACING, like {WAYS[0]}")
    for what, needed, found in (("methods", METHODS, base.methods), ("metrics", (*METRICS, *SETS), base.metrics)):
        if missing := [name for name in needed if name not in found]:
            raise BadInput(f"experiment: its {what} lack {', '.join(missing)}. Choose another, like demo.")
    changed = on_one(base, degradation, sampler=sampler, respacing=respacing)
    return checked(way, changed.model_dump(mode="json") | {"methods": METHODS})


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
