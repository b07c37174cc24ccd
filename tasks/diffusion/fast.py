"""The U-Net of tasks/diffusion/unet.py as a GPU evaluates it fastest: the same formula, rounded at other places.

Weights are cast once, not at each call. Bias, norm, modulation and SiLU are one pass, which reads the two halves of a
skip connection where they lie; the sum at the end of a block and its biases are another. Repeating pixels and
convolving is one transposed convolution. As under autocast, the time embedding, the statistics of the norms and the
output layers are float32. Where Triton does not run, PyTorch makes the passes, and a message says so.
"""

import copy
import logging
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
from tasks.running.memory import is_too_little_memory

Modulation = tuple[Tensor, Tensor]
"""scale and shift, each [N, C] float32"""


class Passes(Protocol):
    """What lies between two convolutions, each in one go over the images: this module or tasks.running.unet_triton."""

    def norm_silu(
        self,
        norm: nn.GroupNorm,
        parts: Sequence[Tensor],
        *,
        bias: Tensor | None = None,
        modulation: Modulation | None = None,
        is_active: bool = True,
        dtype: torch.dtype | None = None,
    ) -> Tensor: ...

    def added(self, parts: Sequence[Tensor], bias: Tensor) -> Tensor: ...


def for_sampling(prior: UNet, device: torch.device, is_half: bool) -> Denoise:
    """The prior as a chain evaluates it fastest on its device; as it is but for bfloat16 on CUDA."""
    return FastUNet(prior, passes=triton_passes(device) or PYTORCH) if device.type == "cuda" and is_half else prior


def triton_passes(device: torch.device) -> Passes | None:
    """The passes in Triton, where they run and agree; None, and a message, elsewhere."""
    norm, x = GroupNorm(64).to(device), torch.linspace(0, 3, 4096, device=device).view(1, 8, 8, 64).permute(0, 3, 1, 2)
    halves = x.to(torch.bfloat16).chunk(2, dim=1)
    try:
        from tasks.running import unet_triton

        for ours, plain in (
            (unet_triton.norm_silu(norm, halves), norm_silu(norm, halves)),
            (unet_triton.added(halves, norm.weight[:32]), added(halves, norm.weight[:32])),
        ):
            torch.testing.assert_close(ours, plain, rtol=2e-2, atol=2e-2)
    except Exception as error:
        if is_too_little_memory(error):
            raise
        said = f"{type(error).__name__}: {first_line(error)}"
        logging.getLogger(__name__).warning("no passes in Triton here (%s): an evaluation takes longer", said)
        return None
    return unet_triton


def norm_silu(
    norm: nn.GroupNorm,
    parts: Sequence[Tensor],
    *,
    bias: Tensor | None = None,
    modulation: Modulation | None = None,
    is_active: bool = True,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """SiLU(norm(x + bias) (1 + scale) + shift), computed in float32.

    parts: x [N, C, H, W] as one tensor or two, which together have its channels. is_active: with SiLU. dtype: of the
    result; default: that of x.
    """
    x = torch.cat([*parts], dim=1).float()
    if bias is not None:
        x = x + bias[:, None, None]
    h = F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)
    if modulation is not None:
        scale, shift = (factor[:, :, None, None] for factor in modulation)
        h = h * (1 + scale) + shift
    return (F.silu(h) if is_active else h).to(dtype or parts[0].dtype)


def added(parts: Sequence[Tensor], bias: Tensor) -> Tensor:
    """The sum of one to three tensors [N, C, H, W] and a bias [C], computed in float32; of the parts' type."""
    total = bias.float()[:, None, None]
    for part in parts:
        total = total + part
    return total.to(parts[0].dtype)


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
            h, skips = x.to(self.dtype, memory_format=torch.channels_last), []
            for block in self.unet.input_blocks:
                h = self._block(block, [h], modulations)
                skips.append(h)
            h = self._block(self.unet.middle_block, [h], modulations)
            for block in self.unet.output_blocks:
                h = self._block(block, [h, skips.pop()], modulations)
            norm, _, conv = self.unet.out
            result: Tensor = conv(self.passes.norm_silu(cast(GroupNorm, norm), [h], dtype=torch.float32))
        return result

    def _block(self, block: nn.Module, parts: list[Tensor], modulations: Iterator[Tensor]) -> Tensor:
        """Layers in a row; parts: x, or the two halves of a skip connection."""
        assert isinstance(block, Block)
        for layer in block:
            if isinstance(layer, ResBlock):
                parts = [self._res_block(layer, parts, next(modulations))]
            elif isinstance(layer, Attention):
                parts = [parts[0] + layer.attend(self.passes.norm_silu(layer.norm, parts, is_active=False))]
            else:
                conv = layer.op if isinstance(layer, Downsample) else layer
                parts = [self.passes.added([without_bias(conv, *parts)], cast(Tensor, conv.bias))]
        return parts[0]

    def _res_block(self, layer: ResBlock, parts: list[Tensor], modulation: Tensor) -> Tensor:
        """The passes after the convolutions add their biases."""
        norm, conv = cast(GroupNorm, layer.in_layers[0]), cast(nn.Conv2d, layer.in_layers[2])
        after, last = cast(GroupNorm, layer.out_layers[0]), cast(nn.Conv2d, layer.out_layers[3])
        h = without_bias(conv, layer.resize(self.passes.norm_silu(norm, parts)))
        scale, shift = modulation.chunk(2, dim=1)
        h = without_bias(last, self.passes.norm_silu(after, [h], bias=conv.bias, modulation=(scale, shift)))
        others, bias = shortcut(layer, parts)
        own = cast(Tensor, last.bias)
        return self.passes.added([h, *others], own if bias is None else own + bias)


def without_bias(conv: nn.Module, x: Tensor) -> Tensor:
    """The convolution alone: cuDNN's does not add a bias, and PyTorch would in a pass of its own."""
    assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
    if isinstance(conv, nn.ConvTranspose2d):
        return F.conv_transpose2d(x, conv.weight, None, 2, 1)
    return F.conv2d(x, conv.weight, None, conv.stride, conv.padding)


def shortcut(layer: ResBlock, parts: list[Tensor]) -> tuple[list[Tensor], Tensor | None]:
    """What a residual block adds to, as summands; a 1 x 1 convolution of two halves is the sum of one of each."""
    resized, conv = [layer.resize(part) for part in parts], layer.skip_connection
    if not isinstance(conv, nn.Conv2d):
        return [torch.cat(resized, dim=1) if len(resized) > 1 else resized[0]], None
    weights = conv.weight.split([part.shape[1] for part in parts], dim=1)  # type: ignore[no-untyped-call]
    return [F.conv2d(part, weight) for part, weight in zip(resized, weights, strict=True)], conv.bias


def all_modulations(unet: UNet) -> tuple[nn.Linear, list[int]]:
    """The layers that make scale and shift of every residual block as one, and how many numbers each block takes."""
    layers = [cast(nn.Linear, block.emb_layers[1]) for block in unet.modules() if isinstance(block, ResBlock)]
    weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
    made = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
    made.weight, made.bias = nn.Parameter(weight.detach(), False), nn.Parameter(bias.detach(), False)
    return made, [layer.out_features for layer in layers]


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
