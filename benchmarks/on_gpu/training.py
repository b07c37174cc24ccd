"""Training on the device against the CPU: losses of each kind, waits, resume, speed."""

import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from benchmarks.on_gpu.photos import Album
from benchmarks.on_gpu.report import Report, largest, precision
from tasks.models.kind import OneLoss
from tasks.models.table import AnyTraining
from tasks.restorers import swinir
from tasks.training import loop, swinir_gan
from tasks.training.discriminator import UNetDiscriminator
from tasks.training.loop import Alone, Session

STEPS = 3
ONE = {
    "seed": 0,
    "iterations": STEPS,
    "batch": 4,
    "micro_batch": 2,
    "lr": 1e-4,
    "lr_min": 1e-5,
    "ema": 0.9,
    "clip": 1.0,
}
KINDS: dict[str, dict[str, Any]] = {
    "prior": {"kind": "prior", "arch": "demo128"},
    "idm": {"kind": "idm", "arch": "idm128", "degradation": "demo128"},
    "restorer": {"kind": "restorer", "arch": "swinir128", "degradation": "demo128"},
    "inpainting": {"kind": "inpainting", "arch": "lama128"},
}
SMALL = swinir.SwinIRConfig(12, (2,), (2,), 8, 2.0, unshuffle=4, feature_size=16, drop_path_rate=0.0)
WITH_SPANDREL = ("restorer", "inpainting")
LIMITS = {False: 1e-3, True: 5e-2}  # of the losses, by bf16


class Stopped(Exception):
    """A run was killed."""


def settings(name: str, **changes: Any) -> OneLoss:
    made: OneLoss = TypeAdapter(AnyTraining).validate_python(ONE | KINDS[name] | changes)
    return made


def run(report: Report, device: torch.device, is_quick: bool) -> None:
    names = [name for name in KINDS if find_spec("spandrel") or name not in WITH_SPANDREL]
    if missing := KINDS.keys() - names:
        report.note(f"Left out: training of {', '.join(sorted(missing))}, for the package spandrel is not here.")
    for name in names[:1] if is_quick else names:
        survive(report, f"training {name}", lambda name=name: near(report, device, name))
    if "restorer" in names:
        survive(report, "training swinir_gan", lambda: near_gan(report, device))
    survive(report, "waits of a training", lambda: waits(report, device))
    survive(report, "resume", lambda: resumes(report, device))
    for arch, batch in (("demo128", 8), *(() if is_quick else (("ffhq512", 4),))):
        for is_half in (False, True):
            survive(
                report,
                f"speed of training {arch}",
                lambda arch=arch, batch=batch, is_half=is_half: speed(report, device, arch, batch, is_half),
            )


def survive(report: Report, what: str, run: Callable[[], None]) -> None:
    """One failure costs one line."""
    try:
        run()
    except Exception as error:
        report.check(False, f"{what}: {type(error).__name__}: {str(error)[:300]}")


def losses_of(kind: OneLoss, session: Callable[[list[float]], Session], batches: int = 4) -> list[float]:
    """The losses of a training of photos of 64 x 64."""
    found: list[float] = []
    album = Album(batches, 64)
    kind.train(kind.build(), kind.batches(album, None, album.ids), session(found))  # type: ignore[arg-type]
    return found


def noting(device: torch.device, state: Path | None = None) -> Callable[[list[float]], Session]:
    """A session that notes each step's loss; a session with a state goes on from it."""
    return lambda found: Session(Alone(device), state, on_step=lambda step, losses: found.append(losses[0]))


def near(report: Report, device: torch.device, name: str) -> None:
    """In float32 and in bf16, against float32 on the CPU."""
    theirs = losses_of(settings(name), noting(torch.device("cpu")))
    for is_half, limit in LIMITS.items():
        with precision("ieee", device):
            ours = losses_of(settings(name, bf16=is_half), noting(device))
        off = largest(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))
        what = f"training {name}{', bf16' * is_half}: losses within {off:.1e} of the CPU's in float32"
        report.check(len(ours) == STEPS and off < limit, what)


