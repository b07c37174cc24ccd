"""Command line of the pipeline without Prefect: what the stages of dvc.yaml call.

python -m flows.stage pseudo_targets --experiment demo
python -m flows.stage train demo/prior
python -m flows.stage fetch codeformer.pth
python -m flows.stage prune --days 30
python -m flows.stage cost --experiment demo
python -m flows.stage usage
python -m flows.stage verify
python -m flows.stage difference data/demo data/experiments/demo_methods --out difference.html
python -m flows.stage ballot difface=…/compared/eq9/difface adapted=…/compared/eq9/adapted --out vote
python -m flows.stage tally vote/key.json votes_1.json votes_2.json
"""

import argparse
import sys
from pathlib import Path

from flows.cost import table as cost_table
from flows.models import train_model
from flows.preflight import check
from flows.steps import STEPS
from flows.workspace import Workspace, folder_of
from tasks.basics import ROOT, BadInput
from tasks.params.load import load_experiment
from tasks.report.difference import write_difference
from tasks.report.index import write_index
from tasks.report.voting import tally, tally_markdown, write_ballot
from tasks.running.stage import default_store
from tasks.store.store import Store
from tasks.weights.fetch import fetch, registered


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m flows.stage", description=__doc__)
    commands = parser.add_subparsers(dest="stage", required=True)
    cost = commands.add_parser("cost", help="how long an experiment will take here, by its networks")
    cost.add_argument("--experiment", required=True, help="an entry of params.yaml")
    for name in STEPS:
        command = commands.add_parser(name, help=f"run the stage {name!r} of one experiment")
        command.add_argument("--experiment", required=True, help="an entry of params.yaml")
    trainer = commands.add_parser("train", help="train a network from scratch")
    trainer.add_argument("model", help="an entry of the section `models` of params.yaml")
    prune = commands.add_parser("prune", help="delete stored results that were not used lately")
    prune.add_argument("--days", type=float, required=True)
    commands.add_parser("usage", help="how much disk the stored results take, by stage")
    commands.add_parser("verify", help="hash every stored result anew; delete those that are damaged")
    difference = commands.add_parser("difference", help="write a page about what changed between two runs")
    difference.add_argument("runs", nargs=2, type=Path, metavar="FOLDER", help="experiment folders, the old one first")
    difference.add_argument("--out", type=Path, required=True, metavar="PAGE")
    ballot = commands.add_parser("ballot", help="write a page for a blind side-by-side vote")
    ballot.add_argument("folders", nargs="+", metavar="NAME=FOLDER", help="a method and its PNGs")
    ballot.add_argument("--lq", type=Path, help="folder of the inputs, to show beside")
    ballot.add_argument("--trials", type=int, default=40)
    ballot.add_argument("--seed", type=int, default=0)
    ballot.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    counter = commands.add_parser("tally", help="preference rates from saved votes")
    counter.add_argument("key", type=Path)
    counter.add_argument("votes", nargs="+", type=Path)
    commands.add_parser("index", help="collect the tables of all experiments that have run in results/")
    fetcher = commands.add_parser("fetch", help="download official weights into data/weights")
    fetcher.add_argument("files", nargs="+", choices=sorted(registered()), metavar="FILE")
    given = parser.parse_args(arguments)

    if given.stage == "prune":
        print(f"Deleted {len(default_store().prune(given.days))} results from {default_store().root}.")
    elif given.stage == "cost":
        experiment = load_experiment(given.experiment)
        check(experiment)
        print(cost_table(experiment))
    elif given.stage == "usage":
        print_usage(default_store())
    elif given.stage == "verify":
        damaged = default_store().verify()
        for folder, reason in damaged:
            print(f"{folder}: {reason}. Deleted; the next run makes it anew.")
        print(f"{len(damaged)} of the results in {default_store().root} were damaged.")
        return 1 if damaged else 0
    elif given.stage == "fetch":
        for name in given.files:
            print(f"{fetch(registered()[name])}: {registered()[name].licence}")
    elif given.stage == "difference":
        write_difference(given.runs[0], given.runs[1], given.out)
        print(given.out)
    elif given.stage == "ballot":
        folders = {name: Path(folder) for name, _, folder in (text.partition("=") for text in given.folders)}
        write_ballot(folders, given.out, given.trials, given.seed, given.lq)
        print(f"{given.out / 'vote.html'} is for the voters, {given.out / 'key.json'} for you")
    elif given.stage == "tally":
        print(tally_markdown(tally(given.key, given.votes)))
    elif given.stage == "index":
        print(write_index(ROOT / "results"))
    elif given.stage == "train":
        print(train_model(given.model))
    else:
        experiment = load_experiment(given.experiment)
        check(experiment)
        STEPS[given.stage](experiment, Workspace(folder_of(given.experiment)))
    return 0


def print_usage(store: Store) -> None:
    """A line for each stage, and the total."""
    found = store.usage()
    for stage, (count, size) in found.items():
        print(f"{size / 2**20:10.1f} MiB {count:6d} {stage}")
    print(f"{sum(size for _, size in found.values()) / 2**20:10.1f} MiB in all, {store.root}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BadInput as error:
        sys.exit(f"error: {error}")
