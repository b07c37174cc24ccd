"""Which GPU a stage holds, on pretended ones: the first that is free, by a lock that every process calls the same."""

import fcntl
import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from tasks.running import device
from tasks.running.device import held_device
from tasks.running.stage import default_store
from tasks.store.artifact import Manifest
from tasks.store.provenance import cpu
from tasks.training.loop import Alone
from tasks.training.session import processes_on

UUIDS = ["a", "b"]


@pytest.fixture(autouse=True)
def gpus(monkeypatch, tmp_path):
    """Two GPUs, a and b, with a folder of locks of their own."""
    uuids = list(UUIDS)
    monkeypatch.setattr(device, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(uuids))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=uuids[index]))
    monkeypatch.setattr(torch.cuda, "device", lambda index: nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {uuids[index]}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return uuids


def taken(name):
    """The lock of a GPU, held until the file is closed."""
    device.LOCKS.mkdir(exist_ok=True)
    lock = (device.LOCKS / name).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def test_a_stage_holds_the_first_gpu_that_is_free():
    with held_device() as first, held_device() as second:
        assert [str(first), str(second)] == ["cuda:0", "cuda:1"]


def test_a_training_computes_on_the_gpu_that_it_holds():
    with taken("a"), held_device() as held:
        processes = processes_on(held)
    assert isinstance(processes, Alone)
    assert str(processes.device) == "cuda:1"


def test_processes_that_see_other_gpus_do_not_wait_for_each_other(gpus, monkeypatch):
    """One sees both and holds a; the other sees b alone, and calls it 0."""
    monkeypatch.setattr(device.time, "sleep", lambda seconds: pytest.fail("waits"))
    with held_device():
        gpus[:] = ["b"]
        with held_device() as held:
            assert str(held) == "cuda:0"


def test_processes_that_see_one_gpu_by_two_numbers_do_not_share_it(gpus):
    with held_device(), held_device():
        gpus[:] = ["b", "c"]
        with held_device() as held:
            assert str(held) == "cuda:1"


def test_slices_of_one_gpu_have_locks_of_their_own(gpus, monkeypatch):
    """CUDA shows one slice to a process, by its own name."""
    gpus[:] = ["a"]
    for name in ("MIG-1", "MIG-2"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", name)
        with taken("MIG-1" if name == "MIG-2" else "MIG-2"), held_device() as held:
            assert str(held) == "cuda:0"


def test_where_all_gpus_are_taken_the_first_that_comes_free_is_held(monkeypatch):
    first, second = taken("a"), taken("b")
    monkeypatch.setattr(device.time, "sleep", lambda seconds: second.close())
    with first, held_device() as held:
        assert str(held) == "cuda:1"


def test_a_process_of_accelerate_launch_has_the_gpu_of_its_rank(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with held_device() as held:
        assert str(held) == "cuda:1"


def test_a_result_names_the_gpu_that_computed_it_or_the_processor():
    """Not the first that is visible."""
    store = default_store()

    def make(is_computed):
        record = Manifest(stage="s", key=f"{is_computed}".rjust(64, "0"), params={}, inputs={}, code="", files={})

        def fill(out):
            (out / "a").touch()
            if is_computed:
                with held_device():
                    pass

        store.build(record, fill)
        return json.loads((store.root / "timings" / f"{record.key}.json").read_text())["device"]

    with taken("a"):
        assert make(True) == "GPU b"
    assert make(False) == cpu()
