"""What must be there before any work starts: weights and photos."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from flows.rows import Check, Row, check_names, rows_of
from tasks.basics import ROOT, BadInput, with_home
from tasks.data.datasets import Dataset, Split
from tasks.data.ingest import PhotoFolder, discover
from tasks.degradation.camera import load_camera
from tasks.params.experiment import Experiment
from tasks.weights.fetch import known, required
from tasks.weights.file import WeightFile


def check(
    experiment: Experiment,
    splits: Iterable[Split] = ("test", "real"),
    rows: Iterable[Row] | None = None,
    more: Sequence[Check] = (),
) -> None:
    """Raises BadInput, before any work starts, that lists all weights and photos that are not there; also for rows that
    are shown by one name.

    splits: whose photos are needed; rows: what will run, by default the whole table, its cleaning and reference sets;
    more: what else is needed.
    """
    table = [*(rows_of(experiment).values() if rows is None else rows)]
    check_names(table)
    needs = [need for row in table for need in row.checks()]
    needs += more
    if rows is None:
        needs += other_checks(experiment)
    folders = photo_folders(experiment.dataset)
    counted = {ROOT / with_home(folder) for folder, _ in experiment.dataset.expectations} if rows is None else set()
    wanted = [folder.path for split in splits for folder in folders.get(split, {}).values()]
    needs += [partial(discover, folder) for folder in wanted if folder not in counted]
    missing: dict[str, None] = {}
    for need in needs:
        try:
            need()
        except BadInput as error:
            missing[str(error)] = None
    if missing:
        raise BadInput("\n".join(missing))


def registered(needs: Iterable[Check]) -> dict[WeightFile, Path]:
    """The official weight files among what is needed, and where each belongs."""
    paths = [need.args[0] for need in needs if isinstance(need, partial) and need.func is required]
    return {file: path for path in paths if (file := known(path))}


def other_checks(experiment: Experiment) -> Iterator[Check]:
    """Of an experiment's cleaning, reference sets and photos of published sets."""
    if experiment.cleaning and experiment.cleaning.weights:
        yield partial(required, ROOT / experiment.cleaning.weights, "the first model of cleaning")
    for name, reference in experiment.references.items():
        if reference.images:
            yield partial(discover, ROOT / reference.images)
        elif reference.statistics:
            yield partial(required, ROOT / reference.statistics, f"the reference set {name!r}")
    for degradation in experiment.degradations.values():
        if degradation.camera:
            yield partial(camera_is_valid, ROOT / degradation.camera)
    for folder, expected in experiment.dataset.expectations:
        yield partial(photo_count_is, ROOT / with_home(folder), expected)


def camera_is_valid(path: Path) -> None:
    """Raises BadInput unless a camera file can be read."""
    if path.exists() and not path.is_file():
        raise BadInput(
            f"camera file {path}: expected a JSON file, found a folder, a pipe or a device. Correct the path."
        )
    load_camera(path)


def photo_count_is(folder: Path, expected: int | None) -> None:
    """Raises BadInput if the folder is missing, or warns where it has not as many photos as the published set."""
    try:
        found = len(discover(folder))
    except BadInput as error:
        raise BadInput(f"{error} The published set has {expected} photos." if expected else str(error)) from error
    if expected and found != expected:
        logging.getLogger(__name__).warning("%s has %d photos, the published set %d.", folder, found, expected)


def photo_folders(dataset: Dataset) -> dict[Split, dict[str, PhotoFolder]]:
    """What the stage `photos` reads for each split; nothing for rendered heads."""
    return {
        split: {"folder": PhotoFolder(ROOT / with_home(path))} if path else {}
        for split, path in dataset.sources.items()
    }
