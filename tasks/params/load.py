"""params.yaml as typed, strict models: the only place that reads the file.

Every stage gets just the model of its own settings, so that its key depends on nothing else. A wrong key or value is
reported with its full path and the nearest valid name, before any work starts. Entries are checked one by one: a fault
of one experiment stops no other.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tasks.basics import ROOT, BadInput, Strict, checked_name, suggestion
from tasks.models.model import Model, checked_model_name
from tasks.params.experiment import Experiment
from tasks.params.extends import Entry, resolved
from tasks.params.messages import Fault, Faults, validated
from tasks.params.published import FOLDER, Papers, read_papers, unknown_experiments, with_published
from tasks.params.reading import read_yaml

PARAMS_FILE = ROOT / "params.yaml"
MOVED = f"the papers' claims and numbers are in {FOLDER}: write them there, below the experiment's name"

T = TypeVar("T")
Check = Callable[[Entry, Papers], T]
"""An entry to what it is. Raises Faults, or BadInput about a paper's file."""

Sections = Mapping[str, Mapping[str, Any]]


class Params(Strict):
    """The whole of params.yaml."""

    experiments: dict[str, Experiment]
    models: dict[str, Model]


def load_experiment(name: str, path: Path = PARAMS_FILE) -> Experiment:
    """One experiment of params.yaml. Raises BadInput with all its faults, or with the nearest name if there is none."""
    return _one("experiments", name, path, _experiment)


def load_model(name: str, path: Path = PARAMS_FILE) -> Model:
    """How one model of params.yaml is trained. Raises BadInput as `load_experiment` does."""
    return _one("models", name, path, _model)


def experiment_names(path: Path = PARAMS_FILE) -> tuple[str, ...]:
    """The names of all experiments, valid or not. Raises BadInput if the file cannot be read."""
    return tuple(_sections(path)["experiments"])


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check all entries. Raises BadInput that lists the faults of every one; an inherited fault comes once."""
    sections = _sections(path)
    papers = read_papers(path.parent)
    lines = dict.fromkeys(unknown_experiments(sections["experiments"], papers))
    experiments, faults = _all(_where("experiments", path), sections["experiments"], papers, _experiment)
    models, more_faults = _all(_where("models", path), sections["models"], papers, _model)
    if lines := lines | faults | more_faults:
        raise BadInput("\n".join(lines))
    return Params.model_construct(experiments=experiments, models=models)


def _all(
    where: str, entries: Mapping[str, Any], papers: Papers, check: Check[T]
) -> tuple[dict[str, T], dict[str, None]]:
    """The valid entries of a section, and the messages about the others."""
    found: dict[str, T] = {}
    faulty: dict[str, tuple[Entry, tuple[Fault, ...]]] = {}
    lines: dict[str, None] = {}
    for name in entries:
        try:
            entry = resolved(where, entries, name)
            found[name] = check(entry, papers)
        except Faults as error:
            faulty[name] = entry, error.found
        except BadInput as error:
            lines |= dict.fromkeys(str(error).splitlines())
    for entry, faults in faulty.values():
        inherited = {fault for parent in entry.parents if parent in faulty for fault in faulty[parent][1]}
        lines |= dict.fromkeys(entry.message(fault) for fault in faults if fault not in inherited)
    return found, lines


def _one(section: str, name: str, path: Path, check: Check[T]) -> T:
    where, entries = _where(section, path), _sections(path)[section]
    if name not in entries:
        raise BadInput(f"{where}: there is no {name!r}.{suggestion(name, entries)} Valid: {', '.join(entries)}")
    entry = resolved(where, entries, name)
    try:
        return check(entry, read_papers(path.parent))
    except Faults as error:
        raise BadInput("\n".join(entry.message(fault) for fault in error.found)) from error


def _where(section: str, path: Path) -> str:
    return f"{path.name}: {section}"


def _sections(path: Path) -> Sections:
    """The entries of each section, as they are written. Raises BadInput if the file is no mapping of such."""
    raw = read_yaml(path)
    valid = list(Params.model_fields)
    if not isinstance(raw, dict):
        raise BadInput(f"{path.name}: expected the sections {', '.join(valid)}, found {raw!r:.80}")
    for section, entries in raw.items():
        if section not in valid:
            raise BadInput(
                f"{path.name}: {section}: unknown key.{suggestion(section, valid)} Valid: {', '.join(valid)}"
            )
        if not isinstance(entries, dict):
            raise BadInput(f"{path.name}: {section}: expected entries (name: settings), found {entries!r:.80}")
    return {section: raw.get(section, {}) for section in valid}


def _experiment(entry: Entry, papers: Papers) -> Experiment:
    checked = _named(entry, checked_name)
    moved = [(key, MOVED) for key in ("claims", "published") if key in entry.settings]
    if moved:
        raise Faults(moved)
    return with_published(checked, validated(Experiment, entry.settings), papers)


def _model(entry: Entry, papers: Papers) -> Model:
    _named(entry, checked_model_name)
    return validated(Model, entry.settings)


def _named(entry: Entry, check: Callable[[str], str]) -> str:
    try:
        return check(entry.name)
    except ValueError as error:
        raise Faults([("", str(error))]) from error
