"""Locks between processes: one holder, files that do not stay, and holders together for one purpose."""

import subprocess
import sys
import threading

from tasks.store.locks import locked, locked_for

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
