"""What every test shares: a store of its own, so that a test neither reads nor leaves results in data/.store."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import CHROMIUM

# One thread a process, before torch is imported: pytest-xdist runs a process a core.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
os.environ["DVC_NO_ANALYTICS"] = "1"  # else each command of `dvc` in a test's own project starts one that reports it
# Where it is set (containers do), every process that a test starts would compile torch and Prefect anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# What is imported stays: collecting garbage among it takes a sixth of an import, and a tenth of the tests' time.
gc.disable()

# What takes minutes comes first, so that the processes of `pytest -n 2 --dist loadfile` end together.
LONGEST = (
    "flows/test_checkout.py",
    "flows/test_pipeline.py",
    "golden/",
    "devices/",
    "running/",
    "training/",
    "metrics/",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", metavar="DIR", help="folder of golden data for tests/golden (default: its own)")
    parser.addoption("--errors", metavar="FILE", help="write the errors that tests/golden measures, as Markdown")


def pytest_xdist_auto_num_workers() -> int:
    """Of `pytest -n auto`: one more than there are cores, for some tests wait for the servers that they start."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files first; what is marked `gpu` is there to be run where there is one."""
    import torch

    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not torch.cuda.is_available():
        config.hook.pytest_deselected(items=on_gpu)
        items[:] = [item for item in items if item not in on_gpu]
    items.sort(key=_place)
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # else libraries report at the exit that what they made was never freed


def _place(item: pytest.Item) -> int:
    return next((n for n, start in enumerate(LONGEST) if item.nodeid.startswith(f"tests/{start}")), len(LONGEST))


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Headless Chromium; for tests marked `in_chromium`."""
    with pytest.importorskip("playwright.sync_api").sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(autouse=True)
def store_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "store"
    monkeypatch.setenv("BFR_STORE", str(folder))
    return folder
