"""Algorithm 1 of DT-BFR from end to end: images a second, share of the peak, PSNR to float32 with the same noise.

Each row has one more of the switches by which `tasks.diffusion.fast` runs it on a GPU in bfloat16.
"""

import copy
import math
import time
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.on_gpu.device import product_rate
from benchmarks.on_gpu.photos import smooth
from benchmarks.on_gpu.report import Mode, Report, precision, wait
from tasks.diffusion.fast import FastUNet, Passes, triton_passes
from tasks.diffusion.priors import PRIORS
from tasks.diffusion.samplers import Denoise
from tasks.diffusion.schedule import Schedule
from tasks.diffusion.unet import UNet
from tasks.methods.dt_bfr import pseudo_targets, step_indices
from tasks.metrics.seeded import fill_seeded
from tasks.noise import ImageStreams
from tasks.running.graph import Graphed

PUBLISHED = 150  # evaluations of Algorithm 1
BATCH = 16
QUALITY = {"ieee": 80.0, "tf32": 45.0, "bf16": 30.0}  # least PSNR to float32, with random weights


@dataclass(frozen=True)
class Way:
    """A network in a precision, `batch` images at once, of which there are `count`."""

    name: str
    denoise: Denoise
    mode: Mode
    batch: int
    count: int


def run(report: Report, device: torch.device, is_quick: bool) -> None:
    plain, last = networks(device, is_quick)
    batch, one = (2 if is_quick else BATCH), (1 if is_quick else 2)
    half = in_bfloat16(copy.deepcopy(plain))
    half_last = copy.deepcopy(half).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ways = [
        Way("float32, eager, one by one (reference)", plain, "ieee", 1, one),
        Way("TF32, channels_last (`bf16: false`)", last, "tf32", batch, batch),
        Way("bf16 autocast", plain, "bf16", batch, batch),
        Way("bf16 weights", half, "bf16", batch, batch),
        Way("+ channels_last", half_last, "bf16", batch, batch),
        Way("+ upsampling in one, pairs of pixels, no concatenation", FastUNet(last), "bf16", batch, batch),
    ]
    if passes := passes_in_triton(report, device):
        fast = FastUNet(last, passes=passes)
        ways.append(Way("+ passes in Triton", fast, "bf16", batch, batch))
        ways.append(Way("the same, twice the batch", fast, "bf16", 2 * batch, 2 * batch))
        ways.append(Way("+ as a CUDA graph (`bf16: true`)", Graphed(fast), "bf16", batch, batch))
        ways.append(Way("the same, twice the batch", Graphed(fast), "bf16", 2 * batch, 2 * batch))
    for way in ways:
        measure(report, way, device, is_quick)


def compiled(report: Report, device: torch.device, is_quick: bool) -> None:
    """The same as one compiled graph, which takes minutes for each; bfr does not compile (docs/performance.md)."""
    _, last = networks(device, is_quick)
    batch = 2 if is_quick else BATCH
    networks_by_name = {"compiled, passes in PyTorch": FastUNet(last)}
    if passes := passes_in_triton(report, device):
        networks_by_name["compiled, passes in Triton"] = FastUNet(last, passes=passes)
    for name, network in networks_by_name.items():
        graph = torch.compile(network, fullgraph=True, dynamic=False)
        measure(report, Way(name, graph, "bf16", batch, batch), device, is_quick)  # type: ignore[arg-type]


def passes_in_triton(report: Report, device: torch.device) -> Passes | None:
    """Them; where they do not run, a note or, on a GPU, a check that fails."""
    passes = triton_passes(device)
    if device.type == "cuda":
        report.check(passes is not None, "the passes in Triton agree with PyTorch's")
    elif passes is None:
        report.note("Left out: the passes in Triton, which computes on a GPU.")
    return passes


