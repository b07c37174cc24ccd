"""What this GPU is, and its two ceilings: products and copies."""

import sys

import torch

from benchmarks.on_gpu.report import Report, precision, seconds

SIDE = 8192


def run(report: Report, device: torch.device, is_quick: bool) -> None:
    report.note(f"torch {torch.__version__}, Python {sys.version.split()[0]}, {device}")
    if device.type == "cuda":
        its = torch.cuda.get_device_properties(device)
        report.note(
            f"{its.name}, {its.multi_processor_count} multiprocessors, {its.total_memory / 2**30:.0f} GiB, "
            f"cuDNN {torch.backends.cudnn.version()}"
        )
    for kind, dtype in (("bf16", torch.bfloat16), ("tf32", torch.float32), ("ieee", torch.float32)):
        with precision("ieee" if kind == "bf16" else kind, device):
            rate = product_rate(device, dtype, 256 if is_quick else SIDE)
        report.row("Ceilings", what=f"product, {kind}", rate=f"{rate / 1e12:.0f} TFLOP/s")
    one = torch.ones(2**20 if is_quick else 2**30, device=device)
    two = torch.empty_like(one)
    copied = 2 * one.nbytes / seconds(lambda: two.copy_(one), device)
    report.row("Ceilings", what="copy", rate=f"{copied / 1e12:.2f} TB/s")


def product_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """FLOP/s of a product of two square matrices."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / seconds(lambda: a @ b, device)
