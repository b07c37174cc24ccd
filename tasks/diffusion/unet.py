"""The ADM U-Net of Dhariwal & Nichol 2021 ("Diffusion Models Beat GANs"), as DifFace, DT-BFR and gen2res use it.

Module names follow guided-diffusion's state dict, so that official checkpoints load without renaming.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_GROUPS = 32
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class UNetConfig:
    """Shape of an ADM U-Net; all sizes in pixels, all levels from the largest image to the smallest.

    model_channels: channels of the first level; channel_mult: each level's multiple of it.
    num_res_blocks: residual blocks per level on the way down (one more on the way up).
    attention_sizes: image sizes with attention; the middle always has it.
    image_size: side of the images it is made for. It fixes where attention sits; other sizes run as well.
    num_head_channels: width of an attention head; None: num_heads of them, as wide as the channels allow.
    resblock_updown: resample inside residual blocks (gen2res) instead of by strided convolutions (DifFace, DT-BFR).
    out_channels: twice in_channels where the variance is learned. dropout: in the residual blocks, 0 … 1.

    Raises ValueError where the parts do not fit each other.
    """

    model_channels: int
    channel_mult: tuple[int, ...]
    num_res_blocks: tuple[int, ...]
    attention_sizes: tuple[int, ...]
    image_size: int
    in_channels: int = 3
    out_channels: int = 6
    num_head_channels: int | None = None
    num_heads: int = 1
    resblock_updown: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if len(self.num_res_blocks) != len(self.channel_mult):
            raise ValueError(
                f"num_res_blocks has {len(self.num_res_blocks)} levels, channel_mult {len(self.channel_mult)};"
                " give one number per level in both"
            )
        if self.model_channels % NORM_GROUPS:
            raise ValueError(f"model_channels must be a multiple of {NORM_GROUPS}, found {self.model_channels}")
        sizes = [self.image_size >> level for level in range(len(self.channel_mult))]
        if unknown := sorted(set(self.attention_sizes) - set(sizes)):
            raise ValueError(f"attention_sizes {unknown} are no level's image size; choose from {sizes}")

    @property
    def multiple(self) -> int:
        """What the sides of images must be multiples of: every level halves them."""
        return 1 << len(self.channel_mult) - 1


class UNet(nn.Module):
    """eps and variance prediction: forward(x [N, C, H, W], t [N]) -> [N, out_channels, H, W] float32.

    x: float, [-1, 1] plus noise; H and W multiples of 2^(levels - 1). t: step of the original 1000, may be fractional.
    Runs under torch.autocast: as in the official half precision, the time embedding and the output layers stay
    float32 and the norms compute in float32. Layers that end a residual path start at zero.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        width, levels = config.model_channels, len(config.channel_mult)
        emb = 4 * width
        self.time_embed = nn.Sequential(nn.Linear(width, emb), nn.SiLU(), nn.Linear(emb, emb))

        def res_block(channels: int, out: int, resize: nn.Module | None = None) -> ResBlock:
            return ResBlock(channels, out, emb, config.dropout, resize)

        channels = width
        skips = [width]
        self.input_blocks = nn.ModuleList([Block([nn.Conv2d(config.in_channels, width, 3, padding=1)])])
        for level in range(levels):
            out = width * config.channel_mult[level]
            for _ in range(config.num_res_blocks[level]):
                self.input_blocks.append(Block([res_block(channels, out), *self._attention(level, out)]))
                channels = out
                skips.append(channels)
            if level < levels - 1:
                shrink = res_block(out, out, nn.AvgPool2d(2)) if config.resblock_updown else Downsample(out)
                self.input_blocks.append(Block([shrink]))
                skips.append(channels)

        attention = Attention(channels, self._heads(channels))
        self.middle_block = Block([res_block(channels, channels), attention, res_block(channels, channels)])

        self.output_blocks = nn.ModuleList()
        for level in reversed(range(levels)):
            out = width * config.channel_mult[level]
            for n in range(config.num_res_blocks[level] + 1):
                layers = [res_block(channels + skips.pop(), out), *self._attention(level, out)]
                channels = out
                if level > 0 and n == config.num_res_blocks[level]:
                    nearest = nn.Upsample(scale_factor=2, mode="nearest")
                    layers.append(res_block(out, out, nearest) if config.resblock_updown else Upsample(out))
                self.output_blocks.append(Block(layers))

        last = zeroed(nn.Conv2d(channels, config.out_channels, 3, padding=1))
        self.out = nn.Sequential(GroupNorm(channels), nn.SiLU(), last)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h, skips, emb = self.encode(x, t)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb)
        with torch.autocast(x.device.type, enabled=False):
            result: Tensor = self.out(h.float())
        return result

    def encode(self, x: Tensor, t: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """What the middle block makes of x, what the second half reads beside it, and the embedding of t."""
        check_size(self.config, x)
        with torch.autocast(x.device.type, enabled=False):
            emb = self.time_embed(timestep_embedding(t, self.config.model_channels))
        h, skips = x, []
        for block in self.input_blocks:
            h = block(h, emb)
            skips.append(h)
        return self.middle_block(h, emb), skips, emb

    def _attention(self, level: int, channels: int) -> list[nn.Module]:
        if self.config.image_size >> level not in self.config.attention_sizes:
            return []
        return [Attention(channels, self._heads(channels))]

    def _heads(self, channels: int) -> int:
        width, count = self.config.num_head_channels, self.config.num_heads
        if channels % (width or count):
            heads = f"attention heads of {width}" if width else f"{count} attention heads"
            raise ValueError(f"{channels} channels do not split into {heads}")
        return channels // width if width else count


def check_size(config: UNetConfig, x: Tensor) -> None:
    """Raises ValueError unless every level halves the size."""
    if x.shape[-1] % config.multiple or x.shape[-2] % config.multiple:
        raise ValueError(f"height and width must be multiples of {config.multiple}, found {tuple(x.shape[-2:])}")


class Block(nn.ModuleList):
    """Layers in a row; the residual blocks among them also get the time embedding."""

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, emb) if isinstance(layer, ResBlock) else layer(x)
        return x


