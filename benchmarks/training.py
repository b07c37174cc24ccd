"""A step of fine-tuning SwinIR (DT-BFR Eq. 8) and its use on photos: seconds per image of each way to run them.

    python -m benchmarks.training [--arch swinir128] [--images 16] [--micro-batch 4] [--rounds 3]

The reference's way is eager float32 with contiguous tensors, and photos one by one. The weights are random: the time is
the same. The ways take turns in every round; the table gives the median. bfloat16 shows how far it changes the losses.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.evaluation import random_weights
from tasks.metrics.perceptual import lpips_vgg
from tasks.restorers import swinir
from tasks.running.device import kept_memory
from tasks.training import swinir_gan
from tasks.training.discriminator import OFFICIAL_WIDTH, UNetDiscriminator
from tasks.training.loop import Alone

SIDES = {"swinir": 512, "swinir128": 64}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=SIDES, default="swinir128")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    random = torch.Generator().manual_seed(0)
    side = SIDES[given.arch]
    lq, target, real = (torch.rand((given.images, 3, side, side), generator=random).to(device) for _ in range(3))
    recipe = swinir_gan.FINETUNE.model_copy(update={"batch": given.images, "micro_batch": given.micro_batch})
    config = swinir.OFFICIAL if given.arch == "swinir" else swinir.DEMO

    folder = tempfile.TemporaryDirectory()
    weights = random_weights(Path(folder.name))

    def step(layout: torch.memory_format, is_half: bool) -> Callable[[], Tensor]:
        generator = swinir.build(config).to(device)
        critic = UNetDiscriminator(OFFICIAL_WIDTH, 0).to(device, memory_format=layout)  # type: ignore[call-overload]
        perceptual = lpips_vgg(weights).to(device, memory_format=layout)  # type: ignore[call-overload]
        settings = recipe.model_copy(update={"bf16": is_half})

        def run() -> Tensor:
            torch.manual_seed(0)
            batch = (lq, target, real)
            return torch.tensor(swinir_gan.accumulate(generator, critic, perceptual, batch, settings, Alone(device)))

        return run

    restorer = swinir.build(config).to(device).eval()

    def restored(size: int) -> Callable[[], Tensor]:
        return lambda: torch.cat([swinir.restore(restorer, some) for some in lq.split(size)])

    size = f"{side} x {side}, {device.type}, {torch.get_num_threads()} CPU threads"
    print(f"Fine-tuning step, {given.arch}, {given.images} images of {size}, micro-batches of {given.micro_batch}")
    table(
        {
            "float32, contiguous (reference)": step(torch.contiguous_format, False),
            "float32, memory kept (what bfr runs)": kept(step(torch.contiguous_format, False)),
            "float32, channels_last, memory kept": kept(step(torch.channels_last, False)),
            "bfloat16, memory kept (`bf16: true`)": kept(step(torch.contiguous_format, True)),
        },
        given.images,
        given.rounds,
    )
    print(f"\nRestoration, {given.arch}, {given.images} images of {size}")
    ways = {"one by one (reference)": restored(1), "batch, memory kept (what bfr runs)": kept(restored(16))}
    table(ways, given.images, given.rounds)


def kept(run: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The same as a stage does it."""

    def run_so() -> Tensor:
        with kept_memory():
            return run()

    return run_so


def table(ways: dict[str, Callable[[], Tensor]], images: int, rounds: int) -> None:
    """Print seconds per image, the ratio to the first way, and the largest relative difference of the results."""
    spent: dict[str, list[float]] = {way: [] for way in ways}
    results = {}
    for _ in range(rounds + 1):  # the first round warms up
        for way, run in ways.items():
            start = time.perf_counter()
            results[way] = run().double().cpu()  # waits for the device
            spent[way].append((time.perf_counter() - start) / images)
    reference, *_ = results.values()
    first, *_ = (statistics.median(times[1:]) for times in spent.values())
    print("| Way | s per image | ratio | largest relative difference |\n|---|---:|---:|---:|")
    for way, times in spent.items():
        median = statistics.median(times[1:])
        difference = ((results[way] - reference).abs() / reference.abs().clamp_min(1e-3)).max()
        print(f"| {way} | {median:.3f} | {first / median:.2f} | {difference:.1e} |")


if __name__ == "__main__":
    main()
