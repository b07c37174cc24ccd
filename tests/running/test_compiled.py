"""A compiled network: one size of batches, and what happens where the compiler or the memory fails."""

import pytest
import torch

from tasks.running.compiled import Compiled


class Network:
    """x + t, which notes the sizes of the batches it got."""

    def __init__(self):
        self.sizes = []

    def __call__(self, x, t):
        self.sizes.append(len(x))
        return x + t[:, None]


@pytest.fixture
def made(monkeypatch):
    """A compiler that changes nothing."""
    monkeypatch.setattr(torch, "compile", lambda network, **options: network)
    return Compiled(Network())


def batch(n):
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(n)), torch.arange(n)


def test_the_last_batch_is_padded_to_the_size_of_the_others(made):
    for n in (4, 4, 1):
        x, t = batch(n)
        assert torch.equal(made(x, t), x + t[:, None])
    assert made.network.sizes == [4, 4, 4]


def test_after_a_batch_that_was_too_much_for_the_memory_the_next_one_is_not_padded_to_it(made):
    made(*batch(4))
    own, made.fast = made.fast, failing(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        made(*batch(4))
    made.fast = own
    for n in (2, 1):
        made(*batch(n))
    assert made.network.sizes == [4, 2, 2]


def test_where_the_compiler_fails_the_network_runs_as_it_is_and_that_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(torch, "compile", lambda network, **options: failing(RuntimeError("no C compiler\nat all")))
    made, (x, t) = Compiled(Network()), batch(3)
    for _ in range(2):
        assert torch.equal(made(x, t), x + t[:, None])
    assert [record.getMessage() for record in caplog.records] == [
        "the compiler failed (RuntimeError: no C compiler): the network runs without it"
    ]


def failing(error):
    def run(x, t):
        raise error

    return run
