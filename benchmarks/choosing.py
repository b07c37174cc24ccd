"""Which settings, without ground truth? A rule's choice, and what it costs against the choice with ground truth.

    python -m benchmarks.choosing OUT [--experiment demo] [--degradation raw_x2_severe] [--targets-only] [--ways …]

A way is settings of Algorithm 1 (K, L, N: start_t, stop_t, factor; samples) and of the adaptation (iterations, rounds),
as start_t=300,stop_t=100,factor=4,iterations=160,rounds=1; what it leaves out is as in the experiment. Each adapts the
restorer to the photos for that, and restores the test photos, which it has not seen; with --targets-only nothing is
trained, and the pseudo-targets of the test photos are judged. What is in the store is not computed again.

The rule: a restoration may differ from its LQ photo, in the low frequencies, half as much again as the pre-trained
restorer's does (PSNR to the input: MARGIN). Of the ways that keep to that, the one nearest to unpaired real photos (FID
(prior)) is chosen. The others follow them, the most consistent one first.

Why not one of the two alone. Consistency is fooled by doing nothing: nothing is nearer to the LQ photo than itself, and
of noisy photos the truth is less near than any restorer's result, for noise has low frequencies too. So more of it is
not better, and it is a limit alone. It is counted from the pre-trained restorer, which is there whatever the ways are.
Realism is fooled by any draw of the prior, whoever it shows (and FID (prior) is partial to what that prior has made):
the limit keeps those out. The rows without a rank show it; they are not to choose from. PIQE and FID (seeded) stand
beside the two and do not count: artefacts and noise fool them.
"""

import argparse
import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.ways import checked, difference, on_one
from flows import steps
from flows.rows import rows_of
from flows.workspace import Workspace
from tasks.basics import BadInput, suggestion
from tasks.metrics.registry import DEFAULT, REAL, find
from tasks.params.experiment import Experiment
from tasks.params.load import load_experiment
from tasks.store.artifact import ImageFolder
from tasks.store.files import read_json

TARGETS = ("start_t", "stop_t", "factor", "samples")
TRAINING = ("iterations", "rounds")
WAYS = (
    "start_t=300,stop_t=100,factor=4",
    "start_t=300,stop_t=100,factor=4,rounds=2",
    "start_t=300,stop_t=100,factor=4,iterations=40",
    "start_t=140,stop_t=60,factor=4",
    "start_t=500,stop_t=300,factor=16",
)
TARGET_WAYS = (
    "start_t=140,stop_t=60,factor=4",
    "start_t=300,stop_t=100,factor=4",
    "start_t=300,stop_t=200,factor=8",
    "start_t=300,stop_t=100,factor=4,samples=2",
    "start_t=500,stop_t=100,factor=4",
    "start_t=500,stop_t=300,factor=16",
)

CONSISTENCY, REALISM = "psnr_input", f"fid_prior@{REAL}"
MARGIN = 3.5  # dB; seen to fit on pseudo-targets of 8 photos: the report says between which margins its choice stays
BLIND = (CONSISTENCY, "piqe", REALISM, f"fid_seeded@{REAL}")
BEST = "lpips_seeded"  # what is best with ground truth
PRETRAINED = "pre-trained"
TRUTH = ("psnr", "ssim", BEST, "fid_prior")
NOTHING = {"means": {}, "compare": {}, "cleaning": None, "authenticity": None, "claims": [], "published": []}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the results of every way")
    parser.add_argument("--experiment", default="demo")
    parser.add_argument("--degradation", default="raw_x2_severe")
    parser.add_argument("--ways", nargs="+", metavar="WAY")
    parser.add_argument("--targets-only", action="store_true", help="judge pseudo-targets, train nothing")
    given = parser.parse_args()
    method = "pseudo_target" if given.targets_only else "adapted"
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        base = load_experiment(given.experiment)
        ways = given.ways or (TARGET_WAYS if given.targets_only else WAYS)
        experiments = {way: variant(base, given.degradation, method, way) for way in dict.fromkeys(ways)}
    except BadInput as error:
        parser.error(str(error))
    if len(experiments) < 2:
        parser.error("--ways: expected two ways or more to choose from")
    photos, others = {}, {}
    for way, experiment in experiments.items():
        logging.info("%s", way)
        work = Workspace(given.out / method / re.sub(r"[^a-z0-9_]+", "-", way))
        make(experiment, work)
        photos[way] = judge(work, given.degradation, rows_of(experiment)[method].place(given.degradation))
        others = others or controls(work, given.degradation)
    print("\n".join(report(photos, others)))


def settings_of(way: str, valid: Collection[str]) -> dict[str, int]:
    """{key: number} of "key=number,key=number". Raises BadInput for any other form, and for keys that are not valid."""
    found: dict[str, int] = {}
    for part in way.split(","):
        key, _, number = part.partition("=")
        if key not in valid:
            raise BadInput(f"way {way!r}: unknown key {key!r}.{suggestion(key, valid)} Valid: {', '.join(valid)}")
        if key in found:
            raise BadInput(f"way {way!r}: {key} comes twice; leave one out")
        if not re.fullmatch("[0-9]+", number):
            raise BadInput(f"way {way!r}: expected {key}=NUMBER, found {part!r}")
        found[key] = int(number)
    return found


