"""A network compiled for a GPU, for as long as the compiler can do it."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from tasks.running.batching import first_line
from tasks.running.memory import is_too_little_memory

Network = Callable[[Tensor, Tensor], Tensor]
"""(x [N, …], t [N]) to [N, …]"""


class Compiled:
    """A network compiled as one graph for one size of batches: smaller ones are padded by their last image, and cut.

    The size is that of the largest batch so far; after one that the memory does not hold, that of the next. Where the
    compiler fails, that is said once, and the network runs as it is.
    """

    def __init__(self, network: Network) -> None:
        self.network, self.size = network, 0
        self.fast: Network = torch.compile(network, fullgraph=True, dynamic=False)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.size = max(self.size, len(x))
        try:
            return self.fast(padded(x, self.size), padded(t, self.size))[: len(x)]
        except Exception as error:
            if is_too_little_memory(error):
                self.size = 0
                raise
            said = f"{type(error).__name__}: {first_line(error)}"
            logging.getLogger(__name__).warning("the compiler failed (%s): the network runs without it", said)
            self.fast = self.network
            return self.network(x, t)


def padded(x: Tensor, size: int) -> Tensor:
    """[N, …] to [size, …]: the last entry again and again."""
    return torch.cat([x, x[-1:].expand(size - len(x), *x.shape[1:])]) if len(x) < size else x
