"""The restorers that are trained from scratch, by name. To add one: one entry here, and its name in a kind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tasks.restorers import srcnn, swinir


@dataclass(frozen=True)
class Trainable:
    """A configuration of a network. init: it, from the configuration and a seed; save: writes the official keys."""

    config: Any
    init: Callable[[Any, int], nn.Module]
    save: Callable[[Any, Path], None]

    def build(self, seed: int) -> nn.Module:
        """The network with its first weights."""
        return self.init(self.config, seed)

    @property
    def code(self) -> tuple[str, ...]:
        """The module whose code it is, for the key of a training."""
        return (self.init.__module__,)

    @property
    def constants(self) -> str:
        """What else of it counts for that key."""
        return repr(self.config)


RESTORERS = {
    "swinir": Trainable(swinir.OFFICIAL, swinir.build, swinir.save),
    "swinir128": Trainable(swinir.DEMO, swinir.build, swinir.save),
    "srcnn": Trainable(srcnn.OFFICIAL, srcnn.build, srcnn.save),
}
