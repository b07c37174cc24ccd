"""The passes of `tasks.diffusion.fast` on CUDA, each as few kernels, for tensors with channels last."""

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

TILE = 8192  # elements of a program: of up to 128 channels at so many pixels
RUNS = 64  # that a program reads at once


def norm_silu(
    norm: nn.GroupNorm,
    parts: Sequence[Tensor],
    *,
    bias: Tensor | None = None,
    modulation: tuple[Tensor, Tensor] | None = None,
    is_active: bool = True,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """See `tasks.diffusion.fast.norm_silu`; the parts' channels are multiples of 32."""
    parts = [part.contiguous(memory_format=torch.channels_last) for part in parts]
    n, _, height, width = parts[0].shape
    pixels, total = height * width, sum(part.shape[1] for part in parts)
    tile = math.gcd(128, *(part.shape[1] for part in parts))
    factor, shift = affine(norm, *moments(parts, n, pixels, total, tile), pixels, tile, bias, modulation)
    device, last = parts[0].device, torch.channels_last
    out = torch.empty((n, total, height, width), dtype=dtype or parts[0].dtype, device=device, memory_format=last)
    first = 0
    for part in parts:
        channels = part.shape[1]
        grid = (-(-pixels * tile // TILE), n, channels // tile)
        _apply[grid](
            part, factor, shift, out, pixels, channels, first, total, is_active, PIXELS=TILE // tile, CHANNELS=tile
        )
        first += channels
    return out


def moments(parts: Sequence[Tensor], n: int, pixels: int, total: int, tile: int) -> tuple[Tensor, Tensor]:
    """Of every channel and run of TILE / tile pixels: mean, and sum of squares around it; [N, runs, C] float32."""
    runs = -(-pixels * tile // TILE)
    means, squares = (torch.empty((n, runs, total), device=parts[0].device) for _ in range(2))
    first = 0
    for part in parts:
        channels = part.shape[1]
        grid = (runs, n, channels // tile)
        _moments[grid](part, means, squares, pixels, channels, first, total, PIXELS=TILE // tile, CHANNELS=tile)
        first += channels
    return means, squares


def affine(
    norm: nn.GroupNorm,
    means: Tensor,
    squares: Tensor,
    pixels: int,
    tile: int,
    bias: Tensor | None,
    modulation: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """Bias, norm and modulation as factor and shift of each channel, [N, C]."""
    n, runs, total = means.shape
    factor, shift = (torch.empty((n, total), device=means.device) for _ in range(2))
    scale, offset = modulation or (factor, factor)  # as `bias`, not read where there is none
    each = total // norm.num_groups
    _affine[(norm.num_groups, n)](
        means, squares, norm.weight, norm.bias, factor if bias is None else bias, scale, offset, factor, shift,
        pixels, runs, total, norm.eps, scale.stride(0), offset.stride(0), bias is not None, modulation is not None,
        PIXELS=TILE // tile, EACH=each, BLOCK=1 << (each - 1).bit_length(), RUNS=RUNS,
    )  # fmt: skip
    return factor, shift


def added(parts: Sequence[Tensor], bias: Tensor) -> Tensor:
    """See `tasks.diffusion.fast.added`; one to three parts."""
    parts = [part.contiguous(memory_format=torch.channels_last) for part in parts]
    out = torch.empty_like(parts[0])
    first, second, third = (*parts, *[out] * (3 - len(parts)))
    grid = (-(-out.numel() // TILE),)
    _added[grid](first, second, third, bias, out, out.numel(), out.shape[1], len(parts), BLOCK=TILE)
    return out


@triton.jit
def _moments(x, means, squares, pixels, channels, first, total, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    run, row = tl.program_id(0), tl.program_id(1)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    pixel = run * PIXELS + tl.arange(0, PIXELS)
    is_inside = (pixel < pixels)[:, None]
    place = (row.to(tl.int64) * pixels + pixel)[:, None] * channels + channel[None, :]
    values = tl.load(x + place, is_inside, 0.0).to(tl.float32)
    mean = tl.sum(values, 0) / tl.minimum(PIXELS, pixels - run * PIXELS)
    off = tl.where(is_inside, values - mean[None, :], 0.0)
    place = (row * tl.num_programs(0) + run) * total + first + channel
    tl.store(means + place, mean)
    tl.store(squares + place, tl.sum(off * off, 0))


@triton.jit
def _affine(
    means, squares, weight, norm_bias, bias, scale, offset, factor, shift, pixels, runs, total, eps, scale_row,
    offset_row, has_bias: tl.constexpr, is_modulated: tl.constexpr,
    PIXELS: tl.constexpr, EACH: tl.constexpr, BLOCK: tl.constexpr, RUNS: tl.constexpr,
):  # fmt: skip
    """Of a group of channels: moments of parts, put together without cancellation."""
    row = tl.program_id(1)
    inside = tl.arange(0, BLOCK)
    channel = tl.program_id(0) * EACH + inside
    is_channel = inside < EACH
    before = tl.zeros([BLOCK], tl.float32)
    if has_bias:
        before += tl.load(bias + channel, is_channel, 0.0).to(tl.float32)
    mean, variance = 0.0, 0.0
    for first in range(0, runs, RUNS):
        run = first + tl.arange(0, RUNS)
        some = (run < runs)[:, None] & is_channel[None, :]
        counts = tl.where(some, tl.minimum(PIXELS, pixels - run * PIXELS).to(tl.float32)[:, None], 0.0)
        here = tl.load(means + (row * runs + run)[:, None] * total + channel[None, :], some, 0.0)
        mean += tl.sum(tl.sum(counts * (here + before[None, :]), 1), 0)
    mean = mean / (pixels * EACH)
    for first in range(0, runs, RUNS):
        run = first + tl.arange(0, RUNS)
        some = (run < runs)[:, None] & is_channel[None, :]
        counts = tl.where(some, tl.minimum(PIXELS, pixels - run * PIXELS).to(tl.float32)[:, None], 0.0)
        place = (row * runs + run)[:, None] * total + channel[None, :]
        off = tl.load(means + place, some, 0.0) + before[None, :] - mean
        variance += tl.sum(tl.sum(tl.load(squares + place, some, 0.0) + counts * off * off, 1), 0)
    a = tl.load(weight + channel, is_channel, 0.0) / tl.sqrt(variance / (pixels * EACH) + eps)
    b = tl.load(norm_bias + channel, is_channel, 0.0) + (before - mean) * a
    if is_modulated:
        scaled = 1 + tl.load(scale + row * scale_row + channel, is_channel, 0.0)
        a, b = a * scaled, b * scaled + tl.load(offset + row * offset_row + channel, is_channel, 0.0)
    tl.store(factor + row * total + channel, a, is_channel)
    tl.store(shift + row * total + channel, b, is_channel)


@triton.jit
def _apply(
    x, factor, shift, out, pixels, channels, first, total, is_active: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(1)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    is_inside = (pixel < pixels)[:, None]
    line = row.to(tl.int64) * pixels + pixel
    values = tl.load(x + line[:, None] * channels + channel[None, :], is_inside, 0.0).to(tl.float32)
    a, b = tl.load(factor + row * total + first + channel), tl.load(shift + row * total + first + channel)
    y = values * a[None, :] + b[None, :]
    if is_active:
        y = y / (1 + tl.exp(-y))
    tl.store(out + line[:, None] * total + (first + channel)[None, :], y.to(out.dtype.element_ty), is_inside)


@triton.jit
def _added(first, second, third, bias, out, size, channels, parts: tl.constexpr, BLOCK: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * BLOCK
    place = start + tl.arange(0, BLOCK)
    is_inside = place < size
    channel = ((start % channels).to(tl.int32) + tl.arange(0, BLOCK)) % channels
    y = tl.load(bias + channel).to(tl.float32) + tl.load(first + place, is_inside, 0.0).to(tl.float32)
    if parts > 1:
        y += tl.load(second + place, is_inside, 0.0).to(tl.float32)
    if parts > 2:
        y += tl.load(third + place, is_inside, 0.0).to(tl.float32)
    tl.store(out + place, y.to(out.dtype.element_ty), is_inside)
