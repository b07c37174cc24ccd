"""The U-Net of tasks/diffusion/unet.py as a GPU evaluates it fastest: the same formula, rounded at other places.

Weights are cast once, not at each call. Bias, norm, modulation and SiLU are one pass, which reads the two halves of a
skip connection where they lie. The sum at the end of a block is another, with its biases, the 1 x 1 convolutions of
its shortcut and the moments for the norms that read it. Repeating pixels and convolving is one transposed
convolution; convolutions to few channels make two pixels at once. As under autocast, the time embedding, the
statistics of the norms and the output layers are float32. All of it is one CUDA graph. Where Triton does not run,
PyTorch makes the passes, and a message says so.
"""

import copy
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.diffusion.samplers import Denoise
from tasks.diffusion.unet import (
    Attention,
    Block,
    Downsample,
    GroupNorm,
    ResBlock,
    UNet,
    Upsample,
    check_size,
    timestep_embedding,
)
from tasks.running.batching import first_line
from tasks.running.graph import Graphed
from tasks.running.memory import is_too_little_memory

Modulation = tuple[Tensor, Tensor]
"""scale and shift, each [N, C] float32"""
Measured = tuple[Tensor, Tensor | None]
"""x [N, C, H, W], and the moments of its channels, if the pass that made x took them"""
NARROW = 32
"""Channels of a convolution that cuDNN makes no faster than twice as many"""
Product = tuple[Tensor, Tensor]
"""x [N, D, H, W] and the weight [C, D, 1, 1] of a convolution of it"""


class Passes(Protocol):
    """What lies between two convolutions, each in one go over the images: this module or tasks.running.unet_triton."""

    def norm_silu(
        self,
        norm: nn.GroupNorm,
        parts: Sequence[Measured],
        *,
        bias: Tensor | None = None,
        modulation: Modulation | None = None,
        is_active: bool = True,
        is_paired: bool = False,
        dtype: torch.dtype | None = None,
    ) -> Tensor: ...

    def added(
        self, parts: Sequence[Tensor], bias: Tensor | None = None, products: Sequence[Product] = ()
    ) -> Measured: ...

    def last(self, norm: nn.GroupNorm, weight: Tensor, bias: Tensor, x: Measured) -> Tensor: ...


def for_sampling(prior: UNet, device: torch.device, is_half: bool) -> Denoise:
    """The prior as a chain evaluates it fastest on its device; as it is but for bfloat16 on CUDA."""
    if device.type != "cuda" or not is_half:
        return prior
    passes = triton_passes(device)
    return Graphed(FastUNet(prior, passes=passes)) if passes else FastUNet(prior)


def triton_passes(device: torch.device) -> Passes | None:
    """The passes in Triton, where they run and agree; None, and a message, elsewhere."""
    try:
        from tasks.running import unet_triton

        torch.testing.assert_close(trial(unet_triton, device), trial(PYTORCH, device), rtol=2e-2, atol=2e-2)
    except Exception as error:
        if is_too_little_memory(error):
            raise
        said = f"{type(error).__name__}: {first_line(error)}"
        logging.getLogger(__name__).warning("no passes in Triton here (%s): an evaluation takes longer", said)
        return None
    return unet_triton


@torch.no_grad()
def trial(passes: Passes, device: torch.device) -> list[Tensor]:
    """What the passes make of a few numbers."""

    def waves(*shape: int) -> Tensor:
        return torch.linspace(0, 300, math.prod(shape), device=device).sin().view(shape)

    norm, weight = GroupNorm(64).to(device), waves(32, 32, 1, 1).to(torch.bfloat16) / 4
    x, y = waves(2, 32, 12, 16).to(torch.bfloat16), 1 + waves(2, 32, 12, 16).to(torch.bfloat16)
    one, two = passes.added([x], waves(32), [(y, weight), (x, weight)]), passes.added([x, y])
    pairs = passes.norm_silu(norm, [one, two], is_paired=True)
    normed = passes.norm_silu(norm, [one, two], bias=waves(64), modulation=(waves(2, 64), waves(2, 64)))
    return [one[0], two[0], pairs, normed, passes.last(norm, waves(6, 64, 3, 3) / 8, waves(6), (normed, None))]


def norm_silu(
    norm: nn.GroupNorm,
    parts: Sequence[Measured],
    *,
    bias: Tensor | None = None,
    modulation: Modulation | None = None,
    is_active: bool = True,
    is_paired: bool = False,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """SiLU(norm(x + bias) (1 + scale) + shift), computed in float32.

    parts: x [N, C, H, W] as one tensor or two, which together have its channels. is_active: with SiLU. is_paired: as
    [N, 2 C, H, W / 2 + 1] for `paired` weights. dtype: of the result; default: that of x.
    """
    x = torch.cat([part for part, _ in parts], dim=1).float()
    if bias is not None:
        x = x + bias[:, None, None]
    h = F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)
    if modulation is not None:
        scale, shift = (factor[:, :, None, None] for factor in modulation)
        h = h * (1 + scale) + shift
    h = (F.silu(h) if is_active else h).to(dtype or parts[0][0].dtype)
    return in_pairs(h) if is_paired else h


