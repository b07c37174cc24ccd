"""The losses of a training run: a bar with an estimate and DVCLive's curves while it runs, losses.csv at its end."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.running.progress import Bar
from tasks.store.files import write_csv

if TYPE_CHECKING:
    from dvclive import Live

LOG_EVERY = 10  # steps; DVCLive takes milliseconds for each entry


class Curves:
    """`with Curves(what, names, iterations, folder) as curves: train(…, on_step=curves.note)`; then curves.write(out).

    names: of the losses; folder: where DVCLive writes their means over every 10 steps; it is gone after a good end.
    """

    def __init__(self, what: str, names: Sequence[str], iterations: int, folder: Path) -> None:
        self.names, self.folder = tuple(names), folder
        self.rows: list[tuple[float, ...]] = []
        self._bar = Bar(f"{what} (steps)", iterations)
        self._live = _live_curves(folder)

    def __enter__(self) -> "Curves":
        self._bar.__enter__()
        return self

    def note(self, step: int, losses: Sequence[float]) -> None:
        """The losses of step `step`, from 1 on."""
        self.rows.append((step, *losses))
        self._bar.advance()
        if self._live and step % LOG_EVERY == 0:
            self._live.step = step
            for name, mean in zip(self.names, np.mean(self.rows[-LOG_EVERY:], axis=0)[1:], strict=True):
                self._live.log_metric(name, float(mean))
            self._live.make_summary()

    def __exit__(self, kind: object, *_: object) -> None:
        self._bar.__exit__()
        if self._live:
            self._live.end()
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, out: Path) -> None:
        """losses.csv: one row for each optimiser step."""
        write_csv(out / "losses.csv", ("step", *self.names), self.rows)


def _live_curves(folder: Path) -> "Live | None":
    """DVCLive's writer, without which a repository that has no commit yet must do."""
    from dvclive import Live  # here, not above: takes half a second
    from scmrepo.exceptions import SCMError

    try:
        return Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None)
    except SCMError as error:
        logging.getLogger(__name__).warning("no live curves, only losses.csv at the end: %s", error)
        return None
