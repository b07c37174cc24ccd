"""Golden tests run on any folder of golden data: `pytest tests/golden --golden DIR` (default: data, beside this file).

A test marked `golden("degradation/eq9_*.npz")` runs once for every file of that pattern and gets its path as `case`.
A pattern that finds no file in the default folder is an error; in another folder the test is skipped.
"""

from pathlib import Path

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
