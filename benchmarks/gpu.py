"""Is bfr right and fast on this GPU? One command, under ten minutes, on a bare box.

    python -m benchmarks.gpu [--minutes 10] [--parts device,training,…] [--out FOLDER]

It needs torch, numpy, opencv, psutil, safetensors, scipy and pydantic; spandrel for SwinIR and LaMa, pytest for the
golden data. The parts come in order of their worth. Each says what it found as it goes, in FOLDER/gpu.json and gpu.md
too; one that fails, lacks a package or has no time left is named with the reason, and the next one goes on.
"""

import argparse
import importlib
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.on_gpu.report import Report


@dataclass(frozen=True)
class Part:
    """module: of benchmarks.on_gpu, whose `run(report, device, is_quick)` does it; seconds: it takes about so long."""

    module: str
    seconds: float
    function: str = "run"


PARTS = {
    "device": Part("device", 5),
    "training": Part("training", 30),
    "methods": Part("methods", 30),
    "chain": Part("chain", 60),
    "golden": Part("golden", 50),
    "memory": Part("memory", 5),
    "stage": Part("stage", 15),
    "compiled": Part("chain", 300, "compiled"),
    "kernels": Part("kernels", 5),
    "golden_full": Part("golden", 60, "full_size"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--parts", default=",".join(PARTS), help="default: all")
    parser.add_argument("--minutes", type=float, default=10, help="a part that would end later is left out")
    parser.add_argument("--out", type=Path, default=Path("gpu_results"))
    parser.add_argument("--quick", action="store_true", help="tiny networks and few repeats, to try the command")
    given = parser.parse_args()
    parts = given.parts.split(",")
    if unknown := [name for name in parts if name not in PARTS]:
        parser.error(f"no part is called {', '.join(unknown)}; they are {', '.join(PARTS)}")
    device = torch.device(given.device)
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    report = Report(given.out)
    ends = time.monotonic() + 60 * given.minutes
    for name in parts:
        run_part(name, report, device, given.quick, ends - time.monotonic())
    print(report.markdown())
    raise SystemExit(bool(report.failed))


def run_part(name: str, report: Report, device: torch.device, is_quick: bool, left_s: float) -> None:
    """One part, whatever befalls it; left_s: seconds that are left for it."""
    part = PARTS[name]
    if not is_quick and left_s < part.seconds:
        report.note(f"Left out: {name}, which takes about {part.seconds:.0f} s, {max(0, left_s):.0f} s were left.")
        return
    started = time.perf_counter()
    try:
        module = importlib.import_module(f"benchmarks.on_gpu.{part.module}")
        getattr(module, part.function)(report, device, is_quick)
    except ModuleNotFoundError as error:
        report.note(f"Left out: {name}, for the package {error.name} is not here.")
    except Exception as error:
        traceback.print_exc()
        report.check(False, f"{name}: {type(error).__name__}: {str(error)[:300]}")
    print(f"-- {name}: {time.perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
