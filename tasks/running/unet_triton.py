"""The passes of `tasks.diffusion.fast` on CUDA, each as few kernels, for tensors with channels last."""

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

TILE = 8192  # elements of a program of `_apply`: of up to 128 channels at so many pixels
RUN = 256  # pixels whose moments are taken together
WIDEST = 32  # channels of a program, at a run
READ = 2048  # moments that a program reads at once


def norm_silu(
    norm: nn.GroupNorm,
    parts: Sequence[tuple[Tensor, Tensor | None]],
    *,
    bias: Tensor | None = None,
    modulation: tuple[Tensor, Tensor] | None = None,
    is_active: bool = True,
    is_paired: bool = False,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """See `tasks.diffusion.fast.norm_silu`; the parts' channels are multiples of 32."""
    images = [x.contiguous(memory_format=torch.channels_last) for x, _ in parts]
    known = [moments(x) if taken is None else taken for x, (_, taken) in zip(images, parts, strict=True)]
    n, _, height, width = images[0].shape
    pixels, total = height * width, sum(x.shape[1] for x in images)
    factor, shift = affine(norm, torch.cat(known, dim=3) if len(known) > 1 else known[0], pixels, bias, modulation)
    wide = width + 2 * is_paired
    out = torch.empty((n, height, wide, total), dtype=dtype or images[0].dtype, device=images[0].device)
    if is_paired:
        out[:, :, :: wide - 1] = 0
    tile, first = math.gcd(128, *(x.shape[1] for x in images)), 0
    for x in images:
        channels = x.shape[1]
        grid = (-(-pixels * tile // TILE), n, channels // tile)
        _apply[grid](
            x, factor, shift, out, pixels, width, channels, first, total, is_active, is_paired,
            PIXELS=TILE // tile, CHANNELS=tile,
            num_warps=8,
        )  # fmt: skip
        first += channels
    return (out.view(n, height, wide // 2, 2 * total) if is_paired else out).permute(0, 3, 1, 2)


def moments(x: Tensor) -> Tensor:
    """Of every channel and run of pixels: mean, and sum of squares around it; [2, N, runs, C] float32."""
    n, channels, height, width = x.shape
    found, tile = no_moments(x), math.gcd(WIDEST, channels)
    _moments[(found.shape[2] * channels // tile, n)](
        x, found, height * width, channels, RUN=RUN, CHANNELS=tile,
        num_warps=tile // 8,
    )  # fmt: skip
    return found


def no_moments(x: Tensor) -> Tensor:
    """Room for those of x."""
    n, channels, height, width = x.shape
    return torch.empty((2, n, -(-height * width // RUN), channels), device=x.device)


def affine(
    norm: nn.GroupNorm, known: Tensor, pixels: int, bias: Tensor | None, modulation: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Bias, norm and modulation as factor and shift of each channel, [N, C]."""
    _, n, runs, total = known.shape
    factor, shift = (torch.empty((n, total), device=known.device) for _ in range(2))
    scale, offset = modulation or (factor, factor)  # as `bias`, not read where there is none
    each = total // norm.num_groups
    block = 1 << (each - 1).bit_length()
    _affine[(norm.num_groups, n)](
        known, norm.weight, norm.bias, factor if bias is None else bias, scale, offset, factor, shift,
        pixels, runs, total, norm.eps, scale.stride(0), offset.stride(0), bias is not None, modulation is not None,
        RUN=RUN, EACH=each, BLOCK=block, RUNS=READ // block,
    )  # fmt: skip
    return factor, shift


def added(
    parts: Sequence[Tensor], bias: Tensor | None = None, products: Sequence[tuple[Tensor, Tensor]] = ()
) -> tuple[Tensor, Tensor]:
    """See `tasks.diffusion.fast.added`; all channels are multiples of 32. With the moments of the sum."""
    parts = [part.contiguous(memory_format=torch.channels_last) for part in parts]
    products = [(x.contiguous(memory_format=torch.channels_last), weight) for x, weight in products]
    first, second = parts[0], parts[-1]
    out, found = torch.empty_like(first), no_moments(first)
    n, channels, height, width = first.shape
    (a, a_weight), (b, b_weight) = (*products, *[(first, first)] * (2 - len(products)))
    tile = math.gcd(WIDEST, channels)
    _added[(found.shape[2] * channels // tile, n)](
        first, second, first if bias is None else bias, a, a_weight, b, b_weight, out, found,
        height * width, channels, a.shape[1], a_weight.stride(0), b.shape[1], b_weight.stride(0),
        len(parts), bias is not None, len(products),
        RUN=RUN, CHANNELS=tile, DEPTH=math.gcd(WIDEST, a.shape[1], b.shape[1]),
        num_warps=tile // 8,
    )  # fmt: skip
    return out, found


def last(norm: nn.GroupNorm, weight: Tensor, bias: Tensor, x: tuple[Tensor, Tensor | None]) -> Tensor:
    """See `tasks.diffusion.fast.last`; up to 16 channels come out.

    Factors are float16, which has the digits of TF32; what a norm makes is below the root of its numbers times its
    weight, far from float16's end. Sums are float32.
    """
    h = norm_silu(norm, [x], dtype=torch.float16)
    n, channels, height, width = h.shape
    out = torch.empty((n, len(weight), height, width), device=h.device)
    weight = weight.contiguous(memory_format=torch.channels_last)
    grid = (-(-height * width // RUN), n)
    _last[grid](
        h, weight, bias, out, height, width, len(weight),
        CHANNELS=channels, RUN=RUN, DEPTH=math.gcd(WIDEST, channels), OUT=16,
    )  # fmt: skip
    return out


@triton.jit
def _put_moments(y, is_inside, run, row, channel, found, pixels, channels, RUN: tl.constexpr):
    runs = tl.cdiv(pixels, RUN)
    mean = tl.sum(tl.where(is_inside, y, 0.0), 0) / tl.minimum(RUN, pixels - run * RUN)
    off = tl.where(is_inside, y - mean[None, :], 0.0)
    place = (row * runs + run) * channels + channel
    tl.store(found + place, mean)
    tl.store(found + tl.num_programs(1) * runs * channels + place, tl.sum(off * off, 0))


@triton.jit
def _moments(x, found, pixels, channels, RUN: tl.constexpr, CHANNELS: tl.constexpr):
    tiles = channels // CHANNELS
    run, row = tl.program_id(0) // tiles, tl.program_id(1)
    channel = tl.program_id(0) % tiles * CHANNELS + tl.arange(0, CHANNELS)
    pixel = run * RUN + tl.arange(0, RUN)
    is_inside = (pixel < pixels)[:, None]
    image = x + row.to(tl.int64) * pixels * channels
    y = tl.load(image + pixel[:, None] * channels + channel[None, :], is_inside, 0.0).to(tl.float32)
    _put_moments(y, is_inside, run, row, channel, found, pixels, channels, RUN)


@triton.jit
def _affine(
    means, weight, norm_bias, bias, scale, offset, factor, shift, pixels, runs, total, eps, scale_row,
    offset_row, has_bias: tl.constexpr, is_modulated: tl.constexpr,
    RUN: tl.constexpr, EACH: tl.constexpr, BLOCK: tl.constexpr, RUNS: tl.constexpr,
):  # fmt: skip
    """Of a group of channels: moments of runs, put together without cancellation."""
    row = tl.program_id(1)
    squares = means + tl.num_programs(1) * runs * total
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
        counts = tl.where(some, tl.minimum(RUN, pixels - run * RUN).to(tl.float32)[:, None], 0.0)
        here = tl.load(means + (row * runs + run)[:, None] * total + channel[None, :], some, 0.0)
        mean += tl.sum(tl.sum(counts * (here + before[None, :]), 1), 0)
    mean = mean / (pixels * EACH)
    for first in range(0, runs, RUNS):
        run = first + tl.arange(0, RUNS)
        some = (run < runs)[:, None] & is_channel[None, :]
        counts = tl.where(some, tl.minimum(RUN, pixels - run * RUN).to(tl.float32)[:, None], 0.0)
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
    x, factor, shift, out, pixels, width, channels, first, total, is_active: tl.constexpr, is_paired: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(1)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    is_inside = (pixel < pixels)[:, None]
    before = row.to(tl.int64) * pixels
    image, result, place = x + before * channels, out + before * total + first, pixel
    if is_paired:  # a pixel more at both ends of a row
        result, place = result + 2 * before // width * total, pixel + 2 * (pixel // width) + 1
    values = tl.load(image + pixel[:, None] * channels + channel[None, :], is_inside, 0.0).to(tl.float32)
    a, b = tl.load(factor + row * total + first + channel), tl.load(shift + row * total + first + channel)
    y = values * a[None, :] + b[None, :]
    if is_active:
        y = y / (1 + tl.exp(-y))
    tl.store(result + place[:, None] * total + channel[None, :], y.to(out.dtype.element_ty), is_inside)


@triton.jit
def _plus_product(y, image, weight, pixel, is_inside, channel, depth, weight_row, DEPTH: tl.constexpr):
    for first in range(0, depth, DEPTH):
        k = first + tl.arange(0, DEPTH)
        values = tl.load(image + pixel[:, None] * depth + k[None, :], is_inside, 0.0)
        factors = tl.load(weight + channel[None, :] * weight_row + k[:, None])
        y = tl.dot(values, factors, y, input_precision="ieee")
    return y


@triton.jit
def _added(
    first, second, bias, a, a_weight, b, b_weight, out, found, pixels, channels, a_depth, a_row, b_depth, b_row,
    parts: tl.constexpr, has_bias: tl.constexpr, products: tl.constexpr,
    RUN: tl.constexpr, CHANNELS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    tiles = channels // CHANNELS
    run, row = tl.program_id(0) // tiles, tl.program_id(1)
    channel = tl.program_id(0) % tiles * CHANNELS + tl.arange(0, CHANNELS)
    pixel = run * RUN + tl.arange(0, RUN)
    is_inside = (pixel < pixels)[:, None]
    before = row.to(tl.int64) * pixels
    place = pixel[:, None] * channels + channel[None, :]
    y = tl.load(first + before * channels + place, is_inside, 0.0).to(tl.float32)
    if parts > 1:
        y += tl.load(second + before * channels + place, is_inside, 0.0).to(tl.float32)
    if has_bias:
        y += tl.load(bias + channel).to(tl.float32)[None, :]
    if products > 0:
        y = _plus_product(y, a + before * a_depth, a_weight, pixel, is_inside, channel, a_depth, a_row, DEPTH)
    if products > 1:
        y = _plus_product(y, b + before * b_depth, b_weight, pixel, is_inside, channel, b_depth, b_row, DEPTH)
    result = y.to(out.dtype.element_ty)
    tl.store(out + before * channels + place, result, is_inside)
    _put_moments(result.to(tl.float32), is_inside, run, row, channel, found, pixels, channels, RUN)


@triton.jit
def _last(
    x, weight, bias, out, height, width, outs,
    CHANNELS: tl.constexpr, RUN: tl.constexpr, DEPTH: tl.constexpr, OUT: tl.constexpr,
):  # fmt: skip
    pixels, before = height * width, tl.program_id(1).to(tl.int64) * height * width
    pixel, result = tl.program_id(0) * RUN + tl.arange(0, RUN), tl.arange(0, OUT)
    line, column, is_result = pixel // width, pixel % width, (result < outs)[None, :]
    total = tl.zeros([RUN, OUT], tl.float32) + tl.load(bias + result, result < outs, 0.0)[None, :]
    for tap in tl.static_range(9):
        down, right = tap // 3 - 1, tap % 3 - 1
        is_there = (line + down >= 0) & (line + down < height) & (column + right >= 0) & (column + right < width)
        place = pixel + down * width + right
        for first in tl.static_range(0, CHANNELS, DEPTH):
            k = first + tl.arange(0, DEPTH)
            values = tl.load(x + before * CHANNELS + place[:, None] * CHANNELS + k[None, :], is_there[:, None], 0.0)
            factors = tl.load(weight + (result[None, :] * 9 + tap) * CHANNELS + k[:, None], is_result, 0.0)
            total = tl.dot(values, factors.to(tl.float16), total)
    place = result[None, :] * pixels + pixel[:, None]
    tl.store(out + before * outs + place, total, (pixel < pixels)[:, None] & is_result)
