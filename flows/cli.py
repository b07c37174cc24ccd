"""The command `bfr`. Results go to standard output (as text, or as JSON for programs), what happens to standard error.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

import json
import logging
import signal
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Group, Parameter

from flows.terminal import Screen
from tasks.basics import ROOT, BadInput

app = App(
    name="bfr",
    help="Blind face restoration with diffusion priors: restore photos, adapt a restorer, reproduce benchmarks.",
    version=lambda: version("bfr"),
    result_action="return_value",
    exit_on_error=False,
)
app.register_install_completion_command()
EXPERIMENTS = Group("Experiments", sort_key=1)
PHOTOS = Group("Your photos", sort_key=2)
FILES = Group("Weights and results", sort_key=3)


@Parameter(name="*", group=Group("Output", sort_key=9))
@dataclass(frozen=True)
class Output:
    """What a command says."""

    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False
    "Warnings and results only."
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="")] = False
    "Everything that happens."
    json: Annotated[bool, Parameter(negative="")] = False
    "The result as JSON on standard output."

    @property
    def screen(self) -> Screen:
        return Screen(0 if self.quiet else 2 if self.verbose else 1)


PLAIN = Output()


@dataclass(frozen=True)
class Result:
    """What a command returns: text for a reader, data for --json, and the exit code."""

    text: str
    data: Any = field(default_factory=dict)
    code: int = 0
    output: Output = PLAIN


# Experiments.


@app.command(group=EXPERIMENTS)
def demo(*, output: Output = PLAIN) -> Result:
    """Run the embedded benchmark: DT-BFR's adaptation on synthetic faces."""
    return run("demo", output=output)


@app.command(group=EXPERIMENTS)
def compare(*, output: Output = PLAIN) -> Result:
    """Run the embedded benchmark with the methods of all five papers in one table."""
    return run("demo_methods", output=output)


@app.command(group=EXPERIMENTS)
def run(experiment: str, *, output: Output = PLAIN) -> Result:
    """Run a whole experiment; what is stored already is not computed again.

    Parameters
    ----------
    experiment
        An entry of params.yaml. It runs as the Prefect deployment benchmark/EXPERIMENT.
    """
    from flows.preflight import check
    from flows.server import run as run_deployment
    from flows.workspace import folder_of
    from tasks.params.load import load_experiment

    check(load_experiment(experiment))
    state = run_deployment(f"benchmark/{experiment}", {}, output.screen)
    if state["type"] != "COMPLETED":
        raise BadInput(f"{state['message']}\nThe log: data/.prefect/serve.log")
    return report_of(folder_of(experiment) / "report", output)


def report_of(report: Path, output: Output) -> Result:
    """The findings of a report and where its page is."""
    from tasks.store.files import read_json

    found, page = read_json(report / "findings.json"), report / "report.html"
    lines = [f"{part}: {text}" for part, text in found.items()]
    text = "\n".join([*lines, f"Tables and pictures: {page}"])
    return Result(text, {"findings": found, "page": str(page)}, output=output)


@app.command(group=EXPERIMENTS)
def train(model: str, *, output: Output = PLAIN) -> Result:
    """Train a network from scratch; a killed training goes on.

    Parameters
    ----------
    model
        An entry of the section `models` of params.yaml.
    """
    from flows.models import train_model

    weights = train_model(model)
    return Result(f"{weights}: trained; its card lies beside it", {"weights": str(weights)}, output=output)


@app.command(group=EXPERIMENTS)
def stage(name: str, *, experiment: str, output: Output = PLAIN) -> Result:
    """Run one stage of an experiment, as dvc.yaml does.

    Parameters
    ----------
    name
        photos, degrade, restore, pseudo_targets, finetune, clean, compare, authenticity, references, evaluate, report.
    experiment
        An entry of params.yaml.
    """
    from flows.preflight import check
    from flows.steps import STEPS
    from flows.workspace import Workspace, folder_of
    from tasks.basics import suggestion
    from tasks.params.load import load_experiment

    if name not in STEPS:
        raise BadInput(f"There is no stage {name!r}.{suggestion(name, STEPS)} Valid: {', '.join(STEPS)}")
    settings = load_experiment(experiment)
    check(settings)
    STEPS[name](settings, Workspace(folder_of(experiment)))
    return Result("", {"stage": name, "experiment": experiment}, output=output)


@app.command(group=EXPERIMENTS)
def serve() -> None:
    """Keep a Prefect server and this checkout's deployments running until Ctrl-C."""
    from flows.server import serve as serve_deployments

    serve_deployments()


@app.command(group=EXPERIMENTS)
def cost(experiment: str, *, output: Output = PLAIN) -> Result:
    """Say how long an experiment will take on this device.

    Parameters
    ----------
    experiment
        An entry of params.yaml.
    """
    from flows.cost import lines_of, table
    from flows.preflight import check
    from tasks.params.load import load_experiment

    settings = load_experiment(experiment)
    check(settings)
    data = {line.what: line.seconds for line in lines_of(settings)}
    return Result(table(settings), data, output=output)


# Weights and results.


