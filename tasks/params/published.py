"""The papers' own numbers and claims (data/published), each by the experiment that it is shown or checked in."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.basics import BadInput, Strict, suggestion
from tasks.params.experiment import Experiment
from tasks.params.messages import Faults, validated
from tasks.params.reading import read_yaml
from tasks.report.content import CLEANING, Claim, Published

FOLDER = Path("data", "published")  # beside params.yaml
ORDER = ("kuai", "yue_loy", "ding", "zhao", "yu")  # of the papers in the tables; others follow, by name


class Said(Strict):
    """What one paper says of one experiment. It belongs to that experiment alone, not to those that extend it."""

    tables: tuple[Published, ...] = Field(default=(), description="its numbers, shown beside ours")
    claims: tuple[Claim, ...] = Field(default=(), description="its statements, checked on our images")


Papers = Mapping[Path, Mapping[str, Any]]
"""Each file, by its path below the folder of params.yaml, with what it says of each experiment."""


def read_papers(root: Path) -> Papers:
    """The files of data/published below `root`, in the order of their tables and claims. Raises BadInput."""
    rank = {stem: position for position, stem in enumerate(ORDER)}
    files = sorted((root / FOLDER).glob("*.yaml"), key=lambda path: (rank.get(path.stem, len(ORDER)), path.stem))
    papers = {FOLDER / path.name: read_yaml(path) for path in files}
    for file, raw in papers.items():
        if not isinstance(raw, dict):
            raise BadInput(f"{file}: expected experiments (name: tables and claims), found {raw!r:.80}")
    return papers


def with_published(name: str, experiment: Experiment, papers: Papers) -> Experiment:
    """The experiment with what the papers say of it. Raises BadInput with the file and the key of each fault."""
    tables: tuple[Published, ...] = ()
    claims: tuple[Claim, ...] = ()
    faults: list[str] = []
    for file, raw in papers.items():
        if name not in raw:
            continue
        try:
            said = validated(Said, raw[name])
            _check_claims(said.claims, experiment)
            _check_joins(said.tables, experiment)
        except Faults as error:
            faults += [f"{file}: {name}{'.' if key else ''}{key}: {text}" for key, text in error.found]
            continue
        tables, claims = tables + said.tables, claims + said.claims
    if faults:
        raise BadInput("\n".join(faults))
    return experiment.model_copy(update={"published": tables, "claims": claims})


def unknown_experiments(known: Collection[str], papers: Papers) -> Iterator[str]:
    """A message for each experiment that a paper is said to be about, and that is not there."""
    for file, raw in papers.items():
        for name in raw:
            if name not in known:
                yield f"{file}: {name}: there is no such experiment.{suggestion(name, known)}"


def _check_joins(tables: tuple[Published, ...], experiment: Experiment) -> None:
    """Every number stands beside one of ours, but for those that the table says are not had here."""
    faults = []
    for position, table in enumerate(tables):
        had: dict[str, str] = {}  # of each name, what it is that we have; "" for nothing
        for where, kind, name, valid in _names(table, experiment):
            had[name] = kind if name in valid else had.get(name, "")
            if name not in valid and name not in table.elsewhere:
                text = (
                    f"{where}there is no {kind} {name!r}.{suggestion(name, valid)}"
                    f" Correct it, or name it in `elsewhere`. Valid: {', '.join(valid)}"
                )
                faults.append((f"tables.{position}", text))
        for name in table.elsewhere:
            if kind := had.get(name, "name"):
                text = f"the experiment has this {kind}: take it out" if name in had else "the table has no such name"
                faults.append((f"tables.{position}.elsewhere", f"{name!r}: {text}"))
    if faults:
        raise Faults([*dict.fromkeys(faults)])


def _names(table: Published, experiment: Experiment) -> Iterator[tuple[str, str, str, Collection[str]]]:
    """Where each name of a table stands, what it names, the name, and what the experiment has of the kind there."""
    cleaning = experiment.cleaning
    parts = (*experiment.parts, *experiment.means, *((CLEANING,) if cleaning else ()))
    for part, rows in table.scores.items():
        yield "", "degradation", part, parts
        methods, metrics = experiment.table, experiment.metrics
        if cleaning and part == CLEANING:
            methods, metrics = ("before", "after"), cleaning.metrics
        for method, values in rows.items():
            yield f"{part}: ", "method", method, methods
            yield from ((f"{part}: ", "metric", metric, metrics) for metric in values)
    for method in table.seconds:
        yield "seconds: ", "method", method, experiment.table


def _check_claims(claims: tuple[Claim, ...], experiment: Experiment) -> None:
    faults = []
    for position, claim in enumerate(claims):
        known = {
            "degradation": experiment.parts,
            "metric": experiment.metrics,
            "better": experiment.table,
            "than": experiment.table,
        }
        for key, valid in known.items():
            if (value := getattr(claim, key)) not in valid:
                text = f"the experiment has no {value!r}.{suggestion(value, valid)} Valid: {', '.join(valid)}"
                faults.append((f"claims.{position}.{key}", text))
    if faults:
        raise Faults(faults)
