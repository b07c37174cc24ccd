"""bfloat16 against float32 on the CPU, by the instructions that the processor is let use (oneDNN's ONEDNN_MAX_CPU_ISA).

    python -m benchmarks.bfloat16 [--side 64] [--batch 2] [--rounds 4]

The demo's prior, one thread, seconds of the processor for an image, the best of the rounds. A processor that lacks a
set of instructions runs the row with what it has.
"""

import argparse
import os
import subprocess
import sys
import time

import torch

from tasks.basics import WEIGHTS
from tasks.diffusion.priors import load_prior

SETS = {
    "AVX2": "AVX2",
    "AVX512_CORE": "AVX-512",
    "AVX512_CORE_BF16": "AVX-512 with AVX512-BF16",
    "AVX512_CORE_AMX": "AMX",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--one", action="store_true", help="only what this process may use: one row's figures")
    given = parser.parse_args()
    if given.one:
        print(*measure(given.side, given.batch, given.rounds))
        return
    print("| Instructions | float32, s | bfloat16, s | ratio |\n|---|---:|---:|---:|")
    for name, title in SETS.items():
        command = [sys.executable, "-m", "benchmarks.bfloat16", *sys.argv[1:], "--one"]
        said = subprocess.check_output(command, env={**os.environ, "ONEDNN_MAX_CPU_ISA": name}, text=True)
        single, half = map(float, said.split())
        print(f"| {title} | {single:.4f} | {half:.4f} | {single / half:.2f} |", flush=True)


@torch.inference_mode()
def measure(side: int, batch: int, rounds: int) -> tuple[float, float]:
    """Seconds for an image in float32 and in bfloat16, which take turns."""
    torch.set_num_threads(1)
    device = torch.device("cpu")
    prior = load_prior("demo128", WEIGHTS / "demo" / "prior.safetensors", device)
    x, t = torch.randn(batch, 3, side, side, generator=torch.manual_seed(0)), torch.full((batch,), 300)
    best = [float("inf")] * 2
    for _ in range(rounds):
        for is_half in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
                started = time.process_time()
                prior(x, t)
                best[is_half] = min(best[is_half], time.process_time() - started)
    return best[0] / batch, best[1] / batch


if __name__ == "__main__":
    main()
