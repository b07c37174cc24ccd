"""Golden tests run on any folder of golden data: `pytest tests/golden --golden DIR` (default: data, beside this file).

A test marked `golden("degradation/eq9_*.npz")` runs once for every file of that pattern and gets its path as `case`.
A pattern that finds no file in the default folder is an error; in another folder the test is skipped.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DATA = Path(__file__).parent / "data"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("golden")
    if marker is None:
        return
    folder = golden_folder(metafunc.config)
    cases = sorted(path for pattern in marker.args for path in folder.glob(pattern))
    if not cases and folder == DATA:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: no file matches {marker.args} in {folder}")
    metafunc.parametrize("case", cases, ids=[str(path.relative_to(folder)) for path in cases])


def golden_folder(config: pytest.Config) -> Path:
    given = config.getoption("golden")
    return Path(given).resolve() if given else DATA


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Path:
    """The folder with the golden data, for tests that need more than one file."""
    return golden_folder(request.config)


# ------------------------------------------------------------------------------------------ measured errors

ERRORS = pytest.StashKey[list[tuple[str, str, float, float]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ERRORS] = []


@pytest.fixture
def near(request: pytest.FixtureRequest) -> Callable[..., None]:
    """near(what, ours, theirs, tolerance): the largest absolute difference is at most the tolerance; it is noted."""
    case = request.getfixturevalue("case") if "case" in request.fixturenames else None

    def check(what: str, ours: Any, theirs: Any, tolerance: float) -> None:
        ours, theirs = (np.asarray(array, dtype=np.float64) for array in (ours, theirs))
        assert ours.shape == theirs.shape, f"{what}: {ours.shape} instead of {theirs.shape}"
        error = float(np.abs(ours - theirs).max(initial=0))
        name = case.relative_to(golden_folder(request.config)).as_posix() if case else request.node.name
        request.config.stash[ERRORS].append((name, what, error, tolerance))
        assert error <= tolerance, f"{what}: the largest error is {error:.3g}, the tolerance {tolerance:.3g}"

    return check


def pytest_terminal_summary(config: pytest.Config) -> None:
    """With --errors FILE: each golden file's quantity that comes nearest to its tolerance, as a Markdown table."""
    if not config.getoption("errors"):
        return
    quantities: dict[str, dict[str, tuple[float, float]]] = {}
    for name, what, error, tolerance in config.stash[ERRORS]:
        worst = quantities.setdefault(name, {})
        worst[what] = max(worst.get(what, (-1.0, 0.0)), (error, tolerance))
    rows = []
    for name, found in sorted(quantities.items()):
        nearness = {what: error / tolerance if tolerance else error for what, (error, tolerance) in found.items()}
        nearest = max(found, key=nearness.__getitem__)
        error, tolerance = found[nearest]
        rows.append(f"| {name} | {len(found)} | {nearest} | {error:.1e} | {tolerance:.1e} |")
    table = ["| Golden file | Quantities | Nearest to its tolerance | Error | Tolerance |", "|---|---:|---|---:|---:|"]
    Path(config.getoption("errors")).write_text("\n".join([*table, *rows]) + "\n", encoding="utf-8")
