"""`tasks.diffusion.fast.norm_silu` on CUDA, for tensors with channels last: moments of each channel, then one pass."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

PIXELS, CHANNELS = 256, 32  # of a program


def norm_silu(norm: nn.GroupNorm, parts: Sequence[Tensor], modulation: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """See `tasks.diffusion.fast.norm_silu`; the parts' channels are multiples of 32."""
    parts = [part.contiguous(memory_format=torch.channels_last) for part in parts]
    n, _, height, width = parts[0].shape
    pixels, total = height * width, sum(part.shape[1] for part in parts)
    factor, shift = affine(norm, *moments(parts, n, pixels, total), pixels)
    if modulation is not None:
        factor, shift = factor * (1 + modulation[0]), shift * (1 + modulation[0]) + modulation[1]
    out = torch.empty((n, total, height, width), dtype=parts[0].dtype, device=parts[0].device)
    out = out.to(memory_format=torch.channels_last)
    first = 0
    for part in parts:
        channels = part.shape[1]
        grid = (triton.cdiv(pixels, PIXELS), n, triton.cdiv(channels, CHANNELS))
        _apply[grid](part, factor, shift, out, pixels, channels, first, total, PIXELS=PIXELS, CHANNELS=CHANNELS)
        first += channels
    return out


def moments(parts: Sequence[Tensor], n: int, pixels: int, total: int) -> tuple[Tensor, Tensor]:
    """Of every channel and run of PIXELS pixels: mean, and sum of squares around it; [N, runs, C] float32."""
    runs = triton.cdiv(pixels, PIXELS)
    means, squares = (torch.empty((n, runs, total), device=parts[0].device) for _ in range(2))
    first = 0
    for part in parts:
        channels = part.shape[1]
        grid = (runs, n, triton.cdiv(channels, CHANNELS))
        _moments[grid](part, means, squares, pixels, channels, first, total, PIXELS=PIXELS, CHANNELS=CHANNELS)
        first += channels
    return means, squares


def affine(norm: nn.GroupNorm, means: Tensor, squares: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """The norm as factor and shift of each channel, [N, C]: moments of parts, put together without cancellation."""
    n, runs, total = means.shape
    counts = (pixels - PIXELS * torch.arange(runs, device=means.device)).clamp(max=PIXELS).view(1, -1, 1, 1)
    means, squares = (some.view(n, runs, norm.num_groups, -1) for some in (means, squares))
    size = pixels * total // norm.num_groups
    mean = (counts * means).sum(dim=(1, 3), keepdim=True) / size
    variance = (squares + counts * (means - mean) ** 2).sum(dim=(1, 3)) / size
    each = total // norm.num_groups
    inverse = torch.rsqrt(variance + norm.eps).repeat_interleave(each, dim=1)
    factor = norm.weight * inverse
    return factor, norm.bias - mean.flatten(1).repeat_interleave(each, dim=1) * factor


@triton.jit
def _moments(x, means, squares, pixels, channels, first, total, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    run, row = tl.program_id(0), tl.program_id(1)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    pixel = run * PIXELS + tl.arange(0, PIXELS)
    is_inside = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    place = (row.to(tl.int64) * pixels + pixel)[:, None] * channels + channel[None, :]
    values = tl.load(x + place, is_inside, 0.0).to(tl.float32)
    mean = tl.sum(values, 0) / tl.minimum(PIXELS, pixels - run * PIXELS)
    off = tl.where(is_inside, values - mean[None, :], 0.0)
    place = (row * tl.num_programs(0) + run) * total + first + channel
    tl.store(means + place, mean, channel < channels)
    tl.store(squares + place, tl.sum(off * off, 0), channel < channels)


@triton.jit
def _apply(x, factor, shift, out, pixels, channels, first, total, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    row = tl.program_id(1)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    is_inside = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    line = row.to(tl.int64) * pixels + pixel
    values = tl.load(x + line[:, None] * channels + channel[None, :], is_inside, 0.0).to(tl.float32)
    a = tl.load(factor + row * total + first + channel, channel < channels, 0.0)
    b = tl.load(shift + row * total + first + channel, channel < channels, 0.0)
    h = values * a[None, :] + b[None, :]
    y = h / (1 + tl.exp(-h))
    tl.store(out + line[:, None] * total + (first + channel)[None, :], y.to(out.dtype.element_ty), is_inside)
