"""The published places of results: where an experiment's, and where a user's go."""

import errno
import logging
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tasks.basics import ROOT, BadInput, Strict, with_home
from tasks.data.holes import hole_shares
from tasks.data.ingest import discover, image_ids, named_otherwise, own_names
from tasks.running.apart import side_by_side
from tasks.running.stage import Source, Stage, default_store
from tasks.stages.ingest import read_cropped
from tasks.stages.named import NamedParams, named
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import disk_explained, write_text
from tasks.store.keys import digest
from tasks.store.locks import locked, locked_for
from tasks.store.ownership import (
    ADVICE,
    IGNORE,
    check_replaceable,
    manifest_of,
    published_below,
    remove_result,
    shown,
)
from tasks.store.publish import publish

LOG = logging.getLogger(__name__)
Run = Callable[..., ImageFolder]


TRAINED = "model.safetensors"  # what a stage that trains writes


OWN_FOLDERS = (
    "demo",
    "demo_store",
    "experiments",
    "published",
    "weights",
    ".store",
    ".prefect",
)  # of data/, not a user's


def run_here(stage: Stage, params: Strict, at: str = "", /, **inputs: Source) -> ImageFolder:
    """The plain driver: call the stage. at: what the result is, for drivers that show it."""
    return stage(params, **inputs)


def check_own(file: str) -> None:
    """Raises BadInput if a flow's file is of another checkout than the modules that it uses: their results go there."""
    if not is_within(Path(file).resolve(), ROOT):
        raise BadInput(
            f"{file} was to run in the environment of {ROOT}, another checkout, where its results would go. "
            "Run it in its own environment: a work pool for each checkout."
        )


def folder_of(experiment: str) -> Path:
    """Where an experiment's results go: the demo's to data/demo, others' to the DVC project data/experiments."""
    return ROOT / "data" / "demo" if experiment == "demo" else ROOT / "data" / "experiments" / experiment


MAKERS = {"finetune": "adapt", "personalize": "personalize"}  # of models, by the stage that trains


def results_folder(
    out: str | None, suffix: str, inputs: Mapping[str, str | None], trains: str = ""
) -> tuple[Path, dict[str, Path]]:
    """Where a user's results go, and the user's folders; nothing is read there yet.

    out: the folder that the user names, else that of the first input with `_<suffix>` behind its name; inputs: folders
    of photos by parameter; trains: the stage that makes a model there.
    Raises BadInput for relative paths; where inputs and results would lie in one another, or either in what is bfr's
    own; and for a folder that holds anything but results of bfr, or a model of another command (with its report, which
    would be beside other photos), or may not be written.
    """
    folders = {name: absolute(path, name) for name, path in inputs.items() if path is not None}
    _check_apart(folders)
    root = absolute(beside(next(iter(inputs.values())), suffix) if out is None else out, "out")
    if out is None and root.is_relative_to(ROOT):
        raise BadInput(f"out: the results would go to {root}, into the checkout of bfr. Name a folder for them.")
    _check_apart({"out": root})
    for name, folder in folders.items():
        if is_within(folder, root) or is_within(root, folder):
            raise BadInput(f"{name}: {folder} and {root} (out) lie in one another. Name another folder as out.")
    _check_free(root)
    model = manifest_of(root / "model")
    if model and model.stage != trains:
        maker = MAKERS.get(model.stage, model.stage)
        raise BadInput(f"out: {root} holds a model of `bfr {maker}`, which would be lost. Name another folder.")
    return root, folders


def beside(folder: str | None, suffix: str) -> str:
    """The folder beside another, or beside a photo, with `_<suffix>` behind its name."""
    path = Path(os.path.normpath(str(folder)))
    return f"{path.with_suffix('') if path.is_file() else path}_{suffix}"


def absolute(path: str, name: str) -> Path:
    """An absolute path, links followed. Raises BadInput for one that no file can have, and for a relative one: it means
    another place to every process."""
    if not (found := with_home(Path(path))).is_absolute():
        raise BadInput(f"{name}: expected an absolute path, found {path!r}. Say the whole path.")
    try:
        found.exists()
        return found.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # too long, links in a circle, a zero byte
        raise BadInput(f"{name}: {path!r} cannot be used as a path ({error}). Correct it.") from error


def is_within(inner: Path, outer: Path) -> bool:
    """Whether a folder is another, or lies in it; also by another spelling on a disk that ignores case."""
    outer_exists = outer.exists()
    return any(
        path == outer or (outer_exists and path.exists() and path.samefile(outer)) for path in (inner, *inner.parents)
    )


