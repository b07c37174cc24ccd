"""A blind side-by-side vote: a static page for people, and what their answers say (as IDM's user study needs).

The page knows neither method: which one is left in which trial stands in a file of its own, which stays with whoever
asks. People send back the JSON that the page saves.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from tasks.basics import BadInput
from tasks.noise import numpy_stream
from tasks.report.figures import picture
from tasks.report.templates import template
from tasks.store.files import read_json, read_png, write_json, write_text
from tasks.store.keys import digest

CHOICES = ("left", "right", "neither")


def write_ballot(folders: Mapping[str, Path], out: Path, trials: int, seed: int, lq: Path | None = None) -> None:
    """Write vote.html (to give away) and key.json (to keep) into `out`, which holds no other vote.

    folders: of each method's PNGs, by the method's name; lq: of the inputs, shown beside; trials: pairs to judge,
    spread evenly over the pairs of methods and over the photos that all folders have. Raises BadInput.
    """
    check_no_vote(out)
    if len(folders) < 2:
        raise BadInput("A vote compares at least two folders, given as name=folder.")
    named = {**folders, "the inputs": lq} if lq else dict(folders)
    for name, folder in named.items():
        if not folder.is_dir():
            raise BadInput(f"{name}: {folder} is not a folder; expected one of PNGs. Correct the path.")
    names = [{path.stem for path in folder.glob("*.png")} for folder in named.values()]
    photos = sorted(set.intersection(*names))
    if not photos:
        raise BadInput(f"No photo is in all of {', '.join(map(str, named.values()))}: expected PNGs of equal names.")
    pairs = [(photo, pair) for photo in photos for pair in combinations(folders, 2)]
    stream = numpy_stream(seed, "ballot", "")
    order = [pairs[n] for n in stream.permutation(len(pairs))][:trials]
    key, shown = [], []
    for photo, pair in order:
        left, right = pair if stream.random() < 0.5 else pair[::-1]
        key.append({"photo": photo, "left": left, "right": right})
        images = {"left": folders[left], "right": folders[right]} | ({"input": lq} if lq else {})
        shown.append({side: picture(side, read_png(folder / f"{photo}.png")) for side, folder in images.items()})
    name = digest([key, seed])[:16]
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "key.json", {"ballot": name, "trials": key})
    page = template("vote.html.j2").render(trials=shown, ballot=name)
    write_text(out / "vote.html", page)


def check_no_vote(out: Path) -> None:
    """Raises BadInput if a ballot would replace files: without its key, the answers to an earlier one say nothing."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file; expected a folder for the page and its key.")
    for name in ("key.json", "vote.html"):
        if os.path.lexists(out / name):
            raise BadInput(f"{out} holds {name} already. Name another folder, or move it away.")


@dataclass(frozen=True)
class Preference:
    """How often one method was preferred to another; low, high: Wilson's 95 % interval of the rate of all decisions;
    p: of the exact test that both are preferred equally often."""

    method: str
    other: str
    wins: int
    losses: int
    undecided: int
    rate: float
    low: float
    high: float
    p: float


def tally(key: Path, ballots: Sequence[Path]) -> list[Preference]:
    """What the saved answers say of each pair of methods. Raises BadInput for a file that is no answer to `key`."""
    asked = _read(key)
    trials = asked.get("trials")
    if not isinstance(trials, list) or not all(isinstance(t, dict) and {"left", "right"} <= t.keys() for t in trials):
        raise BadInput(f"{key}: trials: expected pairs {{left, right}}; is it the key.json of a ballot?")
    if len({path.resolve() for path in ballots}) < len(ballots):
        raise BadInput("One of the answers is named twice, and would count twice. Name each file once.")
    counts: dict[tuple[str, str], np.ndarray] = {}
    for path in ballots:
        answer = _read(path)
        if answer.get("ballot") != asked["ballot"]:
            raise BadInput(f"{path} answers another ballot than {key}.")
        votes = answer.get("votes")
        if not isinstance(votes, dict) or not all(
            n.isdecimal() and int(n) < len(trials) and choice in CHOICES for n, choice in votes.items()
        ):
            raise BadInput(f"{path}: votes: expected {{trial: {' | '.join(CHOICES)}}} for trials of {key}.")
        for n, choice in votes.items():
            trial = trials[int(n)]
            pair = tuple(sorted((trial["left"], trial["right"])))
            place = 2 if choice == "neither" else pair.index(trial[choice])
            counts.setdefault((pair[0], pair[1]), np.zeros(3, int))[place] += 1
    return [_preference(pair, *map(int, count)) for pair, count in sorted(counts.items())]


def _preference(pair: tuple[str, str], first: int, second: int, undecided: int) -> Preference:
    if first + second == 0:
        return Preference(*pair, first, second, undecided, *[float("nan")] * 4)
    test = binomtest(first, first + second)
    bounds = test.proportion_ci(method="wilson")
    figures = (float(test.statistic), float(bounds.low), float(bounds.high), float(test.pvalue))
    return Preference(*pair, first, second, undecided, *figures)


def tally_markdown(found: Sequence[Preference]) -> str:
    """A table of preference rates."""
    lines = ["| Preferred | to | wins | losses | undecided | rate | 95 % interval | p |", "|---|---|" + "---:|" * 6]
    lines += [
        f"| {f.method} | {f.other} | {f.wins} | {f.losses} | {f.undecided} | {f.rate:.1%} "
        f"| [{f.low:.1%}, {f.high:.1%}] | {f.p:.3g} |"
        for f in found
    ]
    return "\n".join([*lines, "", "Rates and intervals: of the decided votes, taken as independent."]) + "\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict) or "ballot" not in found:
        raise BadInput(f"{path}: expected an object with the key `ballot`.")
    return found
