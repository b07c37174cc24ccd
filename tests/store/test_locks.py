"""Locks between processes: one holder, files that do not stay, and holders together for one purpose."""

import fcntl
import os
import stat
import subprocess
import sys
import threading

import pytest

from tasks.store.locks import locked, locked_folder, locked_for

COUNT = """
import sys
from pathlib import Path
from tasks.store.locks import locked
number = Path(sys.argv[1])
for _ in range(150):
    with locked(number.with_name("lock"), remove=True):
        number.write_text(str(int(number.read_text()) + 1))
"""


def test_a_lock_whose_file_is_deleted_has_one_holder_at_a_time(tmp_path):
    number = tmp_path / "number"
    number.write_text("0")
    started = [subprocess.Popen([sys.executable, "-c", COUNT, number]) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert number.read_text() == "450"
    assert not (tmp_path / "lock").exists()


def test_a_lock_that_is_not_taken_stays(tmp_path):
    with locked(tmp_path / "lock"):
        with locked(tmp_path / "lock", wait=False, remove=True) as is_held:
            assert not is_held
        assert (tmp_path / "lock").exists()


def test_a_lock_is_held_together_for_one_purpose_and_awaited_for_another(tmp_path):
    path, events = tmp_path / "lock", []
    is_waiting, is_done = threading.Event(), threading.Event()

    def other() -> None:
        with locked_for("other", path, lambda: (events.append("waits"), is_waiting.set())):
            events.append("other")
        is_done.set()

    def never() -> None:
        events.append("never")

    with locked_for("one", path, never), locked_for("one", path, never):
        threading.Thread(target=other, daemon=True).start()
        assert is_waiting.wait(60)
        events.append("one ends")
    assert is_done.wait(60)
    assert events == ["waits", "one ends", "other"]
    with locked_for("one", path, never):
        assert len(events) == 3


@pytest.fixture(params=["local", "nfs"])
def _disk(request, monkeypatch, tmp_path):
    """Disks that lock folders, and NFS, which locks just what is open for writing."""
    flock = fcntl.flock

    def on_files_only(descriptor: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(9, "Bad file descriptor")
        flock(descriptor, operation)

    if request.param == "nfs":
        monkeypatch.setattr(fcntl, "flock", on_files_only)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))


@pytest.mark.usefixtures("_disk")
def test_a_folder_has_one_holder_on_any_disk_and_nothing_is_left(tmp_path):
    (tmp_path / "folder").mkdir()
    with locked_folder(tmp_path / "folder") as is_held:
        assert is_held
        with locked_folder(tmp_path / "folder", wait=False) as is_held:
            assert not is_held
    with locked_folder(tmp_path / "folder", wait=False) as is_held:
        assert is_held
    assert {path.name for path in tmp_path.rglob("*")} == {"tmp", "folder"}


@pytest.mark.usefixtures("_disk")
def test_who_waits_for_a_folder_gets_it_when_it_is_free(tmp_path):
    events = []

    def other() -> None:
        with locked_folder(tmp_path):
            events.append("other")

    with locked_folder(tmp_path):
        waiting = threading.Thread(target=other)
        waiting.start()
        events.append("one")
    waiting.join(60)
    assert events == ["one", "other"]
