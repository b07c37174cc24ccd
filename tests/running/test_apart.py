"""Results side by side: the bytes of those made alone, one's failure, interrupts, and how much memory allows."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
import torch

from tasks.basics import ROOT, WEIGHTS, BadInput
from tasks.running import apart, apart_child, progress
from tasks.running.apart import at_once, side_by_side
from tasks.running.stage import default_store
from tasks.stages.finetune import FineTuneParams, finetune
from tasks.store.artifact import ImageFolder
from tests.running import small
from tests.running.saying import Words, written

SWINIR = WEIGHTS / "demo" / "swinir.safetensors"


def words(*params: Words, count: int = 2) -> None:
    side_by_side([partial(written, each) for each in params], count)


def are_made(*params: Words) -> list[bool]:
    return [default_store().has("written", written.record(each).key) for each in params]


def test_each_has_a_process_of_its_own_whose_words_and_progress_come_back(caplog):
    told: list[tuple[str, int, int]] = []
    token = progress.listener.set(lambda *count: told.append(count))
    one, two = Words(text="one"), Words(text="two")
    words(one, two)
    progress.listener.reset(token)
    assert are_made(one, two) == [True, True]
    said = [record.getMessage().split(" says ") for record in caplog.records if "says" in record.getMessage()]
    assert sorted(text for _, text in said) == ["one", "two"]
    assert len({process for process, _ in said} | {str(os.getpid())}) == 3
    assert sorted(told) == [("one", 1, 2), ("one", 2, 2), ("two", 1, 2), ("two", 2, 2)]


@pytest.mark.parametrize("count", [1, 2])
def test_one_that_fails_lets_the_others_end_and_all_reasons_are_said(count):
    good = Words(text="good")
    bad = [Words(text=name, error=f"{name} is bad") for name in ("first", "second")]
    with pytest.raises(BadInput, match=r"^first is bad\nsecond is bad$"):
        words(*bad, good, count=count)
    assert are_made(*bad, good) == [False, False, True]


@pytest.mark.parametrize("count", [1, 2])
def test_a_failure_is_said_while_the_others_are_at_work(count, monkeypatch):
    said = threading.Event()
    monkeypatch.setattr(apart.LOG, "warning", lambda *_: said.set())

    def fail() -> None:
        raise BadInput("the first is bad")

    def another() -> None:
        assert said.wait(60)

    with pytest.raises(BadInput, match=r"^the first is bad$"):
        side_by_side([fail, another], count)


class NotThere(Exception):
    pass


@pytest.mark.parametrize("count", [1, 2])
def test_one_reason_of_all_is_raised_as_it_is(count):
    def fail() -> None:
        raise NotThere

    with pytest.raises(NotThere):
        side_by_side([fail, fail], count)


def test_a_process_that_is_killed_is_an_error_that_says_so():
    dead, good = Words(text="dead", dies=True), Words(text="good")
    written(good)
    with pytest.raises(RuntimeError, match="the process of written ended with -9"):
        words(dead, good)
    assert are_made(dead) == [False]


def test_what_is_in_the_store_starts_no_process(monkeypatch):
    params = [Words(text="one"), Words(text="two")]
    for each in params:
        written(each)
    monkeypatch.setattr(apart.subprocess, "Popen", None)
    words(*params)


@pytest.fixture
def photos(tmp_path) -> ImageFolder:
    return small.blocks(tmp_path / "photos", 6)


def training(seed: int, iterations: int) -> FineTuneParams:
    settings = small.FINE_TUNE.model_copy(update={"iterations": iterations})
    return FineTuneParams(seed=seed, arch="swinir", settings=settings)


def trainings(photos: ImageFolder, iterations: int) -> list[partial[ImageFolder]]:
    inputs = {"lq": photos, "targets": photos, "real": photos, "weights": SWINIR}
    return [partial(finetune, training(seed, iterations), **inputs) for seed in (1, 2)]


def test_trainings_side_by_side_give_the_bytes_of_one_after_another(photos):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # which have other bits than one
    try:
        one_after_another = [work().digest for work in trainings(photos, 2)]
        shutil.rmtree(default_store().root / "finetune")
        side_by_side(trainings(photos, 2), 2)
        assert [work().digest for work in trainings(photos, 2)] == one_after_another
    finally:
        torch.set_num_threads(threads)


TRAIN = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from tests.running.test_apart import side_by_side, trainings
from tasks.store.artifact import ImageFolder
side_by_side(trainings(ImageFolder(Path({photos!r})), {iterations}), 2)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_trainings_keep_their_states(number, photos):
    code = TRAIN.format(root=str(ROOT), tests=str(ROOT / "tests"), photos=str(photos.root), iterations=100_000)
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, **heeding)
    store = default_store()
    states = [
        store.training_state(work.func.record(*work.args, **work.keywords).key) for work in trainings(photos, 100_000)
    ]
    wait_until(lambda: all((state.with_suffix(".live") / "metrics.json").exists() for state in states))
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode != 0
    wait_until(lambda: not [*(store.root / "tmp").iterdir()])  # also when nobody is there to tell the processes
    assert all(torch.load(state, weights_only=False)["step"] >= 10 for state in states)


def wait_until(condition, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("environment", "free", "count"),
    [
        ({}, 100e9, 2),
        ({}, 4e9, 1),  # two would need twice 2.5 GB
        ({}, 0, 1),
        ({"BFR_WORKERS": "3"}, 4e9, 3),
        ({"BFR_WORKERS": "3", "LOCAL_RANK": "0"}, 100e9, 1),  # of a distributed training: all do the same
    ],
)
def test_so_many_are_made_at_once_as_fit_the_memory(environment, free, count, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(apart.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(apart, "free_memory", lambda device: int(free))
    assert at_once(1_500_000_000) == count


def test_every_gpu_makes_one(monkeypatch):
    monkeypatch.setattr(apart.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(apart.torch.cuda, "device_count", lambda: 4)
    assert at_once(0) == 4


class Signalled:
    """A connection in the middle of whose first message a signal comes, which is noted in the log."""

    def __init__(self) -> None:
        self.sent, self.heard = [], threading.Event()

    def recv(self):
        return "tests.running.saying", "said_slowly", None, {"heard": self.heard}, torch.get_num_threads()

    def send(self, message):
        self.sent.append(message)
        if len(self.sent) == 1:
            logging.getLogger("tasks.written").warning("stopping")
            self.heard.set()


def test_a_signal_in_the_middle_of_a_message_is_said_after_it(monkeypatch):
    """The process waited for itself, and was never ended."""
    monkeypatch.setattr(apart_child, "end_when_told", lambda connection: None)
    monkeypatch.setattr(apart_child.signal, "signal", lambda *_: None)
    for room in ("flows", "tasks"):
        monkeypatch.setattr(logging.getLogger(room), "handlers", [])
    connection = Signalled()
    child = threading.Thread(target=apart_child.main, args=(connection,), daemon=True)
    child.start()
    child.join(60)
    assert not child.is_alive()
    assert [text for _, (*_, text) in connection.sent] == ["working", "stopping"]
