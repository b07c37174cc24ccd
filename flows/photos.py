"""The Prefect flows for a user's own photos and networks: the plain functions beside this, their stages run as tasks.

Their parameters, and what lies where afterwards: flows/adapt.py, restore.py, personalize.py, models.py.
"""

from typing import Literal

from prefect import flow

from flows import adapt as adapting
from flows import personalize as personalizing
from flows import restore as restoring
from flows.models import train_model
from flows.publishing import show_report
from flows.workspace import check_own
from tasks import nodes

Fit = Literal["aligned", "crop"]
check_own(__file__)


@flow(name="adapt", flow_run_name="{folder}", log_prints=True)
def adapt(
    folder: str, hq: str | None = None, experiment: str = "demo", out: str | None = None, fit: Fit = "crop"
) -> None:
    """Adapt the restorer to a folder of LQ photos, without ground truth, and restore them with the result."""
    show_report(adapting.adapt(folder, hq, experiment, out, fit, nodes.run))


@flow(name="restore", flow_run_name="{folder} by {method}", log_prints=True)
def restore(
    folder: str,
    method: str = "pretrained",
    experiment: str = "demo",
    weights: str | None = None,
    seed: int | None = None,
    masks: str | None = None,
    out: str | None = None,
    fit: Fit = "crop",
) -> None:
    """Restore a folder of photos with a named method."""
    restoring.restore(folder, method, experiment, weights, seed, masks, out, fit, nodes.run)


@flow(name="personalize", flow_run_name="{folder} by {album}", log_prints=True)
def personalize(
    album: str,
    folder: str,
    experiment: str = "demo",
    tuning: personalizing.Tuning = personalizing.Tuning(),  # noqa: B008 (frozen)
    beside: str | None = None,
    out: str | None = None,
    fit: Fit = "crop",
) -> None:
    """Fine-tune the prior on an album of one subject, and restore photos of that subject with it (gen2res)."""
    personalizing.personalize(album, folder, experiment, tuning, beside, out, fit, nodes.run)


@flow(name="train", flow_run_name="{name}", log_prints=True)
def train(name: str) -> None:
    """Train a network as data/weights/NAME.yaml says. A killed run goes on."""
    train_model(name, nodes.run)
