"""Bytes for each pixel, the batch that is chosen before and after work, and the way back from too large a one."""

import torch
from torch import Tensor

from benchmarks.on_gpu.photos import smooth
from benchmarks.on_gpu.report import Mode, Report, precision
from tasks.diffusion.priors import PRIORS
from tasks.diffusion.unet import UNet
from tasks.running.batching import EVALUATED, batch_size, in_batches


def run(report: Report, device: torch.device, is_quick: bool) -> None:
    if device.type != "cuda":
        report.note("Left out: memory, which is a GPU's own.")
        return
    arch = "demo128" if is_quick else "ffhq512"
    side = PRIORS[arch].image_size
    unet = UNet(PRIORS[arch]).to(device, memory_format=torch.channels_last).eval().requires_grad_(False)

    @torch.no_grad()
    def evaluated(images: Tensor, mode: Mode) -> Tensor:
        with precision(mode, device):
            return unet(images.to(device), torch.full((len(images),), 300, device=device)).mean(dim=(1, 2, 3)).cpu()

    for mode in ("tf32", "bf16"):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        evaluated(torch.rand(8, 3, side, side), mode)
        each = (torch.cuda.max_memory_allocated(device) - before) / 8 / side**2
        report.row("Memory", network=arch, precision=mode, bytes_a_pixel=f"{each:.0f}", reckoned=EVALUATED)
        report.check(each < EVALUATED, f"{arch}, {mode}: {each:.0f} bytes a pixel, {EVALUATED} are reckoned with")
    first = batch_size(device, side)
    evaluated(torch.rand(first, 3, side, side), "tf32")
    after = batch_size(device, side)
    report.check(after == first, f"a batch of {first} before work, {after} after it")
    too_much(report, device, side, lambda images, ids: evaluated(images, "tf32"))


def too_much(report: Report, device: torch.device, side: int, evaluated) -> None:
    """With room for about six images, a batch of 24 is halved until it fits, and the results are the same."""
    images = smooth(24, side)
    ids = [str(n) for n in range(24)]

    def load(some: list[str]) -> Tensor:
        return images[[int(n) for n in some]]

    whole = torch.cat([result for _, result in in_batches(ids, 4, load, evaluated)])
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info(device)[1]
    room = torch.cuda.memory_allocated(device) + 8 * side**2 * 3000
    torch.cuda.set_per_process_memory_fraction(min(1.0, room / total), device)
    sizes: list[int] = []
    try:
        less = []
        for some, result in in_batches(ids, 24, load, evaluated):
            sizes.append(len(some))
            less.append(result)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    is_same = torch.allclose(whole, torch.cat(less), atol=1e-3)
    report.check(max(sizes) < 24 and is_same, f"too little memory for 24 at once: went on with {sorted(set(sizes))}")
