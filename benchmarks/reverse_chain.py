"""Algorithm 1 of DT-BFR from end to end: images per second and error of each way to run it.

    python -m benchmarks.reverse_chain [--weights FILE --arch ffhq512] [--images 16] [--respacing 250] [--compile]

The reference's way is eager float32 (on a GPU too, where the others' convolutions take TF32), one image after another,
contiguous; ours also keeps the process's memory, as the stages do (`tasks.running.device.kept_memory`). The same noise
in all; compilation comes before the clock, and the clock waits for the device. The images are the
rendered heads, blurred, at the size of the prior (or --side). On a GPU also: the share of the peak that --peak gives.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.on_gpu.report import Mode, precision, wait
from tasks.basics import WEIGHTS
from tasks.diffusion.fast import FastUNet, triton_passes
from tasks.diffusion.priors import PRIORS, load_prior
from tasks.diffusion.schedule import Schedule
from tasks.diffusion.unet import UNet
from tasks.heads.render import render
from tasks.methods.dt_bfr import pseudo_targets, step_indices
from tasks.metrics.seeded import fill_seeded
from tasks.noise import ImageStreams
from tasks.pixels import to_tensor
from tasks.running.batching import batch_size
from tasks.running.device import kept_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=PRIORS, default="demo128")
    parser.add_argument("--weights", type=Path, help="default: the demo's, or random ones for other architectures")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--side", type=int, help="of the images; default: the prior's")
    parser.add_argument("--respacing", default="250")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--peak", type=float, help="the device's bf16 peak, TFLOP/s")
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    schedule = Schedule.linear().respace(given.respacing)
    start, reg_end = step_indices(schedule, start_t=600, stop_t=360)
    side = given.side or PRIORS[given.arch].image_size
    y0 = blurred(given.images, side).to(device)
    fast = prior(given.arch, given.weights, device)
    plain = prior(given.arch, given.weights, device).to(memory_format=torch.contiguous_format)
    size = batch_size(device, side)

    def chain(model: Callable[..., Tensor], batch: int) -> Tensor:
        done = []
        for first in range(0, given.images, batch):
            some = y0[first : first + batch]
            streams = ImageStreams(0, "benchmark", [str(first + n) for n in range(len(some))], device)
            draw = partial(streams.normal, 3, side, side)
            done.append(pseudo_targets(model, schedule, some, draw, start=start, reg_end=reg_end, factor=16))
        return torch.cat(done)

    ways: dict[str, tuple[Callable[..., Tensor], int, Mode]] = {
        "float32, one by one (reference)": (plain, 1, "ieee"),
        f"float32, channels_last, batch {size}": (fast, size, "tf32"),
        f"bfloat16, channels_last, batch {size}": (fast, size, "bf16"),
    }
    once = FastUNet(fast)
    ways[f"bfloat16 weights, upsampling in one, batch {size}"] = (once, size, "bf16")
    if passes := triton_passes(device):
        once = FastUNet(fast, passes=passes)
        ways[f"the same, its passes in Triton, batch {size}"] = (once, size, "bf16")
    if given.compile:
        ways[f"the same, compiled, batch {size}"] = (torch.compile(once, dynamic=False), size, "bf16")
    flops = flops_of(plain, y0[:1])
    print(f"{given.arch}, {given.images} images of {side} x {side}, {start} x {flops / 1e9:.1f} GFLOP, {device}")
    print("| Way | images/s | ratio | PSNR to the reference (dB) | largest error | TFLOP/s |")
    print("|---|---:|---:|---:|---:|---:|")
    reference: Tensor | None = None
    first_s = 0.0
    for way, (model, batch, mode) in ways.items():
        with precision(mode, device), nullcontext() if model is plain else kept_memory():
            for count in {min(batch, given.images), given.images % batch or batch}:  # warms up: kernels, compilation
                with torch.no_grad():
                    model(y0[:count], torch.full((count,), 300, device=device))
            ImageStreams(0, "benchmark", ["0"], device).normal(3, side, side)
            wait(device)
            started = time.perf_counter()
            images = chain(model, batch)
            wait(device)
            seconds = time.perf_counter() - started
        images = images.cpu()
        reference = images if reference is None else reference
        first_s = first_s or seconds
        difference = images - reference
        psnr = -10 * torch.log10(difference.square().mean()).item()
        rate = given.images * start * flops / seconds / 1e12
        peak = f" ({rate / given.peak:.0%} of the peak)" if given.peak else ""
        print(
            f"| {way} | {given.images / seconds:.3f} | {first_s / seconds:.2f} | {psnr:.1f} "
            f"| {difference.abs().max():.1e} | {rate:.2f}{peak} |"
        )


def prior(arch: str, weights: Path | None, device: torch.device) -> UNet:
    if weights is None and arch == "demo128":
        weights = WEIGHTS / "demo" / "prior.safetensors"
    if weights is not None:
        return load_prior(arch, weights, device)
    model = fill_seeded(UNet(PRIORS[arch]), arch)
    return model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def blurred(count: int, side: int) -> Tensor:
    """[count, 3, side, side] in [0, 1]: what a restorer's output looks like."""
    faces = torch.stack([to_tensor(render(n, 64)) for n in range(count)])
    return F.interpolate(F.avg_pool2d(faces, 2), size=(side, side), mode="bilinear").clamp(0, 1)


def flops_of(model: UNet, image: Tensor) -> float:
    """Of one evaluation for one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image, torch.full((1,), 300, device=image.device))
    return float(counter.get_total_flops())


if __name__ == "__main__":
    main()
