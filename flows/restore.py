"""Restore a folder of photos with a named method."""

import logging
from collections.abc import Sequence
from typing import Literal

from flows import preflight
from flows.rows import OWN, Check, Row, rows_of
from flows.workspace import (
    TRAINED,
    Drafts,
    Run,
    Workspace,
    absolute,
    counted,
    folder_of,
    results_folder,
    run_here,
    say_holes,
    say_replaced,
    say_set_aside,
)
from tasks.basics import BadInput, suggestion
from tasks.data.ingest import PhotoFolder
from tasks.params.experiment import Comparison, Experiment, External, given
from tasks.params.fast import fast
from tasks.params.load import load_experiment
from tasks.stages.ingest import IngestParams, ingest
from tasks.store.ownership import manifest_of
from tasks.weights.fetch import required

LOG = logging.getLogger(__name__)

METHODS = {  # what the official models are called, and where they stand: experiment and row of its table
    "gfpgan": ("difface_celeba_test", "gfpgan"),
    "codeformer": ("difface_celeba_test", "codeformer"),
    "restoreformer": ("difface_celeba_test", "restoreformer"),
    "swinir": ("difface_celeba_test", "pretrained"),
    "difface": ("difface_celeba_test", "difface"),
    "dt_bfr_swinir": ("dt_bfr_swinir", "pretrained"),
    "pseudo_target": ("dt_bfr_swinir", "pseudo_target"),
    "gen2res": ("gen2res", "gen2res"),
    "difbfsr": ("difbfsr", "difbfsr"),
    "demo": ("demo_l1", "pretrained"),
}


def restore(
    folder: str,
    method: str = "pretrained",
    experiment: str = "demo",
    weights: str | None = None,
    seed: int | None = None,
    masks: str | None = None,
    out: str | None = None,
    fit: Literal["aligned", "crop"] = "crop",
    run_stage: Run = run_here,
    is_fast: bool = False,
    fidelity: float | None = None,
) -> Workspace:
    """Restored photos in <out>/photos, by the photos' own names and in their sub-folders, as PNG; the rest in
    <out>/details: lq (what the method was given; quarantine.csv lists what was set aside), restored (by image id).

    All paths are absolute. folder: your photos; nothing is written there. out: where the results go, by default
    <folder>_restored, by another method than "pretrained" <folder>_restored_<method> (its name in `METHODS`, if it has
    one), if it is fast …_fast, with a seed …_seed<seed>; a folder that holds anything but earlier results of bfr is
    refused. method: "pretrained" (the experiment's restorer), "pseudo_target" (and the diffusion prior after it), or a
    method of the experiment's section `compare`. weights: another checkpoint for it, say
    <out>/model/model.safetensors of `adapt`. seed: another one gives other samples of a diffusion method. is_fast:
    fewer evaluations of the prior, see `tasks.params.fast`. fidelity: CodeFormer's w. masks: a folder with a mask for
    each photo, by the same name, white where the photo is to be filled (inpainting).
    """
    settings = chosen(experiment, method, weights, seed, fidelity, is_fast=is_fast)
    row, name = rows_of(settings)[method], name_of(experiment, method)
    if masks and not row.fills:
        raise BadInput(f"masks: {name!r} does not fill holes; the experiment demo_inpainting has methods that do.")
    check_needs(settings, row.checks(), advice=OWN_FILE)
    root, paths = results_folder(out, suffix_of(name, seed, is_fast=is_fast), {"folder": folder, "masks": masks})
    work, details = Drafts(root, run_stage), Drafts(root / "details", run_stage)
    folders = {name: PhotoFolder(path) for name, path in paths.items()}
    lq = details.make("lq", ingest, IngestParams(size=settings.dataset.size, fit=fit), **folders)
    say_set_aside(lq)
    if row.fills:
        say_holes(lq)
    earlier = manifest_of(details.place("restored"))
    restored = row.run(details, lq, "", "restored")
    say_replaced(earlier, restored.manifest, root)
    work.publish_photos(restored, paths["folder"])
    work.publish_with(details)
    LOG.info("Restored %s.", counted(len(restored.ids), "photo"))
    return work


def name_of(experiment: str, method: str) -> str:
    """What a user calls a row of an experiment's table."""
    return next((name for name, place in METHODS.items() if place == (experiment, method)), method)


def suffix_of(method: str, seed: int | None, *, is_fast: bool) -> str:
    """Of the results' folder: other samples have one of their own."""
    name = "restored" if method == "pretrained" else f"restored_{method}"
    name = f"{name}_fast" if is_fast else name
    return name if seed is None else f"{name}_seed{seed}"


