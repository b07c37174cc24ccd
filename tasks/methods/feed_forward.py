"""One pass of a network: GFPGAN, RestoreFormer, CodeFormer, SwinIR, SRCNN, LaMa."""

from typing import ClassVar, Literal

import torch

from tasks.methods.method import Method, Need, Networks
from tasks.restorers.network import Architecture, Restore


class FeedForward(Method, Architecture):
    """One pass of a network."""

    kind: Literal["feed_forward"] = "feed_forward"
    needs: ClassVar[tuple[Need, ...]] = ("weights",)
    draws: ClassVar[bool] = False
    shard: ClassVar[int] = 256

    @property
    def evaluations(self) -> int:
        return 1

    def build(self, networks: Networks, seed: int, device: torch.device) -> Restore:
        return self.with_weights(networks.weights).load(device)
