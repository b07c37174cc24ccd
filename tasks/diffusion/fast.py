"""The U-Net of tasks/diffusion/unet.py as a GPU evaluates it fastest: the same formula, rounded at other places.

Weights are cast once, not at each call. Norm, modulation and SiLU are one pass, which reads the two halves of a skip
connection where they lie. Repeating pixels and convolving is one transposed convolution. As under autocast, the time
embedding, the statistics of the norms and the output layers are float32.

Each part falls back to the simpler way with a message: Triton's norm to PyTorch's, the compiled graph to the network as
it is.
"""

import copy
import logging
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.diffusion.samplers import Denoise
from tasks.diffusion.unet import Block, GroupNorm, ResBlock, UNet, Upsample, check_size, timestep_embedding
from tasks.running.batching import first_line
from tasks.running.compiled import Compiled
from tasks.running.memory import is_too_little_memory

WORTH_COMPILING = 40_000  # evaluations of single images: a minute at 1.5 ms less for each (estimated, not measured)
Modulation = tuple[Tensor, Tensor]
"""scale and shift, each [N, C] float32"""
NormSilu = Callable[[GroupNorm, Sequence[Tensor], Modulation | None], Tensor]
"""`norm_silu`, or a faster version of it"""


def for_sampling(prior: UNet, device: torch.device, is_half: bool, evaluations: int) -> Denoise:
    """The prior as a chain evaluates it fastest on its device; as it is but for bfloat16 on CUDA.

    evaluations: of single images, that are to come.
    """
    if device.type != "cuda" or not is_half:
        return prior
    kernel = norm_kernel(device)
    fast = FastUNet(prior, norm_silu=kernel or norm_silu)
    return Compiled(fast) if kernel and evaluations >= WORTH_COMPILING else fast  # the compiler needs Triton, too


def norm_kernel(device: torch.device) -> NormSilu | None:
    """`norm_silu` in Triton, where it runs and agrees; None, and a message, elsewhere."""
    norm, x = GroupNorm(64).to(device), torch.linspace(0, 3, 4096, device=device).view(1, 8, 8, 64).permute(0, 3, 1, 2)
    halves = x.to(torch.bfloat16).chunk(2, dim=1)
    try:
        from tasks.running import norm_triton

        torch.testing.assert_close(norm_triton.norm_silu(norm, halves), norm_silu(norm, halves), rtol=2e-2, atol=2e-2)
    except Exception as error:
        if is_too_little_memory(error):
            raise
        said = f"{type(error).__name__}: {first_line(error)}"
        logging.getLogger(__name__).warning("no norm in Triton here (%s): an evaluation takes longer", said)
        return None
    return norm_triton.norm_silu


def norm_silu(norm: GroupNorm, parts: Sequence[Tensor], modulation: Modulation | None = None) -> Tensor:
    """SiLU(norm(x) (1 + scale) + shift), computed in float32, of the same type as x.

    parts: x [N, C, H, W] as one tensor or two, which together have its channels.
    """
    h = F.group_norm(torch.cat([*parts], dim=1).float(), norm.num_groups, norm.weight, norm.bias, norm.eps)
    if modulation is not None:
        scale, shift = (factor[:, :, None, None] for factor in modulation)
        h = h * (1 + scale) + shift
    return F.silu(h).to(parts[0].dtype)


class FastUNet(nn.Module):
    """forward(x [N, C, H, W], t [N]) -> [N, out_channels, H, W] float32, as `UNet`, for evaluation only."""

    def __init__(self, unet: UNet, dtype: torch.dtype = torch.bfloat16, norm_silu: NormSilu = norm_silu) -> None:
        """unet: stays as it is; a copy of its weights is taken. dtype: of convolutions and products."""
        super().__init__()
        self.unet, self.dtype, self.norm_silu = copy.deepcopy(unet), dtype, norm_silu
        for block in self.unet.output_blocks:
            assert isinstance(block, Block)
            for n, layer in enumerate(block):
                block[n] = in_one(layer.conv) if isinstance(layer, Upsample) else layer
        float32 = {id(module) for part in (self.unet.time_embed, self.unet.out) for module in part.modules()}
        for module in self.unet.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Conv1d | nn.Linear) and id(module) not in float32:
                module.to(dtype)
        self.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        check_size(self.unet.config, x)
        with torch.autocast(x.device.type, enabled=False):
            emb = self.unet.time_embed(timestep_embedding(t, self.unet.config.model_channels))
            h, skips = x.to(self.dtype, memory_format=torch.channels_last), []
            for block in self.unet.input_blocks:
                h = self._block(block, [h], emb)
                skips.append(h)
            h = self._block(self.unet.middle_block, [h], emb)
            for block in self.unet.output_blocks:
                h = self._block(block, [h, skips.pop()], emb)
            result: Tensor = self.unet.out(h.float())
        return result

    def _block(self, block: nn.Module, parts: list[Tensor], emb: Tensor) -> Tensor:
        """Layers in a row; parts: x, or the two halves of a skip connection."""
        assert isinstance(block, Block)
        for layer in block:
            parts = [self._res_block(layer, parts, emb) if isinstance(layer, ResBlock) else layer(*parts)]
        return parts[0]

    def _res_block(self, layer: ResBlock, parts: list[Tensor], emb: Tensor) -> Tensor:
        norm, _, conv = layer.in_layers
        assert isinstance(norm, GroupNorm)
        h = conv(layer.resize(self.norm_silu(norm, parts, None)))
        activation, linear = layer.emb_layers
        scale, shift = linear(activation(emb).to(self.dtype)).float().chunk(2, dim=1)
        norm, _, _, conv = layer.out_layers
        assert isinstance(norm, GroupNorm)
        h = conv(self.norm_silu(norm, [h], (scale, shift)))
        result: Tensor = shortcut(layer, parts) + h
        return result


def shortcut(layer: ResBlock, parts: list[Tensor]) -> Tensor:
    """What a residual block adds to; a 1 x 1 convolution of two halves is the sum of one of each."""
    resized, conv = [layer.resize(part) for part in parts], layer.skip_connection
    if not isinstance(conv, nn.Conv2d):
        return torch.cat(resized, dim=1) if len(resized) > 1 else resized[0]
    weights = conv.weight.split([part.shape[1] for part in parts], dim=1)  # type: ignore[no-untyped-call]
    total: Tensor = F.conv2d(resized[0], weights[0], conv.bias)
    for part, weight in zip(resized[1:], weights[1:], strict=True):
        total = total + F.conv2d(part, weight)
    return total


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
