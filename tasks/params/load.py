"""The settings as typed, strict models: the only place that reads params.yaml (the demo) and the files of the others.

An experiment is a file data/experiments/NAME.yaml, a network to train a file data/weights/NAME.yaml. Every stage gets
just the model of its own settings, so that its key depends on nothing else. A wrong key or value is reported with its
file, its full path and the nearest valid name, before any work starts. Entries are checked one by one: a fault of one
experiment stops no other.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tasks.basics import ROOT, BadInput, Strict, checked_name, suggestion
from tasks.models.model import Model, checked_model_name
from tasks.params.checks import oversights
from tasks.params.experiment import Experiment
from tasks.params.extends import Entry, Written, resolved
from tasks.params.messages import Fault, Faults, validated
from tasks.params.published import FOLDER, Papers, read_papers, unknown_experiments, with_published
from tasks.params.reading import read_yaml

PARAMS_FILE = ROOT / "params.yaml"
FOLDERS = {"experiments": ("data/experiments", ["*.yaml"]), "models": ("data/weights", ["*.yaml", "*/*.yaml"])}
MOVED = f"the papers' claims and numbers are in {FOLDER}: write them there, below the experiment's name"

T = TypeVar("T")
M = TypeVar("M", bound=Strict)
Check = Callable[[Entry, Papers], T]
"""An entry to what it is. Raises Faults, or BadInput about a paper's file."""

Entries = Mapping[str, Written]
"""The entries of a section by name: those of params.yaml, then the files of its folder."""


class Params(Strict):
    """All settings."""

    experiments: dict[str, Experiment]
    models: dict[str, Model]


def load_experiment(name: str, path: Path = PARAMS_FILE) -> Experiment:
    """One experiment. Raises BadInput with all its faults, or with the nearest name if there is none."""
    return _one("experiments", name, path, _experiment)


def load_model(name: str, path: Path = PARAMS_FILE) -> Model:
    """How one network is trained. Raises BadInput as `load_experiment` does."""
    return _one("models", name, path, _model)


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check all entries. Raises BadInput that lists the faults of every one; an inherited fault comes once."""
    inside, papers = _sections(path), read_papers(path.parent)
    written = {section: _entries(section, path, inside) for section in FOLDERS}
    lines = dict.fromkeys(unknown_experiments(written["experiments"], papers))
    experiments, faults = _all(written["experiments"], papers, _experiment)
    models, more_faults = _all(written["models"], papers, _model)
    if lines := lines | faults | more_faults:
        raise BadInput("\n".join(lines))
    return Params.model_construct(experiments=experiments, models=models)


def entries(section: str, path: Path = PARAMS_FILE) -> Entries:
    """Where all entries of a section are written, valid or not. Raises BadInput if params.yaml cannot be read."""
    return _entries(section, path, _sections(path))


def _entries(section: str, path: Path, sections: Mapping[str, dict[str, Any]]) -> Entries:
    inside, files = sections.get(section, {}), _files(section, path)
    here = {name: Written(f"{path.name}: {section}.{name}", ".", partial(inside.get, name)) for name in inside}
    there = {name: Written(shown, ": ", partial(read_yaml, path.parent / shown)) for name, shown in files}
    twice = {name: _twice(here[name], there[name]) for name in here if name in there}
    return here | there | twice


def _sections(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of params.yaml by section. Raises BadInput if the file is no mapping of sections of such."""
    raw, valid = read_yaml(path), list(Params.model_fields)
    if not isinstance(raw, dict):
        raise BadInput(f"{path.name}: expected the sections {', '.join(valid)}, found {raw!r:.80}")
    for key, value in raw.items():
        if key not in valid:
            raise BadInput(f"{path.name}: {key}: unknown key.{suggestion(key, valid)} Valid: {', '.join(valid)}")
        if not isinstance(value, dict):
            raise BadInput(f"{path.name}: {key}: expected entries (name: settings), found {value!r:.80}")
    return raw


def _files(section: str, path: Path) -> Iterator[tuple[str, str]]:
    """The name and the path, relative to params.yaml, of each entry that has a file of its own."""
    folder, patterns = FOLDERS[section]
    for file in sorted(file for pattern in patterns for file in (path.parent / folder).glob(pattern)):
        if file.name != "dvc.yaml":
            name = file.relative_to(path.parent / folder).with_suffix("").as_posix()
            yield name, str(file.relative_to(path.parent))


def _twice(one: Written, other: Written) -> Written:
    def read() -> Any:
        raise BadInput(f"{one.place} and {other.place} have one name. Take one away, or name it otherwise.")

    return Written(one.place, one.joint, read)


def _all(found: Entries, papers: Papers, check: Check[T]) -> tuple[dict[str, T], dict[str, None]]:
    """The valid entries of a section, and the messages about the others."""
    valid: dict[str, T] = {}
    faulty: dict[str, tuple[Entry, tuple[Fault, ...]]] = {}
    lines: dict[str, None] = {}
    for name in found:
        try:
            entry = resolved(found, name)
            valid[name] = check(entry, papers)
        except Faults as error:
            faulty[name] = entry, error.found
        except BadInput as error:
            lines |= dict.fromkeys(str(error).splitlines())
    for entry, faults in faulty.values():
        inherited = {fault for parent in entry.parents if parent in faulty for fault in faulty[parent][1]}
        lines |= dict.fromkeys(entry.message(fault) for fault in faults if fault not in inherited)
    return valid, lines


def _one(section: str, name: str, path: Path, check: Check[T]) -> T:
    if name not in (found := entries(section, path)):
        near = suggestion(name, found)  # there are fifty: all are said only where none is near
        raise BadInput(f"{section}: there is no {name!r}.{near or ' Valid: ' + ', '.join(found)}")
    entry = resolved(found, name)
    try:
        return check(entry, read_papers(path.parent))
    except Faults as error:
        raise BadInput("\n".join(entry.message(fault) for fault in error.found)) from error


def _experiment(entry: Entry, papers: Papers) -> Experiment:
    checked = _named(entry, checked_name)
    moved = [(key, MOVED) for key in ("claims", "published") if key in entry.settings]
    if moved:
        raise Faults(moved)
    return with_published(checked, _seen(validated(Experiment, entry.settings)), papers)


def _model(entry: Entry, papers: Papers) -> Model:
    _named(entry, checked_model_name)
    return _seen(validated(Model, entry.settings))


def _seen(settings: M) -> M:
    if faults := [*oversights(settings)]:
        raise Faults(faults)
    return settings


def _named(entry: Entry, check: Callable[[str], str]) -> str:
    try:
        return check(entry.name)
    except ValueError as error:
        raise Faults([("", str(error))]) from error