def near_gan(report: Report, device: torch.device) -> None:
    """DT-BFR's Eq. 8 in small, with a mean square for LPIPS."""
    images = Album(4, 64).batch(["0", "1", "2", "3"])
    recipe = swinir_gan.FINETUNE.model_copy(update={"iterations": STEPS, "batch": 4, "micro_batch": 2})

    def losses(where: torch.device) -> list[tuple[float, ...]]:
        found: list[tuple[float, ...]] = []
        session = Session(Alone(where), on_step=lambda step, losses: found.append(tuple(losses)))
        generator, critic = swinir.build(SMALL), UNetDiscriminator(8, 0)
        swinir_gan.train(generator, critic, squared, lambda step: (images, images, images), recipe, 0, session)
        return found

    with precision("ieee", device):
        ours = losses(device)
    theirs = losses(torch.device("cpu"))
    first = largest(abs(a - b) / abs(b) for a, b in zip(ours[0], theirs[0], strict=True))
    report.check(len(ours) == STEPS and first < 1e-3, f"training swinir_gan: losses within {first:.1e} of the CPU's")


def squared(a: Tensor, b: Tensor) -> Tensor:
    """In place of LPIPS, whose package is not on a bare box."""
    return (a - b).square().mean(dim=(1, 2, 3))


def waits(report: Report, device: torch.device) -> None:
    """How often the host waits for the device in steps 3 to 8, of two micro-batches each: once a step, for the loss."""
    if device.type != "cuda":
        return

    def watch(step: int, losses: loop.Losses) -> None:
        torch.cuda.set_sync_debug_mode("warn" if 2 <= step < 8 else "default")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            losses_of(settings("prior", iterations=8), lambda found: Session(Alone(device), on_step=watch))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waited = [warning for warning in caught if "synchroniz" in str(warning.message)]
    where = sorted({f"{Path(warning.filename).name}:{warning.lineno}" for warning in waited})
    report.check(len(waited) <= 6, f"training prior: {len(waited)} waits in 6 steps ({', '.join(where)})")


def resumes(report: Report, device: torch.device) -> None:
    """A run that was killed goes on as if it had not been, and AdamW counts its steps on the CPU."""
    kind, made = settings("prior", ema=0.0), []

    def kept(model: nn.Module, lr: float) -> torch.optim.AdamW:
        made.append(torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0))
        return made[-1]

    def killed(step: int, losses: loop.Losses) -> None:
        if step == 2:
            raise Stopped

    with tempfile.TemporaryDirectory() as folder, precision("ieee", device):
        state = Path(folder) / "state.pt"
        whole = losses_of(kind, noting(device))
        with suppress(Stopped):
            losses_of(kind, lambda found: Session(Alone(device), state, save_every_s=0, on_step=killed))
        own, loop.adamw = loop.adamw, kept
        try:
            again = losses_of(kind, noting(device, state))
        finally:
            loop.adamw = own
    places = {str(entry["step"].device) for entry in made[0].state.values()}
    report.check(places == {"cpu"}, f"AdamW counts its steps on {', '.join(sorted(places))} after a resume")
    off = largest(abs(a - b) / abs(b) for a, b in zip(again, whole, strict=True))
    report.check(off < 1e-3, f"a resumed training: {'bit-equal' if off == 0 else f'losses within {off:.1e}'}")


def speed(report: Report, device: torch.device, arch: str, batch: int, is_half: bool) -> None:
    """Images a second of a training of the prior, batches included."""
    side = {"demo128": 64, "ffhq512": 512}[arch]
    kind = settings("prior", arch=arch, batch=batch, micro_batch=batch, iterations=12, bf16=is_half)
    times: list[float] = []
    album = Album(2 * batch, side)
    session = Session(Alone(device), on_step=lambda step, losses: times.append(time.perf_counter()))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    kind.train(kind.build(), kind.batches(album, None, album.ids), session)  # type: ignore[arg-type]
    each = (times[-1] - times[3]) / (len(times) - 4)
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    report.row(
        "Training of a prior, batches included",
        network=arch,
        batch=batch,
        precision="bf16" if is_half else "float32 (TF32 convolutions)",
        ms_a_step=f"{1000 * each:.1f}",
        images_a_second=f"{batch / each:.1f}",
        peak_GiB=f"{memory:.1f}",
    )
