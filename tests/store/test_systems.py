"""Other systems and other places: no block sharing, links or locks; what a retry repeats; paths in results."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect import Task
from prefect.states import Failed

from tasks import nodes
from tasks.basics import ROOT, WEIGHTS, BadInput
from tasks.running.stage import default_store
from tasks.store.artifact import Artifact, Manifest
from tasks.store.publish import link_files, publish
from tasks.weights.file import MissingWeights, WeightFile


def result() -> Path:
    def fill(folder: Path) -> None:
        (folder / "a.png").write_bytes(b"pixels")

    record = Manifest(stage="work", key="1" * 64, params=None, inputs={}, code="", files={})
    return default_store().build(record, fill)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK])
def test_files_are_copied_where_the_file_system_has_no_links(number, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    source = result()
    monkeypatch.setattr(os, "link", refuse)
    link_files(source, tmp_path, ["a.png"])
    assert (tmp_path / "a.png").read_bytes() == (source / "a.png").read_bytes()


def test_results_are_published_where_the_system_cannot_share_blocks(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    publish(result(), tmp_path / "lq")
    assert Artifact(tmp_path / "lq").digest == Artifact(result()).digest


def test_results_are_published_where_folders_cannot_be_locked(tmp_path, monkeypatch):
    flock = fcntl.flock

    def on_files_only(descriptor: int, operation: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", on_files_only)
    publish(result(), tmp_path / "lq")
    assert Artifact(tmp_path / "lq").digest == Artifact(result()).digest


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_can_only_be_read_is_an_error_that_says_so(number, tmp_path, monkeypatch):
    source = result()

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(BadInput, match="this user may not read or write there"):
        publish(source, tmp_path / "data" / "lq")


def test_windows_is_told_about_wsl():
    code = "import sys; sys.platform = 'win32'; import tasks.basics"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "bfr does not run on Windows itself" in done.stderr
    assert "WSL" in done.stderr


def test_a_retry_repeats_only_what_can_pass():
    for error, is_tried_again in ((BadInput("no photos"), False), (OSError("a disk that is away"), True)):
        state = Failed(data=error, message=str(error))
        assert nodes.can_pass(None, None, state) is is_tried_again
    assert all(node.retry_condition_fn is nodes.can_pass for node in task_objects())


def task_objects() -> list[Task]:
    """The Prefect tasks inside of the nodes."""
    return [cell.cell_contents for node in nodes.NODES.values() for cell in node.__closure__ if is_task(cell)]


def is_task(cell: object) -> bool:
    return isinstance(cell.cell_contents, Task)


def test_no_message_of_missing_weights_names_the_checkout():
    with pytest.raises(MissingWeights) as raised:
        WeightFile("none.pth", "https://example.org", "MIT").find(WEIGHTS, "a test")
    assert str(raised.value).startswith("data/weights/none.pth is missing")
    with pytest.raises(MissingWeights, match=r"^/elsewhere/none\.pth is missing"):
        WeightFile("none.pth", "https://example.org", "MIT").find(Path("/elsewhere"), "a test")
