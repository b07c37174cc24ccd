"""Commands for weight files, stored results and reports."""

import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.types import NonNegativeFloat, PositiveInt

from flows.command import FILES, PLAIN, Output, Result, app
from tasks.basics import ROOT, BadInput, with_home

Flag = Annotated[bool, Parameter(negative="", show_default=False)]

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tasks.params.experiment import Experiment
    from tasks.store.store import Found, Store
    from tasks.weights.file import WeightFile


@app.command(group=FILES)
def fetch(*files: str, output: Output = PLAIN) -> Result:
    """Download official weights into data/weights, verified by their SHA-256; a broken download goes on.

    By it you agree with their terms, which are shown. BFR_MIRROR names another server that has the files by these
    names; with BFR_OFFLINE or HF_HUB_OFFLINE nothing is downloaded.

    Parameters
    ----------
    files
        As `bfr weights` lists them, or methods of `bfr restore`: gfpgan, codeformer ...
    """
    from flows.restore import METHODS
    from flows.whole_photos import files_of
    from tasks.basics import WEIGHTS, suggestion
    from tasks.weights.fetch import fetch as fetch_file
    from tasks.weights.official import OFFICIAL

    if not files:
        raise BadInput("Which files? `bfr weights` lists them.")
    places: dict[str, None] = {}
    for name in files:
        if name not in OFFICIAL and name not in METHODS:
            near = suggestion(name, [*OFFICIAL, *METHODS])
            raise BadInput(f"There is no registered file {name!r}.{near} `bfr weights` lists them.")
        places |= dict.fromkeys([name] if name in OFFICIAL else [file.place for file in files_of(*METHODS[name])])
    paths = {place: str(fetch_file(OFFICIAL[place], WEIGHTS)) for place in places}
    return Result("\n".join(f"{path} ({OFFICIAL[name].licence})" for name, path in paths.items()), paths, output=output)


@app.command(group=FILES)
def weights(*, output: Output = PLAIN) -> Result:
    """List the registered weight files: which are there, their size and licence; and what each experiment lacks."""
    from tasks.basics import WEIGHTS
    from tasks.params.load import load
    from tasks.weights.official import OFFICIAL

    known = dict(sorted(OFFICIAL.items()))
    sizes = {name: (WEIGHTS / name).stat().st_size if (WEIGHTS / name).is_file() else None for name in known}
    text = [f"{_mebibytes(sizes[name]):>11} {_full(file)} {name}  ({file.licence})" for name, file in known.items()]
    params = load()
    lacking = {name: missing_weights(experiment, params.models) for name, experiment in params.experiments.items()}
    text += ["", *_lacking_lines(lacking, shutil.get_terminal_size().columns)]
    text += ["", "To get one, if you agree with its terms: bfr fetch FILE, or METHOD of bfr restore."]
    text += ["What is trained here: bfr train NAME"]
    files = {
        name: {"bytes": sizes[name], "full_bytes": file.size or None, "licence": file.licence, "url": file.url}
        for name, file in known.items()
    }
    return Result("\n".join(text), {"files": files, "lacking": lacking}, output=output)


def missing_weights(experiment: "Experiment", models: "Iterable[str]") -> dict[str, int | str | None]:
    """The files that an experiment lacks, those of its metrics included: bytes, None where not known, or how to train
    it."""
    from tasks.basics import WEIGHTS
    from tasks.metrics.registry import find
    from tasks.weights.official import OFFICIAL

    own = [ROOT / path for path in experiment.weights]
    of_metrics = [WEIGHTS / file.place for metric in experiment.all_metrics for file in find(metric).needs]
    trained = {WEIGHTS / f"{name}.safetensors": name for name in models}
    found: dict[str, int | str | None] = {}
    for path in dict.fromkeys([*own, *of_metrics]):
        place = path.relative_to(WEIGHTS).as_posix() if path.is_relative_to(WEIGHTS) else str(path)
        if not path.is_file():
            size = OFFICIAL[place].size if place in OFFICIAL else 0
            found[place] = f"bfr train {trained[path]}" if path in trained else size or None
    return found


def _lacking_lines(lacking: "Mapping[str, Mapping[str, int | str | None]]", columns: int) -> "Iterator[str]":
    """What experiments lack; those that lack the same are named together."""
    alike: dict[frozenset[str], list[str]] = {}
    for name, files in lacking.items():
        if files:
            alike.setdefault(frozenset(files), []).append(name)
    for names in alike.values():
        text = f"{', '.join(names)} {'lacks' if len(names) == 1 else 'lack'} {_summed(lacking[names[0]])}"
        yield from textwrap.wrap(
            text, columns, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )


def _summed(files: "Mapping[str, int | str | None]") -> str:
    sizes = [size for size in files.values() if isinstance(size, int)]
    unknown = sum(size is None for size in files.values())
    rest = f" and {unknown} of unknown size" if unknown else ""
    names = [f"{place} ({size})" if isinstance(size, str) else place for place, size in files.items()]
    return f"{len(files)} files, about {sum(sizes) / 2**20:.0f} MiB{rest}: {', '.join(names)}"


def _full(file: "WeightFile") -> str:
    return f"{f'of {file.size / 2**20:.0f} MiB' if file.size else '':>11}"


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
def verify(*, dry_run: Flag = False, output: Output = PLAIN) -> Result:
    """Hash every stored result anew; delete those that are damaged.

    Parameters
    ----------
    dry_run
        Only list them.
    """
    from tasks.running.stage import default_store

    store = default_store()
    return found_in(store, store.verify(dry_run=dry_run), output)


@app.command(group=FILES)
def prune(*, days: NonNegativeFloat, dry_run: Flag = False, output: Output = PLAIN) -> Result:
    """Delete stored results that were not used lately.

    Parameters
    ----------
    days
        Results not used for so many days are deleted.
    dry_run
        Only list them.
    """
    from tasks.running.stage import default_store

    store = default_store()
    return found_in(store, store.prune(days, dry_run=dry_run), output, code=0)


def found_in(store: "Store", found: "list[Found]", output: Output, code: int = 1) -> Result:
    """What `prune` or `verify` found, line by line; the exit code is for finding anything."""
    lines = [f"{path}: {reason}{'. Deleted.' if is_deleted else ''}" for path, reason, is_deleted in found]
    deleted = sum(each.is_deleted for each in found)
    still = f", {len(found) - deleted} listed and left" if deleted < len(found) else ""
    text = f"{store.root}: {deleted} deleted{still}."
    data = [{"path": str(each.path), "reason": each.reason, "deleted": each.is_deleted} for each in found]
    return Result("\n".join([*lines, text]), data, code if found else 0, output)


@app.command(group=FILES)
def diff(old: Path, new: Path, *, out: Path, output: Output = PLAIN) -> Result:
    """Write a page about what changed between two runs.

    Parameters
    ----------
    old
        An experiment's folder, like data/demo.
    new
        Another one.
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
    *folders: str, out: Path, lq: Path | None = None, trials: PositiveInt = 40, seed: int = 0, output: Output = PLAIN
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
    named = {name: with_home(Path(folder)) for name, _, folder in (text.partition("=") for text in folders)}
    if len(named) < len(folders) or "" in named:
        raise BadInput(f"expected another NAME for each FOLDER, found {' '.join(folders)}")
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
