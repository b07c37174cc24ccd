"""What every training run of this project shares: order of the data, learning rate, random numbers, resume, processes.

A run is a function of its seed: step s takes its batch from `batch_at(s)` and its random numbers (stochastic depth)
from a stream of its own, so a killed run goes on from its last saved state as if nothing had happened, whatever the
reader threads do: bit-equally on the CPU; on a GPU some backward kernels add in an order that changes from run to run.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from tasks.basics import BadInput, Strict
from tasks.noise import numpy_stream, stream_seed
from tasks.running.interrupts import Interrupts, noted_interrupts
from tasks.running.read_ahead import read_ahead
from tasks.store.files import whole_file
from tasks.weights.checkpoint import read_contents


class Diverged(BadInput):
    """A loss became infinite or not a number."""


Batch = TypeVar("Batch", bound=tuple[Tensor, ...])


class Stateful(Protocol):
    """A network or an optimiser."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


class Processes(Protocol):
    """What a run asks of accelerate's Accelerator; `Alone` does it for one process, without that package."""

    @property
    def device(self) -> torch.device: ...
    @property
    def num_processes(self) -> int: ...
    @property
    def process_index(self) -> int: ...
    @property
    def is_main_process(self) -> bool: ...
    def backward(self, loss: Tensor) -> None: ...
    def reduce(self, tensor: Tensor, reduction: str) -> Tensor: ...


class Alone:
    """One process on one device."""

    num_processes, process_index, is_main_process = 1, 0, True

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        return tensor


class Settings(Protocol):
    """The settings of a run. It goes on only from a state of the same settings and seed."""

    @property
    def iterations(self) -> int: ...
    def model_dump(self, *, mode: str) -> dict[str, Any]: ...


class Steps(Strict):
    """What the settings of every training say."""

    iterations: PositiveInt
    batch: PositiveInt
    lr: PositiveFloat


Losses = Sequence[float]


@dataclass(frozen=True)
class Session:
    """Where a run goes and whom it tells, which does not change its result.

    resume: state file, written every `save_every_s` seconds, when the run is interrupted (SIGINT, SIGTERM) and at the
    end; a run that finds it goes on from there. It has the losses so far: on_step (which gets the number, from 1, and
    the losses) is called for the steps before as well.
    """

    processes: Processes
    resume: Path | None = None
    save_every_s: float = 120
    on_step: Callable[[int, Losses], None] = lambda step, losses: None

    @property
    def device(self) -> torch.device:
        return self.processes.device


def drive(
    parts: Mapping[str, Stateful],
    batch_at: Callable[[int], Batch],
    update: Callable[[int, Batch], Losses],
    settings: Settings,
    seed: int,
    session: Session,
) -> None:
    """Call `update` for every step (from 0) that an earlier run has not done.

    parts: networks and optimisers, which `update` changes; it returns the step's losses. batch_at: see `read_ahead`.
    """
    described, resume = {**settings.model_dump(mode="json"), "seed": seed}, session.resume
    done, history = resume_from(resume, parts, described) if resume else (0, [])
    for step, losses in enumerate(history):
        session.on_step(step + 1, losses)
    steps = range(done, settings.iterations)
    is_pinned = session.device.type == "cuda"
    batches = read_ahead(lambda step: pinned(batch_at(step)) if is_pinned else batch_at(step), steps)
    saved = monotonic()
    with noted_interrupts("this step of the training") if resume else nullcontext(Interrupts()) as interrupts:
        for step, batch in zip(steps, batches, strict=True):
            with step_randomness(seed, step, session.processes):
                losses = update(step, batch)
            history.append(losses)
            is_due = monotonic() - saved >= session.save_every_s or step + 1 == settings.iterations
            if resume and (is_due or interrupts.number) and session.processes.is_main_process:
                save_state(resume, parts, described, history)
                saved = monotonic()
            session.on_step(step + 1, losses)
            interrupts.obey()


def pinned(batch: Batch) -> Batch:
    """The same in memory that a GPU copies from while it computes."""
    return cast(Batch, tuple(part.pin_memory() for part in batch))


def share_of(batch: Batch, processes: Processes) -> list[Tensor]:
    """The images of a batch that are this process' part of the work, on its device."""
    rows = slice(processes.process_index, None, processes.num_processes)
    return [part[rows].to(processes.device, non_blocking=True) for part in batch]


