"""One evaluation of a prior: seconds per image and error of each way to run it, against eager float32 at batch 1.

    python -m benchmarks.unet_step [--arch ffhq512] [--batch 4] [--device cuda] [--rounds 3]

The weights are random (seeded), so errors are those of the arithmetic, not of a
trained network. The ways take turns in every round; the table gives the median.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from tasks.diffusion.priors import PRIORS
from tasks.diffusion.unet import UNet
from tasks.metrics.seeded import fill_seeded
from tasks.running.device import kept_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=PRIORS, default="ffhq512")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    device, side = torch.device(given.device), PRIORS[given.arch].image_size
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    torch.manual_seed(0)
    eager = fill_seeded(UNet(PRIORS[given.arch]), given.arch).to(device)
    fast = copy.deepcopy(eager).to(memory_format=torch.channels_last)
    x = torch.randn((given.batch, 3, side, side), generator=torch.Generator().manual_seed(0)).to(device)
    t = torch.full((given.batch,), 300, device=device)

    def one_by_one() -> Tensor:
        return torch.cat([eager(x[n : n + 1], t[n : n + 1]) for n in range(given.batch)])

    def bfloat16(model: UNet, images: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return model(images, t).float()

    def kept(run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def run_so() -> Tensor:
            with kept_memory():
                return run()

        return run_so

    x_last = x.to(memory_format=torch.channels_last)

    ways: dict[str, Callable[[], Tensor]] = {
        "eager float32, batch 1": one_by_one,
        f"float32, batch {given.batch}": lambda: eager(x, t),
        f"float32, channels_last, batch {given.batch}": lambda: fast(x_last, t),
        f"float32, channels_last, memory kept, batch {given.batch}": kept(lambda: fast(x_last, t)),
        f"bfloat16, batch {given.batch}": lambda: bfloat16(eager, x),
        f"bfloat16, channels_last, memory kept, batch {given.batch}": kept(lambda: bfloat16(fast, x_last)),
    }
    spent: dict[str, list[float]] = {way: [] for way in ways}
    results = {}
    with torch.inference_mode():
        for _ in range(given.rounds + 1):  # the first round warms up
            for way, run in ways.items():
                start = time.perf_counter()
                results[way] = run().double().cpu()  # waits for the device
                spent[way].append((time.perf_counter() - start) / given.batch)
    reference, *_ = results.values()
    first, *_ = (statistics.median(times[1:]) for times in spent.values())
    print(f"{given.arch}, {side} x {side}, {device.type}, {torch.get_num_threads()} CPU threads")
    print("| Way | s per image | ratio | largest error | RMS error / RMS |\n|---|---:|---:|---:|---:|")
    for way, times in spent.items():
        median, error = statistics.median(times[1:]), results[way] - reference
        relative = error.square().mean().sqrt() / reference.square().mean().sqrt()
        print(f"| {way} | {median:.3f} | {first / median:.2f} | {error.abs().max():.1e} | {relative:.1e} |")


if __name__ == "__main__":
    main()
