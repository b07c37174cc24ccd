"""Files are written whole."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from flows.steps import write_numbers
from tasks.metrics.sets import FeatureStatistics
from tasks.report.plots import COLUMNS
from tasks.running.stage import default_store
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import copy_file, write_csv, write_json, write_png, write_text
from tasks.training.loop import save_state
from tasks.weights.checkpoint import write_state_dict

STATISTICS = FeatureStatistics("fid", "here", 2, np.zeros(3), np.eye(3))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: copy_file(Path(__file__), path),
        lambda path: write_text(path, "new"),
        lambda path: write_csv(path, ["a"], [["new"]]),
        lambda path: write_json(path, {"new": 1}),
        lambda path: write_png(path, np.zeros((2, 2, 3), np.uint8)),
        lambda path: write_state_dict(path.with_suffix(".safetensors"), {"new": torch.zeros(2)}),
        lambda path: write_state_dict(path.with_suffix(".pth"), {"new": torch.zeros(2)}),
        lambda path: save_state(path, {}, {}, []),
        STATISTICS.save,
    ],
)
def test_the_earlier_file_is_whole_until_the_new_one_is(write: Callable[[Path], None], tmp_path, monkeypatch):
    earlier = {tmp_path / f"a{ending}": tmp_path / f"other{ending}" for ending in ("", ".safetensors", ".pth")}
    for path, other in earlier.items():
        path.write_bytes(b"earlier")
        os.link(path, other)

    def fail(*_: object) -> None:
        assert {path.read_bytes() for path in earlier} == {b"earlier"}
        raise OSError("stopped before the end")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="stopped before the end"):
            write(tmp_path / "a")
    assert {*tmp_path.iterdir()} == {*earlier, *earlier.values()}  # and nothing half is left

    write(tmp_path / "a")
    assert sum(path.read_bytes() != b"earlier" for path in earlier) == 1
    assert {other.read_bytes() for other in earlier.values()} == {b"earlier"}


def test_two_runs_at_once_write_the_numbers_of_one_experiment(tmp_path, monkeypatch):
    def make(made: Path) -> None:
        write_json(made / "metrics.json", {"raw": {"a": {"psnr": 1}}})
        (made / "plots.csv").write_text(",".join(COLUMNS))

    (folder := tmp_path / "experiment").mkdir()
    record = Manifest(stage="report", key="1" * 64, params=None, inputs={}, code="", files={})
    report = ImageFolder(default_store().build(record, make))
    write_numbers(report, folder)
    copyfile = shutil.copyfile

    def copy(source: Path, path: Path) -> None:
        path.write_bytes(b"")  # as copyfile begins
        with monkeypatch.context() as patched:  # the other run comes just then
            patched.setattr(os, "getpid", lambda: -1)
            patched.setattr(shutil, "copyfile", copyfile)
            write_numbers(report, folder)
        copyfile(source, path)

    monkeypatch.setattr(shutil, "copyfile", copy)
    write_numbers(report, folder)
    names = {"metrics.json", "plots.csv"}
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        name: report.path(name).read_text() for name in names
    }
