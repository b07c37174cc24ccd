"""A network as a CUDA graph, on no GPU: what PyTorch records is pretended."""

from contextlib import contextmanager

import pytest
import torch

from tasks.running.graph import Graphed


class Pretended:
    """CUDA graphs that run the network again where a real one replays its kernels."""

    def __init__(self):
        self.calls, self.replays, self.error = [], 0, None

    def network(self, x, t):
        self.calls.append(len(x))
        return x + t[:, None]

    @contextmanager
    def graph(self, graph, stream, capture_error_mode):
        assert stream == "a stream of cpu"
        yield
        if self.error:
            raise self.error

    def replay(self):
        self.replays += 1
        self.graphed.result.copy_(self.graphed.x + self.graphed.t[:, None])


@pytest.fixture
def pretended(monkeypatch):
    made = Pretended()
    made.graphed = Graphed(made.network)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: made)
    monkeypatch.setattr(torch.cuda, "graph", made.graph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"a stream of {device}")
    return made


def evaluated(pretended, n, value):
    x, t = torch.full((n, 2), float(value)), torch.arange(n)
    result = pretended.graphed(x, t)
    assert torch.equal(result, x + t[:, None])
    return result


def test_after_the_first_batch_the_network_is_replayed_with_each_batch_s_own_numbers(pretended):
    first, second, third = (evaluated(pretended, 3, value) for value in (1, 2, 5))
    assert (pretended.calls, pretended.replays) == ([3, 3], 2)
    assert second[0, 0] == 2  # a result stays as it is when the next one is made
    assert not torch.equal(first, third)


def test_a_batch_of_another_size_runs_without_the_graph(pretended):
    for n in (3, 2, 3):
        evaluated(pretended, n, 1)
    assert (pretended.calls, pretended.replays) == ([3, 3, 2], 1)


def test_where_no_graph_can_be_recorded_a_message_says_so_and_the_network_runs(pretended, caplog):
    pretended.error = RuntimeError("CUDA error: operation not permitted")
    for value in (1, 2):
        evaluated(pretended, 3, value)
    assert (pretended.calls, pretended.replays) == ([3, 3, 3], 0)
    assert caplog.text.count("no CUDA graph (CUDA error: operation not permitted)") == 1


def test_too_little_memory_for_the_first_batch_is_raised_and_a_smaller_one_is_recorded(pretended, monkeypatch):
    own = pretended.network

    def full(x, t):
        raise torch.OutOfMemoryError

    pretended.graphed.network = full
    with pytest.raises(torch.OutOfMemoryError):
        evaluated(pretended, 4, 1)
    pretended.graphed.network = own
    for value in (1, 2):
        evaluated(pretended, 2, value)
    assert (pretended.calls, pretended.replays) == ([2, 2], 1)