def added(parts: Sequence[Tensor], bias: Tensor | None = None, products: Sequence[Product] = ()) -> Measured:
    """The sum of one or two tensors [N, C, H, W], a bias [C] and up to two products, in float32; of the parts' type.

    PyTorch's norm takes moments itself: none are handed on.
    """
    total = parts[0].float() if bias is None else parts[0] + bias.float()[:, None, None]
    for part in (*parts[1:], *(F.conv2d(x, weight) for x, weight in products)):
        total = total + part
    return total.to(parts[0].dtype), None


def last(norm: nn.GroupNorm, weight: Tensor, bias: Tensor, x: Measured) -> Tensor:
    """Norm, SiLU and a 3 x 3 convolution, all of them in float32: [N, out_channels, H, W]."""
    return F.conv2d(norm_silu(norm, [x], dtype=torch.float32), weight, bias, padding=1)


PYTORCH = cast(Passes, sys.modules[__name__])


class FastUNet(nn.Module):
    """forward(x [N, C, H, W], t [N]) -> [N, out_channels, H, W] float32, as `UNet`, for evaluation only."""

    def __init__(self, unet: UNet, dtype: torch.dtype = torch.bfloat16, passes: Passes = PYTORCH) -> None:
        """unet: stays as it is; a copy of its weights is taken. dtype: of convolutions and products."""
        super().__init__()
        self.unet, self.dtype, self.passes = copy.deepcopy(unet), dtype, passes
        for block in self.unet.output_blocks:
            assert isinstance(block, Block)
            for n, layer in enumerate(block):
                block[n] = in_one(layer.conv) if isinstance(layer, Upsample) else layer
        first = cast(Block, self.unet.input_blocks[0])
        first[0] = padded(cast(nn.Conv2d, first[0]))
        for layer in self.unet.modules():
            if isinstance(layer, ResBlock):
                prepare(layer)
        self.modulate, self.widths = all_modulations(self.unet)
        float32 = {id(module) for part in (self.unet.time_embed, self.unet.out) for module in part.modules()}
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Conv1d | nn.Linear) and id(module) not in float32:
                module.to(dtype)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        check_size(self.unet.config, x)
        with torch.autocast(x.device.type, enabled=False):
            emb = self.unet.time_embed(timestep_embedding(t, self.unet.config.model_channels))
            modulations = iter(self.modulate(F.silu(emb).to(self.dtype)).float().split(self.widths, dim=1))
            h: Measured = with_more_channels(x, self.dtype), None
            skips = []
            for block in self.unet.input_blocks:
                h = self._block(block, [h], modulations)
                skips.append(h)
            h = self._block(self.unet.middle_block, [h], modulations)
            for block in self.unet.output_blocks:
                h = self._block(block, [h, skips.pop()], modulations)
            norm, _, conv = self.unet.out
            return self.passes.last(cast(GroupNorm, norm), cast(Tensor, conv.weight), cast(Tensor, conv.bias), h)

    def _block(self, block: nn.Module, parts: list[Measured], modulations: Iterator[Tensor]) -> Measured:
        """Layers in a row; parts: x, or the two halves of a skip connection."""
        assert isinstance(block, Block)
        for layer in block:
            if isinstance(layer, ResBlock):
                parts = [self._res_block(layer, parts, next(modulations))]
            elif isinstance(layer, Attention):
                attended = layer.attend(self.passes.norm_silu(layer.norm, parts, is_active=False))
                parts = [self.passes.added([parts[0][0], attended])]
            else:
                conv = layer.op if isinstance(layer, Downsample) else layer
                parts = [self.passes.added([without_bias(conv, parts[0][0])], cast(Tensor, conv.bias))]
        return parts[0]

    def _res_block(self, layer: ResBlock, parts: list[Measured], modulation: Tensor) -> Measured:
        """The passes after the convolutions add their biases."""
        norm, conv = cast(GroupNorm, layer.in_layers[0]), cast(nn.Conv2d, layer.in_layers[2])
        after, last = cast(GroupNorm, layer.out_layers[0]), cast(nn.Conv2d, layer.out_layers[3])
        h = self._convolved(conv, norm, parts, resize=layer.resize)
        scale, shift = modulation.chunk(2, dim=1)
        h = self._convolved(last, after, [(h, None)], bias=conv.bias, modulation=(scale, shift))
        others, products = shortcut(layer, [part for part, _ in parts])
        return self.passes.added([h, *others], last.bias, products)

    def _convolved(
        self,
        conv: nn.Conv2d,
        norm: GroupNorm,
        parts: Sequence[Measured],
        *,
        resize: nn.Module | None = None,
        bias: Tensor | None = None,
        modulation: Modulation | None = None,
    ) -> Tensor:
        """Norm, SiLU and the convolution, without its bias."""
        pairs = getattr(conv, "pairs", None) if parts[0][0].shape[3] % 2 == 0 else None
        h = self.passes.norm_silu(norm, parts, bias=bias, modulation=modulation, is_paired=pairs is not None)
        if pairs is None:
            return without_bias(conv, resize(h) if resize else h)
        h = F.conv2d(h, pairs, padding=(1, 0)).permute(0, 2, 3, 1)
        return h.reshape(*h.shape[:2], -1, conv.out_channels).permute(0, 3, 1, 2)


