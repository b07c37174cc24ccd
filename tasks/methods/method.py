"""What a method of the tables declares: its settings, what it needs, what it costs, and how it is built.

A method is one file here, and one entry of `METHODS` in tasks/methods/table.py. Each photo's noise comes from a stream
of its own (seed, method, image id), so a result does not depend on the other photos of its batch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from tasks.basics import Strict
from tasks.diffusion.priors import load_prior
from tasks.restorers.network import NetworkSpec, Restore

if TYPE_CHECKING:
    from tasks.diffusion.schedule import Schedule
    from tasks.diffusion.unet import UNet

Need = Literal["weights", "prior", "estimator"]


@dataclass(frozen=True)
class Networks:
    """The networks of a method. weights: its own, or those of the prior named `prior`; estimator: DifFace's."""

    weights: Path
    prior: str | None = None
    estimator: NetworkSpec | None = None

    def load_prior(self, device: torch.device) -> "UNet":
        """The diffusion prior in evaluation mode. Raises BadInput for weights that are missing or of another shape."""
        assert self.prior is not None, "Method.needs says 'prior'"
        return load_prior(self.prior, self.weights, device)


class Method(Strict):
    """Settings of a method.

    needs: "weights" are a network of its own, "prior" and "estimator" the experiment's unless the entry names others;
    estimators: the networks that can be its estimator, if not all; is_cleaned: the model that the experiment's
    `cleaning` trains is a network of it; fills: whether it fills holes; draws: whether its results depend on the seed;
    shard: a killed run loses at most so many photos.
    """

    kind: str
    needs: ClassVar[tuple[Need, ...]] = ("prior",)
    estimators: ClassVar[tuple[str, ...]] = ()
    is_cleaned: ClassVar[bool] = False
    fills: ClassVar[bool] = False
    draws: ClassVar[bool] = True
    shard: ClassVar[int] = 32

    @property
    def evaluations(self) -> int:
        """Evaluations of the network for one photo, training left out."""
        raise NotImplementedError

    @property
    def training_images(self) -> int:
        """Images that go through the network's training for one photo."""
        return 0

    def build(self, networks: Networks, seed: int, device: torch.device) -> Restore:
        """The method, loaded and on its device. Raises BadInput for weights that are missing or of another network."""
        raise NotImplementedError


def index_of(schedule: "Schedule", t: int) -> int:
    """How many kept steps lie below t of the original 1000, at least 1."""
    return max(1, int((schedule.timestep_map < t).sum()))
