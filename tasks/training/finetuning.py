"""Fine-tuning of a restorer to LQ photos and their pseudo-targets: what a recipe declares, and what it is given."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from tasks.store.artifact import ImageFolder
from tasks.training.loop import Session, Steps, batch_indices

SOME = 32


@dataclass(frozen=True)
class Photos:
    """LQ photos, pseudo-targets by ids that the LQ photos have too, unpaired HQ photos. Batches are [B, 3, H, W]."""

    lq: ImageFolder
    targets: ImageFolder
    real: ImageFolder

    def pairs(self, seed: int, batch: int, step: int) -> tuple[Tensor, Tensor]:
        """LQ photos and pseudo-targets of step `step` (from 0), in [0, 1]."""
        ids = [self.targets.ids[n] for n in batch_indices(seed, len(self.targets.ids), batch, step)]
        return self.lq.batch(ids), self.targets.batch(ids)

    def unpaired(self, seed: int, batch: int, step: int) -> Tensor:
        """HQ photos of step `step`, in [0, 1]."""
        return self.real.batch([self.real.ids[n] for n in batch_indices(seed, len(self.real.ids), batch, step)])

    def first_unpaired(self) -> Tensor:
        """Some HQ photos, always the same, in [0, 1]."""
        return self.real.batch(self.real.ids[:SOME])


class FineTuning(Steps):
    """A recipe: settings that also declare which networks they train, and how.

    To add one: its file, and its entries in tasks/training/recipes.py.
    trains: restorers by their names in tasks/restorers; losses: names of those that a step gives.
    """

    recipe: str
    rounds: PositiveInt = Field(
        default=1, description="not in the papers: adapt again so often, to targets of what the adapted restorer makes"
    )
    trains: ClassVar[tuple[str, ...]]
    losses: ClassVar[tuple[str, ...]]

    @property
    def images(self) -> int:
        """How many go through the training, all rounds together."""
        return self.rounds * self.iterations * self.batch

    @property
    def reads_prior(self) -> bool:
        """Whether `tune` needs the prior."""
        return False

    def tune(
        self, photos: Photos, weights: Path, seed: int, session: Session, prior: nn.Module | None = None
    ) -> nn.Module:
        """The restorer of a weights file, adapted to the photos. prior: if the recipe reads it, on the device."""
        raise NotImplementedError

    def save(self, model: nn.Module, path: Path) -> None:
        """Write its weights in the official key layout."""
        raise NotImplementedError
