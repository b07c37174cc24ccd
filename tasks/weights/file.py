"""A file of trained weights: its place, source, licence and digest."""

from dataclasses import dataclass
from pathlib import Path

from tasks.basics import BadInput, shown_path


class Unavailable(BadInput):
    """A metric cannot be computed here. The message says why and what to do; a report shows it in place of numbers."""


class MissingPackage(Unavailable):
    """A metric's library is not installed."""


class MissingWeights(Unavailable):
    """A metric's weight file is not in the weights folder."""


@dataclass(frozen=True)
class WeightFile:
    """A file of trained weights.

    place: its path below the weights folder; url: where it is to be had, "" for the repository's own; sha256: of its
    contents, or the first digits, where they are known; size: bytes, 0 where not known; of networks without a published
    size that of their parameters, so about.
    """

    place: str
    url: str
    licence: str
    sha256: str = ""
    size: int = 0

    @property
    def shown_size(self) -> str:
        """How large it is, in words."""
        return f"{self.size / 2**20:.0f} MiB" if self.size else "of unknown size"

    @property
    def advice(self) -> str:
        """How to come by it."""
        if not self.url:
            return f"It comes with the repository ({self.licence}): dvc pull -r demo data/weights/dvc.yaml"
        return f"Download it from {self.url} ({self.licence}) and put it there: bfr fetch {self.place}"

    def find(self, weights_dir: Path, metric: str) -> Path:
        """Where the file is. Raises MissingWeights (with its source and licence, for `metric`) when it is not there."""
        path = Path(weights_dir) / self.place
        if not path.is_file():
            raise MissingWeights(f"{shown_path(path)} is missing (needed by {metric}).\n{self.advice}")
        return path