@app.command(group=FILES)
def fetch(*files: str, output: Output = PLAIN) -> Result:
    """Download official weights into data/weights, verified by their SHA-256; a broken download goes on.

    Parameters
    ----------
    files
        As `bfr weights` lists them.
    """
    from tasks.basics import suggestion
    from tasks.weights.fetch import fetch as fetch_file
    from tasks.weights.fetch import registered

    known = registered()
    if not files:
        raise BadInput("Which files? `bfr weights` lists them.")
    for name in files:
        if name not in known:
            raise BadInput(f"There is no registered file {name!r}.{suggestion(name, known)} `bfr weights` lists them.")
    paths = {name: str(fetch_file(known[name])) for name in files}
    return Result("\n".join(f"{path} ({known[name].licence})" for name, path in paths.items()), paths, output=output)


@app.command(group=FILES)
def weights(*, output: Output = PLAIN) -> Result:
    """List the registered weight files: which are there, their size and licence."""
    from tasks.basics import WEIGHTS
    from tasks.weights.fetch import registered

    known = dict(sorted(registered().items()))
    sizes = {name: (WEIGHTS / name).stat().st_size if (WEIGHTS / name).is_file() else None for name in known}
    text = [f"{_mebibytes(sizes[name]):>11} {name}  ({file.licence})" for name, file in known.items()]
    data = {name: {"bytes": sizes[name], "licence": file.licence, "url": file.url} for name, file in known.items()}
    return Result("\n".join(text), data, output=output)


@app.command(group=FILES)
def usage(*, output: Output = PLAIN) -> Result:
    """Show how much disk the stored results take, by stage."""
    from tasks.running.stage import default_store

    store = default_store()
    found = store.usage()
    lines = [f"{_mebibytes(size):>11} {count:6d} {name}" for name, (count, size) in found.items()]
    total = sum(size for _, size in found.values())
    data = {name: {"results": count, "bytes": size} for name, (count, size) in found.items()}
    return Result("\n".join([*lines, f"{_mebibytes(total):>11} in all, {store.root}"]), data, output=output)


@app.command(group=FILES)
def verify(*, output: Output = PLAIN) -> Result:
    """Hash every stored result anew; delete those that are damaged."""
    from tasks.running.stage import default_store

    store = default_store()
    damaged = store.verify()
    lines = [f"{folder}: {reason}. Deleted; the next run makes it anew." for folder, reason in damaged]
    text = "\n".join([*lines, f"{len(damaged)} of the results in {store.root} were damaged."])
    return Result(text, {str(folder): reason for folder, reason in damaged}, 1 if damaged else 0, output)


@app.command(group=FILES)
def prune(*, days: float, output: Output = PLAIN) -> Result:
    """Delete stored results that were not used lately.

    Parameters
    ----------
    days
        Results not used for so many days are deleted.
    """
    from tasks.running.stage import default_store

    store = default_store()
    gone = store.prune(days)
    return Result(f"Deleted {len(gone)} results from {store.root}.", [str(path) for path in gone], output=output)


@app.command(group=FILES)
def diff(old: Path, new: Path, *, out: Path, output: Output = PLAIN) -> Result:
    """Write a page about what changed between two runs.

    Parameters
    ----------
    old, new
        Experiment folders, like data/demo.
    out
        The page.
    """
    from tasks.report.difference import write_difference

    write_difference(old, new, out)
    return Result(str(out), {"page": str(out)}, output=output)


@app.command(group=FILES)
def index(*, output: Output = PLAIN) -> Result:
    """Collect the tables of all experiments that have run in results/."""
    from tasks.report.index import write_index

    page = write_index(ROOT / "results")
    return Result(str(page), {"page": str(page)}, output=output)


@app.command(group=FILES)
def ballot(
    *folders: str, out: Path, lq: Path | None = None, trials: int = 40, seed: int = 0, output: Output = PLAIN
) -> Result:
    """Write a page for a blind side-by-side vote.

    Parameters
    ----------
    folders
        NAME=FOLDER: a method and its PNGs.
    out
        Folder of the page.
    lq
        Folder of the inputs, to show beside.
    trials
        Pairs to vote on.
    seed
        Of their choice and order.
    """
    from tasks.report.voting import write_ballot

    wrong = [text for text in folders if "=" not in text]
    if wrong or len(folders) < 2:
        raise BadInput(f"expected at least two NAME=FOLDER, found {' '.join(folders) or 'nothing'}")
    named = {name: Path(folder) for name, _, folder in (text.partition("=") for text in folders)}
    write_ballot(named, out, trials, seed, lq)
    page, key = out / "vote.html", out / "key.json"
    return Result(f"{page} is for the voters, {key} for you", {"page": str(page), "key": str(key)}, output=output)


@app.command(group=FILES)
def tally(key: Path, *votes: Path, output: Output = PLAIN) -> Result:
    """Preference rates from saved votes.

    Parameters
    ----------
    key
        key.json of the ballot.
    votes
        The voters' files.
    """
    from tasks.report.voting import tally as count
    from tasks.report.voting import tally_markdown

    found = count(key, votes)
    return Result(tally_markdown(found), [row.__dict__ for row in found], output=output)


def _mebibytes(size: int | None) -> str:
    return "missing" if size is None else f"{size / 2**20:.1f} MiB"


# The process.


def call(tokens: list[str] | None = None) -> int:
    """Run a command line; its exit code."""
    try:
        result = app(tokens, print_error=True)
    except CycloptsError:
        return 2
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    if isinstance(result, Result):
        text = json.dumps(result.data, indent=1, ensure_ascii=False) if result.output.json else result.text
        if text:
            print(text)
        return result.code
    return 0


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    signal.signal(signal.SIGTERM, _interrupted)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    for name in ("flows", "tasks"):
        logging.getLogger(name).setLevel(logging.INFO)
    sys.exit(call())
