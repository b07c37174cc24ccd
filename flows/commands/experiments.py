"""Commands for experiments: run, time and train them."""

from pathlib import Path

from flows.command import EXPERIMENTS, PLAIN, Output, Result, app
from tasks.basics import BadInput


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
        Its name: demo, or a file data/experiments/NAME.yaml. It runs as the Prefect flow `benchmark`.
    """
    from flows.preflight import check
    from flows.server import run as run_flow
    from flows.workspace import folder_of
    from tasks.params.load import load_experiment

    check(load_experiment(experiment))
    state = run_flow("benchmark", {"experiment": experiment}, output.screen, [experiment])
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
        Its name: a file data/weights/NAME.yaml.
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
        Its name: demo, or a file data/experiments/NAME.yaml.
    """
    from flows.preflight import check
    from flows.steps import FOLDERS, STEPS
    from flows.workspace import Workspace, folder_of
    from tasks.basics import suggestion
    from tasks.params.load import load_experiment

    if name not in STEPS:
        raise BadInput(f"There is no stage {name!r}.{suggestion(name, STEPS)} Valid: {', '.join(STEPS)}")
    settings = load_experiment(experiment)
    check(settings)
    work = Workspace(folder_of(experiment))
    with work.held(settings):
        STEPS[name](settings, work)
        if name in FOLDERS:
            work.remove_others(below=FOLDERS[name])
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
        Its name: demo, or a file data/experiments/NAME.yaml.
    """
    from flows.cost import estimate, table
    from flows.preflight import check
    from flows.workspace import folder_of
    from tasks.params.load import load_experiment

    settings = load_experiment(experiment)
    check(settings)
    lines = estimate(settings, folder_of(experiment))
    return Result(table(lines), {line.what: line.seconds for line in lines}, output=output)