def _check_apart(folders: Mapping[str, Path]) -> None:
    own = [*(ROOT / "data" / name for name in OWN_FOLDERS), default_store().root.resolve()]
    for name, folder in folders.items():
        for place in own:
            if is_within(folder, place) or is_within(place, folder):
                raise BadInput(f"{name}: {folder} and {place}, which is bfr's own, lie in one another. Choose another.")


def _check_free(root: Path) -> None:
    """Nothing is made yet, so that a run that fails leaves no empty folder behind."""
    there = next(path for path in (root, *root.parents) if path.exists())
    if not there.is_dir():
        raise BadInput(f"out: {there} is a file; expected a folder for the results.")
    with disk_explained(there, "Make room, or name another folder as `out`.", "Name another folder as `out`."):
        if there == root:
            check_results(root)
        try:
            tempfile.TemporaryFile(dir=there).close()
        except OSError as error:
            if error.errno == errno.ENOENT:  # in /proc, say
                raise BadInput(f"out: no file can be made in {there}. Name another folder as `out`.") from error
            error.filename = str(there)  # not the file that was tried
            raise


def check_results(root: Path) -> None:
    """Raises BadInput unless a folder holds nothing but unchanged results of bfr."""
    results, others = published_below(root)
    if others:
        raise BadInput(f"out: {root} holds files that are not results of bfr: {shown(others)}. {ADVICE}")
    for folder in results:
        check_replaceable(folder)


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def say_replaced(earlier: Manifest | None, now: Manifest, root: Path) -> None:
    """Say that the results of other settings (of whatever photos) were replaced. earlier: None if there were none."""
    if earlier and _settings_of(earlier) != _settings_of(now):
        LOG.warning("The results in %s, of another method, seed, weights or settings, were replaced.", root)


def _settings_of(made: Manifest) -> object:
    return made.params.get("settings", made.params), {name: made.inputs.get(name) for name in ("weights", "estimator")}


def say_set_aside(*taken: ImageFolder) -> None:
    """Say which of a user's files could not be used, and why, and which are not square and were cropped."""
    for file, reason in (row for images in taken for row in images.quarantine):
        LOG.warning("Set aside: %s: %s", file, reason)
    if cropped := [row for images in taken for row in read_cropped(images.root)]:
        first = ", ".join(row.file for row in cropped[:3]) + (", …" if cropped[3:] else "")
        LOG.warning("Not square, their centre was taken (cropped.csv): %d, %s", len(cropped), first)


def say_holes(lq: ImageFolder) -> None:
    """Say how much of the photos is to be filled. Raises BadInput if that is nothing."""
    shares = hole_shares(lq)
    whole, holed = [name for name in lq.ids if not shares[name]], [share for share in shares.values() if share]
    if not holed:
        raise BadInput(
            "None of the photos has a hole, so there is nothing to fill: expected truly black pixels, or masks "
            "(--masks: a folder with a mask for each photo, white where it is to be filled)."
        )
    LOG.info("Holes: %.1f %% of a photo on average, in %d photos.", 100 * sum(holed) / len(holed), len(holed))
    if whole:
        first = ", ".join(whole[:3]) + (", …" if whole[3:] else "")
        LOG.warning("Without a hole, so nothing is filled: %d photos, %s", len(whole), first)


def remove_results(root: Path, kept: Collection[str]) -> None:
    """Remove the published results below a folder but for some, by name. A log line names those that stay."""
    for folder in published_below(root)[0] if root.exists() else ():
        if folder.relative_to(root).as_posix() not in kept:
            remove_result(folder)
            for above in folder.parents:
                if above.parent == root or above == root or any(above.iterdir()):
                    break
                above.rmdir()


def hide_from_git(root: Path) -> None:
    """A user's results that lie in the checkout are no part of it."""
    if root.is_relative_to(ROOT) and not (root / IGNORE[0]).exists():
        root.mkdir(parents=True, exist_ok=True)
        write_text(root / IGNORE[0], IGNORE[1])


@contextmanager
def alone_in(root: Path) -> Iterator[None]:
    """Keep other runs out of a folder of results while the block runs. Raises BadInput if one is at work there."""
    lock = default_store().root / "locks" / f"results-{digest(str(root.resolve()))}"
    with locked(lock, wait=False, remove=True) as is_held:
        if not is_held:
            raise BadInput(f"Another run writes to {root}. Wait for it to end, or name another folder: --out.")
        yield


