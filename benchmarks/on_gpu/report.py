"""What the parts of `benchmarks.gpu` say: checks, rows of tables and notes, written to disk after each of them."""

import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

Mode = Literal["ieee", "tf32", "bf16"]


@dataclass
class Report:
    """Results in `folder`: gpu.json for programs, gpu.md for docs/performance.md."""

    folder: Path
    checks: list[tuple[bool, str]] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def check(self, is_good: bool, what: str) -> None:
        self.checks.append((bool(is_good), what))
        self._say(("ok   " if is_good else "FAIL ") + what)

    def row(self, table: str, **cells: Any) -> None:
        """One more row of a table; its columns are those of its first row."""
        self.tables.setdefault(table, []).append(cells)
        self._say(f"{table}: " + ", ".join(f"{name} {value}" for name, value in cells.items()))

    def note(self, text: str) -> None:
        self.notes.append(text)
        self._say(text)

    @property
    def failed(self) -> list[str]:
        return [what for is_good, what in self.checks if not is_good]

    def _say(self, text: str) -> None:
        print(text, flush=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "gpu.json").write_text(
            json.dumps({"checks": self.checks, "tables": self.tables, "notes": self.notes}, indent=1), encoding="utf-8"
        )
        (self.folder / "gpu.md").write_text(self.markdown(), encoding="utf-8")

    def markdown(self) -> str:
        lines = [*self.notes, "", f"{len(self.checks) - len(self.failed)} checks passed, {len(self.failed)} failed."]
        lines += [f"- failed: {what}" for what in self.failed]
        for title, rows in self.tables.items():
            columns = list(rows[0])
            lines += ["", f"### {title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
            lines += [f"| {' | '.join(str(row.get(column, '')) for column in columns)} |" for row in rows]
        return "\n".join(lines) + "\n"


@contextmanager
def precision(mode: Mode, device: torch.device) -> Iterator[None]:
    """ieee: true float32 throughout; tf32: convolutions and products in TF32; bf16: autocast, as `bf16: true`."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = mode != "ieee"
    torch.set_float32_matmul_precision("high" if mode == "tf32" else "highest")
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=mode == "bf16"):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(run: Callable[[], Any], device: torch.device, repeats: int = 5, warm: int = 2) -> float:
    """Median time of a run that the device has finished."""
    found = []
    for n in range(warm + repeats):
        wait(device)
        started = time.perf_counter()
        run()
        wait(device)
        if n >= warm:
            found.append(time.perf_counter() - started)
    return statistics.median(found)


def largest(values: Iterable[float]) -> float:
    """The largest; NaN where one of them is, which `max` overlooks."""
    given = [*values]
    return math.nan if any(map(math.isnan, given)) else max(given)


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """RMS of the difference over the RMS of the reference."""
    a, b = ours.detach().double().cpu(), reference.detach().double().cpu()
    return float(((a - b).square().mean() / b.square().mean()).sqrt())