def variant(base: Experiment, degradation: str, method: str, way: str) -> Experiment:
    """The experiment with one degradation, one method and a way's settings. Raises BadInput where they do not fit."""
    found = settings_of(way, (*TARGETS, *TRAINING) if method == "adapted" else TARGETS)
    one = on_one(base, degradation, **{key: value for key, value in found.items() if key in TARGETS})
    settings = one.model_dump(mode="json") | NOTHING | {"methods": [method], "metrics": [*BLIND, *TRUTH]}
    if training := {key: value for key, value in found.items() if key in TRAINING}:
        settings["finetune"] = (settings["finetune"] or {}) | training
    return checked(way, settings)


def make(experiment: Experiment, work: Workspace) -> None:
    """The images of the experiment's method, and what judging them needs."""
    for step in ("photos", "degrade", "restore", "pseudo_targets", "finetune", "compare", "references"):
        steps.STEPS[step](experiment, work)


def judge(work: Workspace, part: str, at: str) -> pd.DataFrame:
    """A row a photo, a column a measure; one of whole sets has its one value in every row.

    at: the images. The ground truth is not at hand for the measures that have to do without.
    """
    images, blind, truth = work[at], f"judged/blind/{at}", f"judged/truth/{at}"
    steps.score(BLIND, work, blind, images, references={REAL: work[f"references/{REAL}"]}, lq=work[f"lq/{part}/test"])
    hq, described = work["photos/test"], {DEFAULT: work[f"references/{DEFAULT}"]}
    steps.score(TRUTH, work, truth, images, hq, described)
    return pd.concat([measured(work[blind]), measured(work[truth])], axis=1)


def measured(scores: ImageFolder) -> pd.DataFrame:
    """What stage `evaluate` found, as `judge` returns it. Raises BadInput if it could not compute all."""
    if absent := read_json(scores.path("absent.json")):
        raise BadInput("\n".join(f"{metric}: {reason}" for metric, reason in absent.items()))
    photos = pd.read_parquet(scores.path("scores.parquet"))
    sets = {metric: found["value"] for metric, found in read_json(scores.path("set_scores.json")).items()}
    return photos.pivot(index="image_id", columns="metric", values="value").assign(**sets)


def controls(work: Workspace, part: str) -> dict[str, pd.DataFrame]:
    """What nobody chooses from, but what shows how the measures can be fooled."""
    places = {"LQ photos": f"lq/{part}/test", PRETRAINED: f"restored/{part}/test", "ground truth": "photos/test"}
    return {name: judge(work, part, at) for name, at in places.items()}


def ranked(table: pd.DataFrame, pretrained: float) -> pd.Series:
    """The rule's rank of each way, from 1. table: a row a way, columns CONSISTENCY and REALISM; pretrained: that
    restorer's consistency."""
    lacking = (pretrained - MARGIN - table[CONSISTENCY]).clip(lower=0)
    order = table.assign(lacking=lacking).sort_values(["lacking", REALISM]).index
    return pd.Series(range(1, len(order) + 1), index=order).reindex(table.index)


def margins(table: pd.DataFrame, pretrained: float, chosen: str) -> tuple[float, float]:
    """The margins, in dB, from and below which the rule chooses the same."""
    rivals = table[table[REALISM] < table.at[chosen, REALISM]]
    return pretrained - table.at[chosen, CONSISTENCY], pretrained - rivals[CONSISTENCY].max() if len(rivals) else np.inf


def report(photos: Mapping[str, pd.DataFrame], others: Mapping[str, pd.DataFrame]) -> list[str]:
    """Lines of Markdown: a row a way, then `controls`, without rank; at last how near the choice comes to the best."""
    table = pd.DataFrame({way: found.mean() for way, found in photos.items()}).T
    pretrained = others[PRETRAINED][CONSISTENCY].mean()
    rule, truth = ranked(table, pretrained), table[BEST].rank(method="min").astype(int)
    labels = [*(heading(name) for name in (*BLIND, *TRUTH)), "rank by the rule", f"rank by {find(BEST).label}"]
    lines = [f"| Way | {' | '.join(labels)} |", "|---|" + "---:|" * len(labels)]
    lines += [row(way, table.loc[way], str(rule[way]), str(truth[way])) for way in table.index]
    lines += [row(name, found.mean(), "", "") for name, found in others.items()]
    stays = margins(table, pretrained, rule.idxmin())
    return [*lines, "", closing(photos, table, rule, stays)]


def heading(name: str) -> str:
    return find(name).label + (", to unpaired photos" if name.endswith(f"@{REAL}") else "")


def row(name: str, means: pd.Series, *ranks: str) -> str:
    return f"| {' | '.join([name, *(f'{means[metric]:.4g}' for metric in (*BLIND, *TRUTH)), *ranks])} |"


def closing(
    photos: Mapping[str, pd.DataFrame], table: pd.DataFrame, rule: pd.Series, stays: tuple[float, float]
) -> str:
    """The rule's choice, the best with ground truth, and how near one comes to the other."""
    chosen, best, label = rule.idxmin(), table[BEST].idxmin(), find(BEST).label
    orders = {"the rule": rule} | {heading(name): -find(name).sign * table[name] for name in BLIND}
    alike = ", ".join(f"{name} {order.corr(table[BEST], method='spearman'):.2f}" for name, order in orders.items())
    return (
        f"The rule chooses `{chosen}` (with any margin of {stays[0]:.2f} to {stays[1]:.2f} dB); best by {label} "
        f"is `{best}`. Choosing blindly changes {label} by {difference(photos[chosen][BEST], photos[best][BEST])}, "
        f"PSNR by {difference(photos[chosen]['psnr'], photos[best]['psnr'])} dB. "
        f"Spearman's correlation with the order by {label} (1: the same): {alike}."
    )


if __name__ == "__main__":
    main()