def prepare(layer: ResBlock) -> None:
    """The biases of its two paths as one, and weights for pairs of pixels beside those of narrow convolutions."""
    first, last = cast(nn.Conv2d, layer.in_layers[2]), cast(nn.Conv2d, layer.out_layers[3])
    if isinstance(layer.skip_connection, nn.Conv2d):
        cast(Tensor, last.bias).data += cast(Tensor, layer.skip_connection.bias).data
    for conv in (first, last) if isinstance(layer.resize, nn.Identity) else (last,):
        if conv.out_channels <= NARROW:
            conv.pairs = nn.Parameter(paired(conv.weight.detach()), False)


def paired(weight: Tensor) -> Tensor:
    """A 3 x 3 convolution as one of `in_pairs` that makes pairs: [C, D, 3, 3] to [2 C, 2 D, 3, 2].

    Two pairs hold the four pixels that reach two results, so it takes 4/3 of the products, for twice the channels.
    """
    made = weight.new_zeros(2, weight.shape[0], 2, weight.shape[1], 3, 2)
    for result in range(2):
        for column in range(3):
            pair, pixel = divmod(result + column, 2)
            made[result, :, pixel, :, :, pair] = weight[:, :, :, column]
    return made.flatten(2, 3).flatten(0, 1)


def in_pairs(x: Tensor) -> Tensor:
    """[N, C, H, W] to [N, 2 C, H, W / 2 + 1], channels last: pixels 2k - 1 and 2k of a row are one, 0 around it."""
    wide = F.pad(x, (1, 1)).permute(0, 2, 3, 1)
    return wide.reshape(*wide.shape[:2], -1, 2 * x.shape[1]).permute(0, 3, 1, 2)


def without_bias(conv: nn.Module, x: Tensor) -> Tensor:
    """The convolution alone: cuDNN's does not add a bias, and PyTorch would in a pass of its own."""
    assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
    if isinstance(conv, nn.ConvTranspose2d):
        return F.conv_transpose2d(x, conv.weight, None, 2, 1)
    return F.conv2d(x, conv.weight, None, conv.stride, conv.padding)


def shortcut(layer: ResBlock, parts: list[Tensor]) -> tuple[list[Tensor], list[Product]]:
    """What a residual block adds to, without bias; a 1 x 1 convolution of two halves is the sum of one of each."""
    resized, conv = [layer.resize(part) for part in parts], layer.skip_connection
    if not isinstance(conv, nn.Conv2d):
        return [torch.cat(resized, dim=1) if len(resized) > 1 else resized[0]], []
    weights = conv.weight.split([part.shape[1] for part in parts], dim=1)  # type: ignore[no-untyped-call]
    return [], [*zip(resized, weights, strict=True)]


def all_modulations(unet: UNet) -> tuple[nn.Linear, list[int]]:
    """The layers that make scale and shift of every residual block as one, and how many numbers each block takes."""
    layers = [cast(nn.Linear, block.emb_layers[1]) for block in unet.modules() if isinstance(block, ResBlock)]
    weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
    made = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
    made.weight, made.bias = nn.Parameter(weight.detach(), False), nn.Parameter(bias.detach(), False)
    return made, [layer.out_features for layer in layers]


def with_more_channels(x: Tensor, dtype: torch.dtype) -> Tensor:
    """x and zeros, so many channels that cuDNN convolves them fast: a multiple of 8; with channels last."""
    n, channels, height, width = x.shape
    made = torch.zeros(n, height, width, channels + -channels % 8, dtype=dtype, device=x.device).permute(0, 3, 1, 2)
    made[:, :channels] = x
    return made


def padded(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution of x `with_more_channels`, which it multiplies by zeros."""
    made = copy.deepcopy(conv)
    made.weight = nn.Parameter(F.pad(conv.weight.detach(), (0, 0, 0, 0, 0, -conv.in_channels % 8)), False)
    return made


def in_one(conv: nn.Conv2d) -> nn.ConvTranspose2d:
    """Pixels repeated twice each way, then this 3 x 3 convolution, as one: 16 products a pixel and channel for 36.

    A pixel reaches its four copies and their neighbours, 4 x 4 places, by the sum of the weights that lead there:
    the flipped kernel, convolved with the 2 x 2 of the copies. Equal but for rounding.
    """
    made = nn.ConvTranspose2d(conv.in_channels, conv.out_channels, 4, stride=2, padding=1, device=conv.weight.device)
    copies = torch.ones(1, 1, 2, 2, dtype=conv.weight.dtype, device=conv.weight.device)
    reached = F.conv2d(conv.weight.detach().flip(2, 3).flatten(0, 1)[:, None], copies, padding=1)
    assert conv.bias is not None
    made.weight = nn.Parameter(reached.view(*conv.weight.shape[:2], 4, 4).transpose(0, 1).contiguous(), False)
    made.bias = nn.Parameter(conv.bias.detach().clone(), False)
    return made
