"""One random stream per image, so that a result does not depend on batch size, sharding, order, device or their count.

A stream is keyed by (experiment seed, stage, image id) through a SHA-256 of the three. Degradations draw from it as a
numpy generator. `ImageStreams` computes element e of its draw d: Philox4x32-10 (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3") of the counter (e, d, stream), then the normal quantile. All of it is arithmetic of whole
numbers, so every device and compiler gives the same bits; tasks/running/noise_kernels.py does the same faster.
"""

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from tasks.running.noise_kernels import kernel_for

WORD = 0xFFFFFFFF
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
PLACE_BITS = 17  # of a float32's 23: where in one of the 64 parts of a power of two
FIRST_PART = 127 << (23 - PLACE_BITS)  # that of 1.0
FRACTION_BITS = 28  # of a normal number


def stream_seed(seed: int, stage: str, image_id: str) -> int:
    """128-bit seed of one image's stream in one stage; changes in any of the three give an unrelated stream."""
    digest = hashlib.sha256(f"{seed}|{stage}|{image_id}".encode()).digest()
    return int.from_bytes(digest[:16], "big")


def numpy_stream(seed: int, stage: str, image_id: str) -> np.random.Generator:
    """The image's stream as a numpy generator, for degradations and other CPU work."""
    return np.random.Generator(np.random.Philox(key=stream_seed(seed, stage, image_id)))


class ImageStreams:
    """Standard normal noise for a batch, row n drawn from the stream of `image_ids[n]` alone, on `device`."""

    def __init__(self, seed: int, stage: str, image_ids: Sequence[str], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        seeds = [stream_seed(seed, stage, image_id) for image_id in image_ids]
        words = [[value >> shift & WORD for shift in (96, 64, 32, 0)] for value in seeds]
        self._streams = torch.tensor(words, dtype=torch.int64).to(self.device)
        self._draws = 0

    def normal(self, *shape: int) -> Tensor:
        """[N, *shape] float32 standard normal on `device`; successive calls go on along every image's stream."""
        count = math.prod(shape)
        compute = kernel_for(self.device) or normal
        drawn = compute(self._streams, self._draws, -(-count // 4), quantile_table(self.device))
        self._draws += 1
        return drawn[:, :count].reshape(-1, *shape)


def normal(streams: Tensor, draw: int, blocks: int, table: Tensor) -> Tensor:
    """Elements 0 … 4 blocks - 1 of a draw of each stream, [N, 4 blocks] float32.

    streams: [N, 4] int64, 32 bits each; table: of `quantile_table`, on the same device.
    """
    return quantile(philox(streams, draw, blocks), table)


def philox(streams: Tensor, draw: int, blocks: int) -> Tensor:
    """Uniform words of 32 bits, [N, 4 blocks] int64; a block of four has the counter (block, draw, half a stream)."""
    k0, k1, c2, c3 = (word[:, None] for word in streams.unbind(1))
    c0 = torch.arange(blocks, device=streams.device)[None]
    c1 = torch.full_like(c0, draw)
    for _ in range(ROUNDS):
        one, two = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2  # modulo 2^64
        c0, c2 = ((two >> 32) & WORD) ^ c1 ^ k0, ((one >> 32) & WORD) ^ c3 ^ k1
        c1, c3 = two & WORD, one & WORD
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return torch.stack([c0, c1, c2, c3], dim=2).flatten(1)


def quantile(words: Tensor, table: Tensor) -> Tensor:
    """Standard normal numbers of uniform words: 31 bits are a probability below 1/2, the first is the sign.

    The probability as a float32 names a parabola, by its exponent and first bits, and the place on it, by the others.
    Within 2e-7 of the quantile.
    """
    bits = ((words & 0x7FFFFFFF) | 1).to(torch.int32).float().view(torch.int32).long()
    a, b, c = table[(bits >> PLACE_BITS) - FIRST_PART].unbind(-1)
    place = bits & ((1 << PLACE_BITS) - 1)
    size = a + ((b + ((c * place) >> PLACE_BITS)) * place >> PLACE_BITS)
    return torch.where(words >> 31 == 0, size, -size).to(torch.int32).float() * 2.0**-FRACTION_BITS


@lru_cache(maxsize=8)
def quantile_table(device: torch.device) -> Tensor:
    """Coefficients of the parabolas, [2049, 3] int64, in 2^-28: 64 for each power of two of the probability.

    A file, for its making (tests/test_noise.py) takes logarithms, whose last bits differ between machines.
    """
    path = Path(__file__).with_name("normal_quantile.safetensors")
    coefficients: Tensor = safetensors.torch.load_file(path)["coefficients"]
    return coefficients.long().to(device)