def batch_indices(seed: int, n: int, batch: int, step: int) -> list[int]:
    """Which `batch` of n images step `step` (from 0) sees: every image once an epoch, each epoch shuffled anew.

    A batch that meets the end of an epoch runs on into the next. (DT-BFR's loader cuts it short there instead: with its
    2,500 pairs every 157th batch has 4 images.)
    """
    positions = np.arange(step * batch, (step + 1) * batch)
    epochs = {epoch: numpy_stream(seed, "batch_order", str(epoch)).permutation(n) for epoch in set(positions // n)}
    return [int(epochs[position // n][position % n]) for position in positions]


def cosine_lr(step: int, iterations: int, lr: float, lr_min: float) -> float:
    """Learning rate of step `step` (from 0): half a cosine from `lr` to `lr_min`, reached after `iterations`."""
    return lr_min + (lr - lr_min) * 0.5 * (1 + math.cos(math.pi * step / iterations))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def adamw(model: torch.nn.Module, lr: float) -> torch.optim.AdamW:
    """AdamW as DT-BFR and DifFace set it: betas 0.9 and 0.999, no weight decay (which makes it Adam)."""
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)


@contextmanager
def step_randomness(seed: int, step: int, accelerator: Processes) -> Iterator[None]:
    """Give the device's global generator, which stochastic depth draws from, a state of this step's own; put it back.

    Every process has its own; other devices' generators stay untouched, so that threads can train one network per GPU.
    """
    generator = generator_of(accelerator.device)
    before = generator.get_state()
    generator.manual_seed(stream_seed(seed, "train", f"{step}|{accelerator.process_index}") & (2**63 - 1))
    try:
        yield
    finally:
        generator.set_state(before)


def generator_of(device: torch.device) -> torch.Generator:
    """The global generator that a network's layers on the device draw from."""
    if device.type == "cuda":
        return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
    return torch.mps._get_default_mps_generator() if device.type == "mps" else torch.default_generator


def sum_over_processes(accelerator: Processes, model: torch.nn.Module) -> None:
    """Add up the gradients of all processes. Does nothing in a run of one process."""
    if accelerator.num_processes == 1:
        return
    parameters = list(model.parameters())
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    summed = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "sum")
    sums = summed.split([p.numel() for p in parameters])
    for parameter, gradient, total in zip(parameters, gradients, sums, strict=True):
        parameter.grad = gradient.copy_(total.view_as(gradient))


def ensure_finite(step: int, losses: Iterable[float], state: Path | None) -> None:
    """Raises Diverged if a loss of step `step` (from 1) is not a finite number; the last good state stays on disk."""
    values = list(losses)
    if not all(map(math.isfinite, values)):
        kept = f" The last good state is {state}." if state is not None and state.exists() else ""
        raise Diverged(
            f"training diverged: the loss of step {step} is {values}.{kept} Lower the learning rate or switch bf16 off."
        )


def save_state(path: Path, parts: Mapping[str, Stateful], recipe: dict[str, Any], history: list[Losses]) -> None:
    """Write the state of networks and optimisers after a history of losses that readers see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    states = {name: part.state_dict() for name, part in parts.items()}
    losses = torch.tensor([list(row) for row in history], dtype=torch.float64)
    with whole_file(path) as temporary:
        torch.save({**states, "recipe": recipe, "step": len(history), "losses": losses}, temporary)


def resume_from(path: Path, parts: Mapping[str, Stateful], recipe: dict[str, Any]) -> tuple[int, list[Losses]]:
    """Put the parts into the state that `save_state` wrote; its step and losses, or 0 and none without a whole file.

    It is read to the CPU, and the parts take theirs from there: AdamW's counters of steps stay on the CPU, where it
    reads them without waiting for the device. Raises BadInput if a run with other settings wrote it.
    """
    if not path.exists():
        return 0, []
    try:
        state: dict[str, Any] = read_contents(path)
    except BadInput as error:
        logging.getLogger(__name__).warning("%s: the training starts anew.", error)
        return 0, []
    if state["recipe"] != recipe:
        changed = {
            key: f"{state['recipe'].get(key)} -> {value}"
            for key, value in recipe.items()
            if state["recipe"].get(key) != value
        }
        raise BadInput(f"{path} belongs to a run with other settings ({changed}). Delete it to start anew.")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"]), state["losses"].tolist()
