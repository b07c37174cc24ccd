"""Where results come from: the circumstances of a computation."""

import platform
import subprocess
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import torch

USED: ContextVar[str] = ContextVar("used", default="")
"""The GPU that computes, or has computed, what is being made; "" for none."""


def circumstances() -> dict[str, str]:
    """When, on what and by which version of the code something was computed now."""
    device = USED.get() or cpu()
    return {"made": datetime.now(UTC).isoformat(timespec="seconds"), "device": device, "commit": commit()}


def device() -> str:
    """The GPU's name, or the processor's and the number of threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return cpu()


def cpu() -> str:
    """The processor's name, and the number of threads."""
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' if threads > 1 else ''}"


@cache
def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()


@cache
def commit() -> str:
    """The commit of this checkout, "+" behind it where files differ from it; "unknown" without git."""
    where = Path(__file__).parent
    try:
        head, changes = (
            subprocess.run(["git", *words], cwd=where, capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+" if changes else head
