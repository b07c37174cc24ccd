"""Restore a folder of photos with a named method."""

from pathlib import Path
from typing import Literal

from prefect import flow
from prefect.logging import get_run_logger

from flows.steps import TRAINED, Workspace, folder_of, restore_by, user_folder
from tasks import nodes
from tasks.data.ingest import PhotoFolder
from tasks.methods import Idm
from tasks.params import Comparison, Experiment, IngestParams, given, load_experiment, suggestion
from tasks.stages.ingest import ingest
from tasks.store import BadInput
from tasks.weights import required


@flow(name="restore", flow_run_name="{folder} by {method}", log_prints=True)
def restore(
    folder: str,
    method: str = "pretrained",
    experiment: str = "demo",
    weights: str | None = None,
    seed: int | None = None,
    masks: str | None = None,
    name: str = "restored",
    fit: Literal["aligned", "crop"] = "crop",
) -> None:
    """Restored photos below data/<name>/<method>/.

    method: "pretrained" (the experiment's restorer), "pseudo_target" (and the diffusion prior after it), or a method of
    the experiment's section `compare`. weights: another checkpoint for it, say
    data/my_photos/adapted_model/model.safetensors. seed: another one gives other samples of a diffusion method. masks:
    a folder with a mask for each photo, by the same name, white where the photo is to be filled (inpainting).
    """
    settings = chosen(experiment, method, weights, seed)
    work = Workspace(user_folder(name), nodes.run)
    folders = {"folder": PhotoFolder(Path(folder).expanduser().resolve())}
    if masks:
        folders["masks"] = PhotoFolder(Path(masks).expanduser().resolve())
    lq = work.make("lq", ingest, IngestParams(size=settings.dataset.size, fit=fit), **folders)
    restored = restore_by(method, "", settings, work, lq, method)
    log = get_run_logger()
    for file, reason in lq.quarantine:
        log.warning("Set aside: %s: %s", file, reason)
    log.info("Restored %d photos: %s", len(restored.ids), work.root / method)


def chosen(experiment: str, method: str, weights: str | None, seed: int | None) -> Experiment:
    """The experiment with other weights for the method, and another seed. Raises BadInput for an unknown method."""
    settings = load_experiment(experiment)
    own = {name: other for name, other in settings.compare.items() if isinstance(other, Comparison)}
    valid = ["pretrained", "pseudo_target", *own]
    if method not in valid:
        raise BadInput(
            f"{experiment!r} has no method {method!r}.{suggestion(method, valid)} Valid: {', '.join(valid)}."
            " Another experiment may have it: experiment=demo_methods has all systems."
        )
    changes: dict[str, object] = {} if seed is None else {"seed": seed}
    file = required(Path(weights).expanduser().resolve(), f"the method {method!r}") if weights else None
    if method in own:
        other = own[method]
        if isinstance(other.method, Idm) and other.weights is None and file is None:
            file = folder_of(experiment) / "cleaning" / "model" / TRAINED
            if not file.is_file():
                raise BadInput(
                    f"{method!r} uses the model of cleaning: run benchmark/{experiment} first, or give weights."
                )
        changes["compare"] = {method: other.model_copy(update={"weights": file or other.weights})}
    elif file:
        changes["restorer"] = given(settings.restorer, "restorer").model_copy(update={"weights": file})
    return settings.model_copy(update=changes)
