"""The Prefect flows for a user's own photos and networks: the plain functions beside this, their stages run as tasks.

They do what the commands of these names do, by the same defaults: without `method` or `experiment`, official models.
All paths are absolute; folder: a folder, a photo or a pattern. What lies where afterwards: flows/whole_photos.py,
adapt.py, restore.py, personalize.py, models.py.
"""

from pathlib import Path
from typing import Any, Literal

from prefect import flow

from flows import adapt as adapting
from flows import personalize as personalizing
from flows import restore as restoring
from flows import whole_photos
from flows.cancelling import cancel_tasks
from flows.models import train_model
from flows.publishing import show_report
from flows.whole_photos import Options
from flows.workspace import Workspace, check_own
from tasks import nodes

Fit = Literal["aligned", "crop"]
check_own(__file__)


@flow(name="adapt", flow_run_name="{folder}", log_prints=True, on_cancellation=[cancel_tasks])
def adapt(
    folder: str,
    method: str | None = None,
    experiment: str | None = None,
    out: str | None = None,
    iterations: int | None = None,
    fast: bool = False,
    real: str | None = None,
    options: Options = Options(),  # noqa: B008 (frozen)
    aligned: bool = False,
    hq: str | None = None,
    fit: Fit = "crop",
) -> None:
    """Adapt a restorer to photos, without ground truth, and restore them with the result: `bfr adapt`."""
    chosen = adapting.named(method, experiment)
    whole_photos.check_kind(options, is_aligned=aligned, fit=fit, hq=hq)
    more: dict[str, Any] = {"changes": adapting.Changes(iterations, fast), "run_stage": nodes.run}
    if aligned:
        ready = adapting.ready_crops(folder, hq, chosen, out, fit, real=real, **more)
        show_report(adapting.adapt(ready, folder))
        return
    clean = [] if real is None else [Path(real)]
    show_report(Workspace(adapting.adapt_photos([Path(folder)], out, chosen, options, real=clean, **more).root))


@flow(name="restore", flow_run_name="{folder}", log_prints=True, on_cancellation=[cancel_tasks])
def restore(
    folder: str,
    method: str | None = None,
    experiment: str | None = None,
    out: str | None = None,
    weights: str | None = None,
    seed: int | None = None,
    fidelity: float | None = None,
    fast: bool = False,
    options: Options = Options(),  # noqa: B008 (frozen)
    aligned: bool = False,
    masks: str | None = None,
    fit: Fit = "crop",
) -> None:
    """Restore the faces in photos with a named method: `bfr restore`."""
    place, row = whole_photos.named(method, experiment)
    whole_photos.check_kind(options, is_aligned=aligned, fit=fit, masks=masks)
    more: dict[str, Any] = {"fidelity": fidelity, "is_fast": fast, "run_stage": nodes.run}
    if aligned:
        restoring.restore(folder, row, place, weights, seed, masks, out, fit, **more)
    else:
        whole_photos.restore_photos([Path(folder)], out, place, row, options, weights=weights, seed=seed, **more)


@flow(name="personalize", flow_run_name="{folder} by {album}", log_prints=True, on_cancellation=[cancel_tasks])
def personalize(
    album: str,
    folder: str,
    method: str | None = None,
    experiment: str | None = None,
    out: str | None = None,
    tuning: personalizing.Tuning = personalizing.Tuning(),  # noqa: B008 (frozen)
    options: Options = Options(),  # noqa: B008 (frozen)
    aligned: bool = False,
    beside: str | None = None,
    fit: Fit = "crop",
) -> None:
    """Fine-tune the prior on an album of one person, and restore photos of them with it: `bfr personalize`."""
    chosen = personalizing.named(method, experiment)
    whole_photos.check_kind(options, is_aligned=aligned, fit=fit, beside=beside)
    if aligned:
        personal, _ = personalizing.ready_crops(album, folder, chosen, tuning, beside, out, fit, nodes.run)
        personalizing.personalize(personal, folder)
        return
    personalizing.personalize_photos([Path(album)], [Path(folder)], out, chosen, tuning, options, nodes.run)


@flow(name="train", flow_run_name="{name}", log_prints=True, on_cancellation=[cancel_tasks])
def train(name: str) -> None:
    """Train a network as data/weights/NAME.yaml says. A killed run goes on."""
    train_model(name, nodes.run)
