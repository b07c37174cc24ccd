"""Random initial weights that depend on a seed alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_one_at_a_time = threading.Lock()


@contextmanager
def initial_weights(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator, which layers draw their first weights from, and put it back afterwards.

    One thread at a time, so that networks built side by side (one per GPU) do not mix their draws.
    """
    with _one_at_a_time, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
