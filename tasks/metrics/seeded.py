"""Random weights that are the same on every machine: stand-ins where trained metric weights may not be shipped."""

import hashlib
from typing import TypeVar

import numpy as np
import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


@torch.no_grad()
def fill_seeded(network: Network, name: str) -> Network:
    """Fill in place: convolutions with normal(0, 2 / fan_in) (He et al. 2015), biases 0, batch norm the identity.

    The weights of a layer come from numpy's Philox with the first 16 bytes (big endian) of SHA-256 of "name|layer" as
    its key, drawn in float64, C order, and rounded once to float32. The result is frozen and in evaluation mode.
    """
    for layer_name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            shape = layer.weight.shape
            weight = seeded_normal(f"{name}|{layer_name}", tuple(shape)) * np.sqrt(2 / shape[1:].numel())
            layer.weight.copy_(torch.from_numpy(weight))
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
    return network.requires_grad_(False).eval()


def seeded_normal(tag: str, shape: tuple[int, ...]) -> np.ndarray:
    """float64 standard normal array that depends on `tag` and `shape` alone."""
    key = int.from_bytes(hashlib.sha256(tag.encode()).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(shape)
