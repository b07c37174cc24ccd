"""`tasks.noise.normal` on the CPU: Philox in chunks that stay in the first cache, then the parabolas."""

import numpy as np
import torch
from numba import njit
from torch import Tensor

CHUNK = 256  # blocks of four words
compiled = njit(cache=True, nogil=True)


def normal(streams: Tensor, draw: int, blocks: int, table: Tensor) -> Tensor:
    """See `tasks.noise.normal`."""
    out = np.empty((len(streams), 4 * blocks), dtype=np.float32)
    _fill(out, streams.numpy().astype(np.uint64), np.uint64(draw), table.numpy().astype(np.int32))
    return torch.from_numpy(out)


@compiled
def _fill(out, streams, draw, table):
    words = np.empty((CHUNK, 4), np.uint32)
    blocks = out.shape[1] // 4
    for row in range(out.shape[0]):
        k0, k1, c2, c3 = streams[row]
        for first in range(0, blocks, CHUNK):
            some = words[: min(CHUNK, blocks - first)]
            _philox(some, first, draw, c2, c3, k0, k1)
            _quantile(some.reshape(-1), table, out[row, 4 * first : 4 * (first + len(some))])


@compiled
def _philox(words, first, draw, stream2, stream3, key0, key1):
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for n in range(len(words)):
        c0, c1, c2, c3, k0, k1 = np.uint64(first + n), draw, stream2, stream3, key0, key1
        for _ in range(10):
            one, two = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
            c0, c2 = (two >> half) ^ c1 ^ k0, (one >> half) ^ c3 ^ k1
            c1, c3 = two & low, one & low
            k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
        words[n, 0], words[n, 1], words[n, 2], words[n, 3] = np.uint32(c0), np.uint32(c1), np.uint32(c2), np.uint32(c3)


@compiled
def _quantile(words, table, out):
    for n in range(len(words)):  # a loop of its own, which the compiler makes of vector instructions
        out[n] = np.float32(np.int32((words[n] & np.uint32(0x7FFFFFFF)) | np.uint32(1)))
    bits = out.view(np.int32)
    for n in range(len(words)):
        part, place = (bits[n] >> 17) - 8128, np.int64(bits[n] & 0x1FFFF)
        slope = np.int64(table[part, 1]) + ((np.int64(table[part, 2]) * place) >> 17)
        size = np.int64(table[part, 0]) + ((slope * place) >> 17)
        out[n] = np.float32(np.int32(-size if words[n] >> np.uint32(31) else size)) * np.float32(2.0**-28)