def row_named(experiment: str, method: str) -> Row:
    """A row that can be run on a user's photos. Raises BadInput if the experiment has none of that name."""
    whole = load_experiment(experiment)
    rows = {row.name: row for row in rows_of(for_photos(whole)).values() if row.runs_here}
    if method in whole.table and method not in rows:
        other = whole.compare.get(method)
        why = "only shows images that were made elsewhere"
        if not isinstance(other, External):
            why = "starts from the restorer that a run adapts to its own photos: `bfr adapt` makes one for yours"
        raise BadInput(f"{method!r} of {experiment!r} {why}. Valid: {', '.join(rows)}.")
    if method not in rows:
        raise BadInput(
            f"{experiment!r} has no method {method!r}.{suggestion(method, rows)} Valid: {', '.join(rows)}."
            " Another experiment may have it: demo_methods has all systems."
        )
    return rows[method]


def chosen(
    experiment: str,
    method: str,
    weights: str | None,
    seed: int | None,
    fidelity: float | None = None,
    *,
    is_fast: bool = False,
) -> Experiment:
    """The experiment with other weights for the method, another seed and w of CodeFormer.

    Raises BadInput for an unknown method, and for one that has no fast variant, or no w, if that is wanted.
    """
    settings = for_photos(load_experiment(experiment))
    row_named(experiment, method)
    if is_fast:
        settings = fast(settings, method)
    changes: dict[str, object] = {} if seed is None else {"seed": seed}
    file = required(absolute(weights, "weights"), "the weights that were named") if weights else None
    if entry := settings.compare.get(method):
        assert isinstance(entry, Comparison)
        if entry.method.is_cleaned and entry.weights is None and file is None:
            file = folder_of(experiment) / "cleaning" / "model" / TRAINED
            if not file.is_file():
                raise BadInput(
                    f"{method!r} uses the model of cleaning: `bfr run {experiment}` makes it; or give weights."
                )
        changes["compare"] = {method: entry.model_copy(update={"weights": file or entry.weights})}
    elif file:
        changes["restorer"] = given(settings.restorer, "restorer").model_copy(update={"weights": file})
    return with_fidelity(settings.model_copy(update=changes), method, fidelity)


def with_fidelity(experiment: Experiment, method: str, fidelity: float | None) -> Experiment:
    """The experiment with another w of CodeFormer. Raises BadInput for a method that has none."""
    if fidelity is None:
        return experiment
    entry = experiment.compare.get(method)
    if isinstance(entry, Comparison) and getattr(entry.method, "arch", "") == "codeformer":
        changed = entry.model_copy(update={"method": entry.method.model_copy(update={"fidelity": fidelity})})
        return experiment.model_copy(update={"compare": {**experiment.compare, method: changed}})
    if method == "pretrained" and experiment.restorer and experiment.restorer.arch == "codeformer":
        restorer = experiment.restorer.model_copy(update={"fidelity": fidelity})
        return experiment.model_copy(update={"restorer": restorer})
    raise BadInput("fidelity: this method has no such setting, only CodeFormer has. Leave it out.")


OWN_FILE = ", or name a file that you have: --weights FILE"


def check_needs(settings: Experiment, needs: Sequence[Check], advice: str = "") -> None:
    """Raises BadInput, with all ways to get them, where weights are missing or changed. Says what demo models know.

    advice: another way to come by weights.
    """
    try:
        preflight.check(settings, splits=(), rows=[], more=needs)
    except BadInput as error:
        if all(path.is_file() for path in preflight.registered(needs).values()):
            raise
        raise BadInput(f"{error}\nOr say --yes to fetch the weights that are missing{advice}.") from error
    say_what_is_known(settings)


def say_what_is_known(settings: Experiment) -> None:
    """The demo's models know drawn or rendered faces only."""
    if settings.dataset.kind not in ("folders", "real"):
        LOG.warning(
            "The demo's models know rendered faces of %d pixels only: look at what they make of real ones.",
            settings.dataset.size,
        )


def for_photos(experiment: Experiment) -> Experiment:
    """The experiment with the rows that need no result of a run of it: all but those of the adapted restorer."""
    rows = {name: row for name, row in OWN.items() if not row.needs_run}
    able = [name for name, row in rows.items() if all(getattr(experiment, section) for section in row.sections)]
    compare = {
        name: other
        for name, other in experiment.compare.items()
        if not (isinstance(other, Comparison) and other.estimator == "adapted")
    }
    return experiment.model_copy(update={"methods": tuple(able), "compare": compare})
