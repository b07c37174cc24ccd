"""Command line of the pipeline without Prefect: what the stages of dvc.yaml call.

python -m flows.stage pseudo_targets --experiment demo
python -m flows.stage train demo/prior
python -m flows.stage fetch codeformer.pth
python -m flows.stage prune --days 30
"""

import argparse
import sys

from flows.steps import STEPS, Workspace, check, folder_of, train_model
from tasks.params import load_experiment
from tasks.stage import default_store
from tasks.store import BadInput
from tasks.weights import fetch, registered


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m flows.stage", description=__doc__)
    commands = parser.add_subparsers(dest="stage", required=True)
    for name in STEPS:
        command = commands.add_parser(name, help=f"run the stage {name!r} of one experiment")
        command.add_argument("--experiment", required=True, help="an entry of params.yaml")
    trainer = commands.add_parser("train", help="train a network from scratch")
    trainer.add_argument("model", help="an entry of the section `models` of params.yaml")
    prune = commands.add_parser("prune", help="delete stored results that were not used lately")
    prune.add_argument("--days", type=float, required=True)
    fetcher = commands.add_parser("fetch", help="download official weights into data/weights")
    fetcher.add_argument("files", nargs="+", choices=sorted(registered()), metavar="FILE")
    given = parser.parse_args(arguments)

    if given.stage == "prune":
        print(f"Deleted {len(default_store().prune(given.days))} results from {default_store().root}.")
    elif given.stage == "fetch":
        for name in given.files:
            print(f"{fetch(registered()[name])}: {registered()[name].licence}")
    elif given.stage == "train":
        print(train_model(given.model))
    else:
        experiment = load_experiment(given.experiment)
        check(experiment)
        STEPS[given.stage](experiment, Workspace(folder_of(given.experiment)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BadInput as error:
        sys.exit(f"error: {error}")
