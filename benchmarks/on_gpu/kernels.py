"""Where the time of an evaluation goes: the heaviest convolutions and the norms of `ffhq512`, by shape and layout."""

from functools import partial

import torch
import torch.nn.functional as F

from benchmarks.on_gpu.report import Report, precision, seconds
from tasks import noise
from tasks.diffusion.unet import GroupNorm
from tasks.noise import ImageStreams

BATCH = 16
CONVOLUTIONS = (  # side, channels in and out, kernel
    (512, 32, 32, 3),
    (512, 64, 32, 3),
    (512, 96, 32, 3),
    (256, 64, 64, 3),
    (256, 192, 64, 3),
    (128, 128, 128, 3),
    (128, 384, 128, 3),
    (64, 256, 256, 3),
    (64, 512, 256, 3),
    (32, 256, 256, 3),
    (16, 512, 512, 3),
    (8, 512, 512, 3),
)
NORMS = ((512, 32), (512, 96), (256, 64), (128, 128), (64, 256))
LAST, FIRST = torch.channels_last, torch.contiguous_format


def run(report: Report, device: torch.device, is_quick: bool) -> None:
    batch, repeats = (1, 1) if is_quick else (BATCH, 3)
    for shape in CONVOLUTIONS[-2:] if is_quick else CONVOLUTIONS:
        convolution(report, device, batch, repeats, *shape)
    draw(report, device, 2 if is_quick else BATCH, 32 if is_quick else 512, repeats)
    for side, channels in NORMS[-1:] if is_quick else NORMS:
        norm(report, device, batch, repeats, side, channels)


@torch.no_grad()
def convolution(
    report: Report, device: torch.device, batch: int, repeats: int, side: int, into: int, out: int, kernel: int
) -> None:
    flop = 2 * kernel**2 * into * out * side**2 * batch
    cells = {}
    for name, dtype, layout in (
        ("bf16 NHWC", torch.bfloat16, LAST),
        ("bf16 NCHW", torch.bfloat16, FIRST),
        ("TF32 NHWC", torch.float32, LAST),
    ):
        x = torch.randn(batch, into, side, side, device=device, dtype=dtype).to(memory_format=layout)
        weight = torch.randn(out, into, kernel, kernel, device=device, dtype=dtype).to(memory_format=layout)
        with precision("tf32", device):
            cells[name] = (
                f"{flop / seconds(partial(F.conv2d, x, weight, padding=kernel // 2), device, repeats) / 1e12:.0f}"
            )
    report.row(f"Convolutions, batch {batch}, TFLOP/s", side=side, channels=f"{into} -> {out}", kernel=kernel, **cells)


@torch.no_grad()
def norm(report: Report, device: torch.device, batch: int, repeats: int, side: int, channels: int) -> None:
    layer = GroupNorm(channels).to(device)
    cells = {}
    for name, layout in (("NHWC", LAST), ("NCHW", FIRST)):
        x = torch.randn(batch, channels, side, side, device=device, dtype=torch.bfloat16).to(memory_format=layout)
        spent = seconds(lambda x=x: F.silu(layer(x)), device, repeats)
        cells[name] = f"{6 * x.numel() / spent / 1e12:.2f}"
    report.row(
        f"GroupNorm + SiLU, batch {batch}, TB/s of the 6 bytes that it needs", side=side, channels=channels, **cells
    )


def draw(report: Report, device: torch.device, batch: int, side: int, repeats: int) -> None:
    """Noise for a batch: compiled, by tensor operations, by torch's own generator (which differs between devices)."""
    streams = ImageStreams(0, "s", [str(n) for n in range(batch)], device)
    shape = (batch, 3, side, side)
    blocks, table = 3 * side**2 // 4, noise.quantile_table(device)
    ways = {
        "bfr's": lambda: streams.normal(*shape[1:]),
        "bfr's by tensor operations": lambda: noise.normal(streams._streams, 0, blocks, table),
        "torch.randn": lambda: torch.randn(shape, device=device),
    }
    for name, way in ways.items():
        spent = seconds(way, device, repeats)
        each = f"{1e9 * spent / (batch * 3 * side**2):.3f}"
        report.row(f"Noise, {batch} x 3 x {side} x {side}", way=name, ms=f"{1e3 * spent:.3f}", ns_a_number=each)
