"""A network as one CUDA graph: a batch costs the processor one launch, not one for each of hundreds of kernels."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from tasks.running.batching import first_line


class Graphed:
    """network(x [N, C, H, W], t [N]) on CUDA, recorded at the first batch; one of another size runs as without a graph.

    The network's kernels and their order are the same for all x and t, and it makes no random numbers. A graph knows
    weights and images by their places in memory, so it goes with the network and with images of its own. Where a
    graph cannot be recorded, a message says so, and nothing else changes.
    """

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.network, self.is_tried = network, False
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        if self.graph is not None and x.shape == self.x.shape:
            self.x.copy_(x)
            self.t.copy_(t)
            self.graph.replay()
            return self.result.clone()
        result = self.network(x, t)  # before it is recorded: compiles kernels; too little memory shows here
        if not self.is_tried:
            self._record(x, t)
        return result

    def _record(self, x: Tensor, t: Tensor) -> None:
        self.is_tried, graph = True, torch.cuda.CUDAGraph()
        self.x, self.t = x.clone(), t.clone().float()
        stream = torch.cuda.Stream(x.device)  # PyTorch's own is of the first GPU that the process has recorded on
        try:
            with torch.cuda.graph(
                graph, stream=stream, capture_error_mode="thread_local"
            ):  # others read and write images
                self.result = self.network(self.x, self.t)
        except RuntimeError as error:
            logging.getLogger(__name__).warning("no CUDA graph (%s): an evaluation takes longer", first_line(error))
        else:
            self.graph = graph
