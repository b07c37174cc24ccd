"""One random stream per image, so that a result does not depend on batch size, sharding, order or device count.

A stream is keyed by (experiment seed, stage, image id) and seeded from a SHA-256 of the three. Both generators are
counter-based Philox: numpy's on the CPU (its key takes all 128 bits; torch's CPU generator keeps only 32 bits of a
seed), CUDA's own on a GPU, where the noise is drawn on the device that uses it. The two give different numbers, so a
manifest records `ImageStreams.generator`.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def stream_seed(seed: int, stage: str, image_id: str) -> int:
    """128-bit seed of one image's stream in one stage; changes in any of the three give an unrelated stream."""
    digest = hashlib.sha256(f"{seed}|{stage}|{image_id}".encode()).digest()
    return int.from_bytes(digest[:16], "big")


def numpy_stream(seed: int, stage: str, image_id: str) -> np.random.Generator:
    """The image's stream as a numpy generator, for degradations and other CPU work."""
    return np.random.Generator(np.random.Philox(key=stream_seed(seed, stage, image_id)))


class ImageStreams:
    """Standard normal noise for a batch, row n drawn from the stream of `image_ids[n]` alone.

    device: where the noise is drawn and stays; "cpu" uses numpy's Philox, "cuda" the device's Philox (64-bit seed).
    """

    def __init__(self, seed: int, stage: str, image_ids: Sequence[str], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._numpy: list[np.random.Generator] = []
        self._torch: list[torch.Generator] = []
        for image_id in image_ids:
            if self.device.type == "cuda":
                generator = torch.Generator(self.device)
                generator.manual_seed(stream_seed(seed, stage, image_id) & (2**63 - 1))
                self._torch.append(generator)
            else:
                self._numpy.append(numpy_stream(seed, stage, image_id))

    @property
    def generator(self) -> str:
        """Name of the generator, for the manifest."""
        return generator_name(self.device)

    def normal(self, *shape: int) -> Tensor:
        """[N, *shape] float32 standard normal on `device`; successive calls go on along every image's stream."""
        if self._torch:
            return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self._torch])
        rows = np.stack([g.standard_normal(shape, dtype=np.float32) for g in self._numpy])
        return torch.from_numpy(rows).to(self.device)


def generator_name(device: torch.device | str) -> str:
    """Which generator `ImageStreams` uses on a device."""
    return "torch-cuda-philox" if torch.device(device).type == "cuda" else "numpy-philox4x64"