@dataclass
class Workspace:
    """The named results of one experiment, published below `root`; `run_stage` is the driver that makes them."""

    root: Path
    run_stage: Run = run_here
    results: dict[str, ImageFolder] = field(default_factory=dict)

    def make(self, at: str, stage: Stage, params: Strict, **inputs: Source) -> ImageFolder:
        """Make a result and publish it under its name; if just this one is published there, it is taken."""
        self.finds(at, stage, params, **inputs)
        result = self.run_stage(stage, params, at, **inputs)
        publish(result.root, self.place(at))
        self.results[at] = result
        return result

    def make_all(self, stage: Stage, params: Strict, inputs: Mapping[str, Mapping[str, Source]], count: int) -> None:
        """Make independent results of a stage, `count` of them side by side. inputs: by the results' names."""
        side_by_side([partial(self.make, at, stage, params, **of) for at, of in inputs.items()], count)

    def finds(self, at: str, stage: Stage, params: Strict, **inputs: Source) -> bool:
        """Whether a result is in the store; one that is published under its name is taken into it."""
        return default_store().adopt(stage.record(params, **inputs), self.place(at))

    @contextmanager
    def held(self, settings: Strict) -> Iterator[None]:
        """Keep runs of other settings out of the folder while the block runs, or wait for theirs to end.

        Runs of the same settings help one another: they make the same results, and each of them once.
        """
        self.root.parent.mkdir(parents=True, exist_ok=True)
        lock = self.root.with_name(f".{self.root.name}.lock")
        on_wait = partial(LOG.warning, "%s: another run has other settings. This one waits.", self.root.name)
        with locked_for(digest(settings.model_dump(mode="json")), lock, on_wait):
            yield

    def place(self, at: str) -> Path:
        """Where a result is published. Raises BadInput if a link on the way there leads elsewhere."""
        destination = self.root / at
        for folder in destination.parents:
            if folder == self.root:
                break
            if folder.is_symlink():
                raise BadInput(f"{folder} is a link; results go to folders. {ADVICE}")
        return destination

    def publish_photos(self, images: ImageFolder, folder: Path) -> None:
        """Publish images as `photos`, by the names and in the sub-folders that the photos in `folder` have."""
        paths = image_ids(discover(folder), folder)
        names = own_names(paths, folder)
        if other := named_otherwise(names, paths, folder):
            LOG.warning("Results with other names than their photos: %s", "; ".join(other))
        self.make("photos", named, NamedParams(names={name: names[name] for name in images.ids}), images=images)

    def remove_others(self, keep: str = "", below: str = "") -> None:
        """Remove the results of earlier runs that do not belong to this one, but for `keep`, which is yet to come.

        below: a folder, where others are none of this run's. A log line names those that hold anything of a user's:
        they stay.
        """
        remove_results(self.root / below, {at.removeprefix(f"{below}/") for at in (*self.results, keep)})

    def folder(self, name: str) -> None:
        """Make a step's folder."""
        (self.root / name).mkdir(parents=True, exist_ok=True)

    def __getitem__(self, name: str) -> ImageFolder:
        """An earlier result: of this run, else of the workspace folder (its copy in the store where there is one)."""
        if name not in self.results:
            published = ImageFolder(self.root / name)
            manifest = published.manifest
            stored = default_store().path(manifest.stage, manifest.key)
            self.results[name] = ImageFolder(stored) if default_store().has(manifest.stage, manifest.key) else published
        return self.results[name]


class Drafts(Workspace):
    """A workspace whose results stay in the store until all are there: a run that fails leaves nothing half done."""

    def make(self, at: str, stage: Stage, params: Strict, **inputs: Source) -> ImageFolder:
        """Make a result; one that is published under its name is taken."""
        self.finds(at, stage, params, **inputs)
        self.results[at] = self.run_stage(stage, params, at, **inputs)
        return self.results[at]

    def publish_with(self, details: "Workspace") -> None:
        """Publish all results, and those of `details` below it; what else was published in the folder goes.

        Raises BadInput if another run writes there.
        """
        below = details.root.relative_to(self.root).as_posix()
        self.results |= {f"{below}/{at}": made for at, made in details.results.items()}
        with alone_in(self.root):
            hide_from_git(self.root)
            self.remove_others()
            for at, made in self.results.items():
                publish(made.root, self.place(at))