class ResBlock(nn.Module):
    """Residual block, modulated by the time embedding: h = norm(h) (1 + scale) + shift.

    resize: resamples h (after norm and SiLU, before the convolution) and the shortcut.
    """

    def __init__(self, channels: int, out: int, emb: int, dropout: float, resize: nn.Module | None = None) -> None:
        super().__init__()
        self.resize = resize or nn.Identity()
        self.in_layers = nn.Sequential(GroupNorm(channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, 2 * out))
        last = zeroed(nn.Conv2d(out, out, 3, padding=1))
        self.out_layers = nn.Sequential(GroupNorm(out), nn.SiLU(), nn.Dropout(dropout), last)
        self.skip_connection = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm, activation, conv = self.in_layers
        h = conv(self.resize(activation(norm(x))))
        scale, shift = self.emb_layers(emb)[:, :, None, None].chunk(2, dim=1)
        norm, *rest = self.out_layers
        h = norm(h) * (1 + scale) + shift
        for layer in rest:
            h = layer(h)
        result: Tensor = self.skip_connection(self.resize(x)) + h
        return result


class Attention(nn.Module):
    """Self-attention over all pixels, with residual. Rows of qkv are [head][q, k, v][channel] ("legacy" order)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attend(self.norm(x))

    def attend(self, normed: Tensor) -> Tensor:
        """What is added to x."""
        n, c, height, width = normed.shape
        tokens = normed.flatten(2).transpose(1, 2)
        qkv = pointwise(self.qkv, tokens).view(n, -1, self.heads, 3, c // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, -1, c)
        return pointwise(self.proj_out, h).transpose(1, 2).reshape(n, c, height, width)


class Downsample(nn.Module):
    """Halve the size by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.op(x)
        return result


class Upsample(nn.Module):
    """Double the size by repeating pixels, then convolve."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return result


class GroupNorm(nn.GroupNorm):
    """Group norm over 32 groups that computes in float32 whatever the precision around it; same dtype back."""

    def __init__(self, channels: int) -> None:
        super().__init__(NORM_GROUPS, channels)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """Sinusoids [cos, sin] of t [N] with frequencies 10000^(-k / half), k = 0 … half - 1: [N, width] float32."""
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def pointwise(conv: nn.Conv1d, tokens: Tensor) -> Tensor:
    """A 1 x 1 convolution applied to tokens [N, T, C] as a matrix product, which keeps channels last."""
    return F.linear(tokens, conv.weight.squeeze(2), conv.bias)


def zeroed(module: M) -> M:
    """The module with all parameters at zero."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