def measure(report: Report, way: Way, device: torch.device, is_quick: bool) -> None:
    """One way; its failure costs one line."""
    try:
        images, each_s, first_s = chain(way, device, is_quick)
    except Exception as error:
        report.check(False, f"Algorithm 1, {way.name}: {type(error).__name__}: {str(error)[:300]}")
        return
    if not images.isfinite().all():
        report.check(False, f"Algorithm 1, {way.name}: {int((~images.isfinite()).sum())} numbers are not finite")
        return
    reference = reference_images(device, is_quick)
    psnr = -10 * math.log10(max(1e-20, float((images[: len(reference)] - reference).square().mean())))
    rate = flop(device, is_quick) / each_s
    table = f"Algorithm 1, {size(is_quick)} x {size(is_quick)}, random weights"
    base = report.tables.get(table, [])
    report.row(
        table,
        way=way.name,
        batch=way.batch,
        images_a_second=f"{1 / each_s / PUBLISHED:.3f}",
        ratio=f"{float(base[0]['ms_an_evaluation']) / 1e3 / each_s:.2f}" if base else "1.00",
        ms_an_evaluation=f"{1e3 * each_s:.3f}",
        TFLOP_a_second=f"{rate / 1e12:.1f}",
        of_the_peak=f"{rate / peak(device, is_quick):.0%}",
        PSNR=f"{psnr:.1f}",
        first_call_s=f"{first_s:.1f}",
    )
    least = QUALITY[way.mode]
    report.check(psnr > least, f"Algorithm 1, {way.name}: {psnr:.1f} dB to float32")


def chain(way: Way, device: torch.device, is_quick: bool) -> tuple[Tensor, float, float]:
    """The images, seconds for an evaluation of one image with all around it, and those of the first call."""
    schedule = Schedule.linear().respace("10" if is_quick else "50")
    start, reg_end = step_indices(schedule, start_t=600, stop_t=360)
    side = size(is_quick)
    y0 = smooth(way.count, side).to(device)
    done = []
    with precision(way.mode, device), torch.no_grad():
        began = time.perf_counter()
        way.denoise(y0[: way.batch], torch.full((way.batch,), 300, device=device))
        wait(device)
        first_s = time.perf_counter() - began
        warm = partial(ImageStreams(0, "warm", ["0"] * way.batch, device).normal, 3, side, side)
        pseudo_targets(way.denoise, schedule, y0[: way.batch], warm, start=2, reg_end=1, factor=16)
        wait(device)
        began = time.perf_counter()
        for first in range(0, way.count, way.batch):
            some = y0[first : first + way.batch]
            streams = ImageStreams(0, "benchmark", [str(first + n) for n in range(len(some))], device)
            draw = partial(streams.normal, 3, side, side)
            done.append(pseudo_targets(way.denoise, schedule, some, draw, start=start, reg_end=reg_end, factor=16))
        wait(device)
        spent = time.perf_counter() - began
    return torch.cat(done).cpu(), spent / way.count / start, first_s


@cache
def networks(device: torch.device, is_quick: bool) -> tuple[UNet, UNet]:
    """Contiguous and channels_last; seeded random weights."""
    arch = "demo128" if is_quick else "ffhq512"
    plain = fill_seeded(UNet(PRIORS[arch]), arch).to(device)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return plain, last


def in_bfloat16(model: UNet) -> UNet:
    """Convolutions and products in bfloat16; norms, time embedding and output stay float32, as under autocast."""
    kept = {id(module) for part in (model.time_embed, model.out) for module in part.modules()}
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv1d | nn.Linear) and id(module) not in kept:
            module.to(torch.bfloat16)
            module.register_forward_pre_hook(lambda module, given: (given[0].to(torch.bfloat16),))
    return model


@cache
def reference_images(device: torch.device, is_quick: bool) -> Tensor:
    plain, _ = networks(device, is_quick)
    return chain(Way("reference", plain, "ieee", 1, 1), device, is_quick)[0]


@cache
def flop(device: torch.device, is_quick: bool) -> float:
    """Of one evaluation of one image."""
    side = size(is_quick)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        networks(device, is_quick)[0](torch.zeros(1, 3, side, side, device=device), torch.zeros(1, device=device))
    return float(counter.get_total_flops())


@cache
def peak(device: torch.device, is_quick: bool) -> float:
    """FLOP/s of a product in bfloat16, measured."""
    return product_rate(device, torch.bfloat16, 256 if is_quick else 8192)


def size(is_quick: bool) -> int:
    return 32 if is_quick else 512
