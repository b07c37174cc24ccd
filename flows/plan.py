"""What will be done to a user's photos, before it is done."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows import cost
from tasks.store.files import Quarantined
from tasks.store.ownership import manifest_of

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """counts: of photos that can be used, faces and steps; lines: the parts, none where all results are there; writes:
    the folders below root."""

    root: Path
    counts: Mapping[str, int]
    set_aside: Sequence[Quarantined]
    lines: Sequence[cost.Line]
    writes: Sequence[str]

    def say_what_goes(self) -> None:
        """Say that an earlier model is replaced, before anything is done."""
        if self.lines and manifest_of(self.root / "model"):
            LOG.warning("The model of an earlier run in %s will be replaced: another --out keeps it.", self.root)

    @property
    def data(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            **self.counts,
            "set_aside": {row.file: row.reason for row in self.set_aside},
            "parts": {line.what: line.data for line in self.lines},
            "seconds": sum(line.seconds for line in self.lines),
            "is_rough": any(line.speed.others > cost.IDLE for line in self.lines),
            "writes": {name: str(self.root / name) for name in self.writes},
        }
