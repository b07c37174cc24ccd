"""The session of a stage that trains: a device, a state that a killed run goes on from, a bar and curves."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from tasks.running.device import held_device, local_rank
from tasks.running.stage import default_store
from tasks.store.artifact import Manifest
from tasks.training.curves import Curves
from tasks.training.loop import Alone, Processes, Session

SAVE_EVERY_S = 120


@contextmanager
def session_of(record: Manifest, what: str, losses: Sequence[str], iterations: int, out: Path) -> Iterator[Session]:
    """While the block runs, a session for one training of `iterations` steps; at its end, losses.csv in `out`.

    record: of the stage, whose key names the state file; what: is trained, as the bar calls it; losses: their names.
    """
    state = default_store().training_state(record.key)
    with held_device() as device, Curves(what, losses, iterations, state.with_suffix(".live")) as curves:
        yield Session(processes_on(device), state, SAVE_EVERY_S, curves.note)
    curves.write(out)


def processes_on(device: torch.device) -> Processes:
    """One process on the device that it holds, or one of those that `accelerate launch` started."""
    if local_rank() is None:
        return Alone(device)
    from accelerate import Accelerator  # here, not above: takes seconds

    return Accelerator(cpu=device.type == "cpu")
