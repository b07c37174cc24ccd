"""What a flow does with its results at the end: Prefect artefacts, and DVC's record of them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.logging import get_run_logger

from flows.pages import address_of
from flows.server import HOME
from flows.sharing import share_with_dvc
from flows.steps import STEPS
from flows.workspace import Workspace, folder_of
from tasks.basics import ROOT, BadInput, shown_path
from tasks.nodes import slug
from tasks.params.experiment import Experiment
from tasks.params.load import load_experiment
from tasks.report.about import About
from tasks.report.figures import picture
from tasks.store.artifact import ImageFolder
from tasks.store.files import json_number, read_json, write_json
from tasks.store.locks import locked

SHEET_SIDE = 96  # pixels of each face in the artefact
FOLLOWED = "followed.json"  # the experiments of data/experiments that DVC has stages for
DVC = [str(Path(sys.executable).with_name("dvc"))]


def show_report(work: Workspace) -> None:
    """The report as Prefect artefacts: the Markdown tables, the table of all results, and a link to the page."""
    report, key = work.root / "report", slug(work.root.name)
    tables = (report / "results.md").read_text(encoding="utf-8")
    create_markdown_artifact(tables, key=f"{key}-results", description="findings and tables")
    table = pd.read_csv(report / "results.csv")
    table["mean"], table["delta"] = (table[name].map(json_number) for name in ("mean", "delta"))
    rows = json.loads(table.to_json(orient="records"))
    create_table_artifact(rows, key=f"{key}-table", description="every number, with its interval")
    if faces := contact_sheet(work):
        create_markdown_artifact(faces, key=f"{key}-faces", description="one photo of each degradation")
    if address := address_of(work.root, HOME / "pages"):
        page = f"{address}/report/report.html"
        about = "the report's page; it opens while `bfr serve` runs"
        create_link_artifact(page, key=f"{key}-page", link_text="report.html", description=about)
    get_run_logger().info("Results: %s", shown_path(report / "report.html"))


def contact_sheet(work: Workspace) -> str:
    """The first photo of each degradation by every method, in one row, and its original, as Markdown; "" for none."""
    about = About.read(work.root / "report")
    truth = [place for split, place in about.inputs.photos.items() if split == "test"]
    rows, names = [], []
    for degradation in about.degradations:
        places = [about.inputs.images[degradation, method.name] for method in about.methods]
        folders = [ImageFolder(work.root / place) for place in places + truth]
        shared = set.intersection(*(set(folder.ids) for folder in folders)) if folders else set()
        if shared:
            faces = [Image.fromarray(folder.read(min(shared))).resize((SHEET_SIDE, SHEET_SIDE)) for folder in folders]
            rows.append(np.concatenate([np.asarray(face) for face in faces], axis=1))
            names.append(degradation)
    if len({row.shape for row in rows}) != 1:
        return ""
    columns = ", ".join([*(method.name for method in about.methods), *(["the original"] if truth else [])])
    what = f"From the left: {columns}. From the top: {', '.join(names)}."
    return f"{what}\n\n![faces]({picture('faces', np.concatenate(rows)).uri})"


def commit_to_dvc(experiment: str, settings: Experiment, work: Workspace) -> None:
    """Record in DVC the stages that this flow just ran, so that `dvc status` is clean and `dvc repro` does nothing.

    Only if the settings are still what the flow read: else DVC would certify results of others.
    """
    log = get_run_logger()
    if not _is_as_written(experiment, settings):
        log.warning("The settings changed during the run: no results are committed to DVC. Run again, or dvc repro.")
        return
    folder = ROOT if experiment == "demo" else folder_of(experiment).parent
    if (folder / f"{experiment}.yaml").exists():
        follow(experiment, folder / FOLLOWED)
    # DVC looks through everything once a target; dvc.yaml has the demo's stages and no others
    targets = ["dvc.yaml"] if experiment == "demo" else [f"{step}@{experiment}" for step in STEPS]
    command = [*DVC, "commit", "--quiet", "--force", *targets]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        log.warning("DVC did not record the results (they are complete): %s", done.stderr.strip())
    share_with_dvc((result.root for result in work.results.values()), folder)


def _is_as_written(experiment: str, settings: Experiment) -> bool:
    try:
        return load_experiment(experiment) == settings
    except BadInput:
        return False


def follow(experiment: str, file: Path) -> None:
    """Enter an experiment among those that DVC has stages for, so that the others do not fill what it shows."""
    with locked(file.with_name(f".{file.name}.lock")):
        names = read_json(file)[file.stem]
        if experiment not in names:
            write_json(file, {file.stem: [*names, experiment]})
