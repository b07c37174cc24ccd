"""Too little memory halves the batch on every device, and what is free is what the process can really take."""

import weakref

import pytest
import torch

from tasks.basics import BadInput
from tasks.running import batching, memory
from tasks.running.batching import in_batches
from tasks.running.memory import free_memory

CPU = torch.device("cpu")
TOO_LITTLE = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to alloc"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB, other allocations: 1.00 GB)"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    MemoryError(),
]


def failing_above(most, error, sizes):
    def work(batch, ids):
        sizes.append(len(ids))
        if len(ids) > most:
            raise error
        return batch

    return work


@pytest.mark.parametrize("error", TOO_LITTLE, ids=lambda error: str(error)[-30:] or "MemoryError")
def test_too_little_memory_halves_the_batch_on_every_device(error):
    sizes: list[int] = []
    found = [name for ids, _ in in_batches(list("abcdefg"), 4, list, failing_above(2, error, sizes)) for name in ids]
    assert found == list("abcdefg")
    assert sizes == [4, 2, 2, 2, 1]
    with pytest.raises(BadInput, match="a: the device has too little memory for one image"):
        list(in_batches(["a"], 1, list, failing_above(0, error, [])))


def test_an_allocation_that_really_fails_on_the_cpu_halves_the_batch():
    def work(batch, ids):
        return torch.empty(2**50, dtype=torch.uint8) if len(ids) > 1 else batch

    assert [ids for ids, _ in in_batches(["a", "b"], 2, list, work)] == [["a"], ["b"]]


def test_another_error_is_not_taken_for_it():
    sizes: list[int] = []
    with pytest.raises(RuntimeError, match="shape"):
        list(in_batches(["a", "b"], 2, list, failing_above(0, RuntimeError("shape mismatch"), sizes)))
    assert sizes == [2]


def test_memory_is_given_back_when_what_the_network_computed_is_gone(monkeypatch):
    alive, seen = [], []

    def work(batch, ids):
        if len(ids) > 1:
            activation = torch.ones(3)
            alive.append(weakref.ref(activation))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return ids

    def load(ids):
        batch = torch.zeros(2)
        if len(ids) > 1:
            alive.append(weakref.ref(batch))
        return batch

    monkeypatch.setattr(batching.torch.cuda, "empty_cache", lambda: seen.append([ref() for ref in alive]))
    assert len(list(in_batches(["a", "b"], 2, load, work))) == 2
    assert seen == [[None, None]]


class Available:
    available = 8 * 2**30


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """machine(own groups, files): a machine of 8 GiB with these files of control groups."""

    def make(own, files):
        monkeypatch.setattr("psutil.virtual_memory", Available)
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "cgroup" / name).write_text(text)
        monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
        monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")
        return free_memory(CPU)

    return make


def second(place, most, used, inactive=0):
    stat = f"anon 1\ninactive_file {inactive}\n"
    return {f"{place}memory.max": most, f"{place}memory.current": used, f"{place}memory.stat": stat}


def test_a_container_s_limit_counts_without_the_files_that_give_way(machine):
    assert machine("0::/\n", second("", f"{2 * 2**30}\n", f"{2**30}\n", inactive=2**29)) == 2**30 + 2**29


def test_the_tightest_group_above_the_process_counts(machine):
    files = second("a/b/", "max\n", "5\n") | second("a/", "1000\n", "400\n")
    assert machine("0::/a/b\n", files) == 600


def test_the_first_version_of_control_groups_is_read_too(machine):
    files = {
        "memory/memory.limit_in_bytes": f"{2**30}\n",
        "memory/memory.usage_in_bytes": f"{2**29}\n",
        "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 4096\n",
    }
    assert machine("5:cpu,cpuacct:/\n4:memory:/docker/of-the-host\n", files) == 2**29 + 4096


def test_without_limits_the_machine_s_memory_counts(machine):
    assert machine("0::/\n", second("", "max\n", "5\n")) == Available.available
    assert machine("4:memory:/\n0::/gone\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}) == 8 * 2**30


def test_a_full_container_has_nothing_free(machine):
    assert machine("0::/\n", second("", "1000\n", "1200\n")) == 0


def test_torch_s_own_cache_on_a_gpu_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert free_memory(torch.device("cuda")) == 600


@pytest.mark.parametrize(("gib", "expected"), [(1000, 32), (95, 32), (93, 16), (50, 16), (30, 8), (2, 1)])
def test_on_a_gpu_a_shard_is_one_batch_or_equal_ones_that_fit(monkeypatch, gib, expected):
    monkeypatch.setattr(batching, "free_memory", lambda device: gib * 2**30)
    monkeypatch.delenv("BFR_BATCH", raising=False)
    assert batching.batch_size(torch.device("cuda"), 512, shard=32) == expected
    assert batching.batch_size(CPU, 512, shard=32) == batching.batch_size(CPU, 512)
