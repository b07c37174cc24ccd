"""`tasks.noise.normal` on CUDA: one kernel for the whole batch."""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCKS = 256  # of four words, for each program


def normal(streams: Tensor, draw: int, blocks: int, table: Tensor) -> Tensor:
    """See `tasks.noise.normal`."""
    out = torch.empty((len(streams), 4 * blocks), device=streams.device)
    with torch.cuda.device_of(out):
        _fill[(triton.cdiv(blocks, BLOCKS), len(streams))](out, streams, draw, blocks, table, BLOCKS=BLOCKS)
    return out


@triton.jit(do_not_specialize=["draw", "blocks"])
def _fill(out, streams, draw, blocks, table, BLOCKS: tl.constexpr):
    row = tl.program_id(1)
    block = tl.program_id(0) * BLOCKS + tl.arange(0, BLOCKS)
    is_inside = block < blocks
    k0 = tl.load(streams + 4 * row).to(tl.uint32)
    k1 = tl.load(streams + 4 * row + 1).to(tl.uint32)
    c0 = block.to(tl.uint32)
    c1 = tl.zeros_like(c0) + draw.to(tl.uint32)
    c2 = tl.zeros_like(c0) + tl.load(streams + 4 * row + 2).to(tl.uint32)
    c3 = tl.zeros_like(c0) + tl.load(streams + 4 * row + 3).to(tl.uint32)
    m0 = tl.full((BLOCKS,), 0xD2511F53, tl.uint32)
    m1 = tl.full((BLOCKS,), 0xCD9E8D57, tl.uint32)
    for _ in tl.static_range(10):
        one_high, two_high = tl.umulhi(m0, c0), tl.umulhi(m1, c2)
        one, two = m0 * c0, m1 * c2
        c0, c2 = two_high ^ c1 ^ k0, one_high ^ c3 ^ k1
        c1, c3 = two, one
        k0 += tl.full((), 0x9E3779B9, tl.uint32)
        k1 += tl.full((), 0xBB67AE85, tl.uint32)
    place = out + row.to(tl.int64) * 4 * blocks + 4 * block
    tl.store(place, _quantile(c0, table), is_inside)
    tl.store(place + 1, _quantile(c1, table), is_inside)
    tl.store(place + 2, _quantile(c2, table), is_inside)
    tl.store(place + 3, _quantile(c3, table), is_inside)


@triton.jit
def _quantile(words, table):
    bits = ((words & 0x7FFFFFFF) | 1).to(tl.int32).to(tl.float32).to(tl.int32, bitcast=True)
    part = 3 * ((bits >> 17) - 8128)
    place = (bits & 0x1FFFF).to(tl.int64)
    slope = tl.load(table + part + 1) + ((tl.load(table + part + 2) * place) >> 17)
    size = tl.load(table + part) + ((slope * place) >> 17)
    return tl.where(words >> 31 == 0, size, -size).to(tl.int32).to(tl.float32) * 3.725290298461914e-09
