"""The golden tests of the diffusion code, unchanged, with networks and images on the device, in three precisions."""

import importlib
import math
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.on_gpu.report import Mode, Report, precision
from tasks.basics import ROOT

DATA = ROOT / "tests" / "golden" / "data"
FRESH = ("tensor", "from_numpy", "zeros", "ones", "full", "arange", "as_tensor")
NOT_HERE = (
    "test_every_official_key",
    "test_the_stand_in_weights",
    "test_the_schedule",
    "test_gen2res_fine_tuning",  # a training takes its batches from the CPU
)
FULL_SIZE = "test_the_full_size"
LIMITS: dict[Mode, tuple[float, float]] = {"ieee": (10.0, math.inf), "tf32": (math.inf, 5e-3), "bf16": (math.inf, 6e-2)}
"""Of the largest error, in tolerances of the CPU's tests; of the RMS of the error over that of the reference."""

UNSTABLE = "raw, eta 0"
"""DDIM without noise, by the network's own eps though x_0 is clipped: it enlarges errors 20 to 26 times in 10 steps.

In RMS, from the first step to the last: float32 8e-7 to 2e-5, TF32 9e-4 to 2e-2, bfloat16 1e-2 to 3e-1. Only in float32
does it say whether the formula is right."""


class OnDevice(types.ModuleType):
    """torch as a test sees it, with its fresh tensors on the device. The code under test sees the real one."""

    def __init__(self, device: torch.device) -> None:
        super().__init__("torch")
        self._device = device

    def __getattr__(self, name: str) -> Any:
        real = getattr(torch, name)
        return (lambda *a, **k: real(*a, **k).to(self._device)) if name in FRESH else real


def run(report: Report, device: torch.device, is_quick: bool) -> None:
    if device.type == "cuda":
        report.note(f"Golden data: '{UNSTABLE}' of ddim is left out in TF32 and bf16, whose rounding it enlarges.")
    check_all(report, device, is_quick, lambda name: not name.startswith((*NOT_HERE, FULL_SIZE)))


def full_size(report: Report, device: torch.device, is_quick: bool) -> None:
    if not is_quick:  # their weights alone take half a minute
        check_all(report, device, is_quick, lambda name: name.startswith(FULL_SIZE))


def check_all(report: Report, device: torch.device, is_quick: bool, is_wanted: Callable[[str], bool]) -> None:
    tests = golden_tests()
    modes: tuple[Mode, ...] = ("ieee", "tf32", "bf16") if device.type == "cuda" else ("ieee",)
    with on_device(tests, device):
        for mode in modes:
            chosen = {name: test for name, test in vars(tests).items() if name.startswith("test_") and is_wanted(name)}
            for name, test in list(chosen.items())[: 2 if is_quick else None]:
                if mode == "ieee" or "loss" not in name:  # the bound is a difference of large numbers
                    check(report, device, mode, name, test)


def golden_tests() -> types.ModuleType:
    if str(ROOT / "tests") not in sys.path:
        sys.path.insert(0, str(ROOT / "tests"))
    return importlib.import_module("golden.test_diffusion")


@contextmanager
def on_device(tests: Any, device: torch.device) -> Iterator[None]:
    own_prior, own_tensor, own_numpy = tests.prior, tests.tensor, torch.Tensor.numpy
    tests.tiny_named.cache_clear()
    try:
        with (
            patch.object(tests, "torch", OnDevice(device)),
            patch.object(tests, "tensor", lambda values: own_tensor(values).to(device)),
            patch.object(tests, "prior", lambda *a, **k: own_prior(*a, **k).to(device)),
            patch.object(torch.Tensor, "numpy", lambda self: own_numpy(self.detach().cpu())),
        ):
            yield
    finally:
        tests.tiny_named.cache_clear()


def check(report: Report, device: torch.device, mode: Mode, name: str, test: Callable[..., None]) -> None:
    """One test with all its files: its largest error in tolerances, and its RMS error."""
    marks = test.pytestmark  # type: ignore[attr-defined]
    (patterns,) = (mark.args for mark in marks if mark.name == "golden")
    cases = sorted(path for pattern in patterns for path in DATA.glob(pattern))
    most, relative, what = 0.0, 0.0, ""

    def near(quantity: str, ours: Any, theirs: Any, tolerance: float) -> None:
        nonlocal most, relative, what
        ours = ours.detach().float().cpu().numpy() if isinstance(ours, torch.Tensor) else ours
        a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        assert a.shape == b.shape, f"{quantity}: {a.shape} instead of {b.shape}"
        assert np.isfinite(a).all(), f"{quantity} is not finite"
        if quantity == UNSTABLE and mode != "ieee":
            return
        share = float(np.abs(a - b).max(initial=0)) / (tolerance or 1.0)
        if share > most:
            most, what = share, quantity
        rms = float(np.sqrt((b**2).mean())) if b.size else 0.0
        relative = max(relative, float(np.sqrt(((a - b) ** 2).mean())) / (rms + 1e-12)) if b.size else relative

    try:
        for case, values in product(cases, parameters(marks)):
            with precision(mode, device):
                test(case=case, near=near, **values)
    except Exception as error:
        report.check(False, f"golden, {mode}, {name}: {type(error).__name__}: {str(error)[:200]}")
        return
    table = "Golden data of the official systems (tests/golden), on the device"
    cells = {"largest_error_in_tolerances": f"{most:.2g}", "of": what, "rms_error": f"{relative:.1e}"}
    report.row(table, test=name.removeprefix("test_"), precision=mode, **cells)
    report.check(most <= LIMITS[mode][0] and relative <= LIMITS[mode][1], f"golden, {mode}, {name}")


def parameters(marks: list[Any]) -> list[dict[str, Any]]:
    """The arguments that the parametrize marks of a test give."""
    found: list[dict[str, Any]] = [{}]
    for mark in (mark for mark in marks if mark.name == "parametrize"):
        names = [mark.args[0]] if isinstance(mark.args[0], str) else list(mark.args[0])
        rows = [row if len(names) > 1 else (row,) for row in mark.args[1]]
        found = [old | dict(zip(names, row, strict=True)) for old in found for row in rows]
    return found
