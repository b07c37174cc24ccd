"""Devices that are pretended, for every test here."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from devices.pretend import Pretended

from tasks.diffusion.lowpass import resize_matrix
from tasks.noise import quantile_table
from tasks.running import device
from tasks.running.noise_kernels import on_cuda
from tasks.training.prior import schedule


def forget() -> None:
    """What is kept for a device."""
    for kept in (resize_matrix, quantile_table, on_cuda, schedule):
        kept.cache_clear()


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], Pretended]]:
    """pretend("cuda"): two GPUs; pretend("mps"): Apple's."""

    def make(kind: str) -> Pretended:
        made = Pretended(kind, 2 if kind == "cuda" else 1)
        made.install(monkeypatch)
        monkeypatch.setattr(device, "LOCKS", tmp_path / "locks")
        monkeypatch.setenv("BFR_WORKERS", "1")
        return made

    forget()
    yield make
    forget()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
