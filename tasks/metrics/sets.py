"""A set of images as the metrics of whole sets know it: by its features, or by their mean and covariance alone."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tasks.basics import BadInput
from tasks.metrics.offline import blamed
from tasks.store.files import whole_file
from tasks.weights.checkpoint import read_contents
from tasks.weights.file import Unavailable

BLOCK = 2**24  # numbers in float64 at a time


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """All that FID needs to know of a set of images.

    metric: whose features these are; name: of the set, to be shown beside the number; n: how many images.
    mean: [D], cov: [D, D] with the divisor n - 1, float64.
    """

    metric: str
    name: str
    n: int
    mean: np.ndarray
    cov: np.ndarray

    @property
    def digest(self) -> str:
        """SHA-256 over metric, n, mean and cov: says whether two columns used the same reference."""
        start = hashlib.sha256(f"{self.metric}|{self.n}|".encode())
        for values in (self.mean, self.cov):
            start.update(values.astype("<f8").tobytes())
        return start.hexdigest()

    def save(self, path: Path) -> None:
        """Write as .npz, which pytorch-fid reads too (it wants mu and sigma)."""
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, metric=self.metric, name=self.name, n=self.n, mu=self.mean, sigma=self.cov)

    @classmethod
    def load(cls, path: Path) -> "FeatureStatistics":
        """Read what `save` wrote. Raises BadInput if it is missing or something else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(str(file["metric"]), str(file["name"]), int(file["n"]), file["mu"], file["sigma"])
        except (OSError, EOFError, KeyError, ValueError) as error:
            raise BadInput(
                f"{path} cannot be read as feature statistics (.npz with metric, name, n, mu, sigma): {error}.\n"
                f"Compute it again."
            ) from error


def feature_statistics(features: Iterable[Tensor], metric: str, name: str) -> FeatureStatistics:
    """Statistics of a set from its features in batches of [B, D], any number of images in 128 MiB beside them.

    Raises Unavailable for fewer than two images.
    """
    n, total, products = 0, np.zeros(()), np.zeros(())
    for some in (part for batch in features for part in batch.split(max(1, BLOCK // batch[0].numel()))):
        rows = some.detach().cpu().double().numpy()
        n += len(rows)
        total = total + rows.sum(axis=0)
        products = products + rows.T @ rows
    if n < 2:
        raise Unavailable(f"{metric} of {name}: at least 2 images are needed for a covariance, found {n}.")
    mean = total / n
    return FeatureStatistics(metric, name, n, mean, (products - n * np.outer(mean, mean)) / (n - 1))


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """A set that others are compared with. features: [N, D], None where only statistics were kept."""

    statistics: FeatureStatistics
    features: Tensor | None = None

    @property
    def kept_features(self) -> Tensor:
        """The features, for a metric that needs them."""
        assert self.features is not None, f"of {self.statistics.name} only statistics were kept"
        return self.features


class SetScore(NamedTuple):
    """The value of a set. spread: its standard deviation over subsets, where the metric has one."""

    value: float
    spread: float | None = None


def statistics_of_others(path: Path, name: str, n: int) -> FeatureStatistics:
    """FID statistics of n images from a file of pytorch-fid (.npz), of DT-BFR or of DifFace (.pth). Raises BadInput."""
    if path.suffix != ".npz":
        return official_statistics(path, "fid", name, n)
    try:
        with np.load(path, allow_pickle=False) as file:
            return FeatureStatistics("fid", name, n, *(file[key].astype(np.float64) for key in ("mu", "sigma")))
    except (OSError, EOFError, KeyError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as pytorch-fid's statistics (.npz with mu, sigma): {error}.") from error


def official_statistics(path: Path, metric: str, name: str, n: int) -> FeatureStatistics:
    """Statistics that DT-BFR or DifFace published: a torch file of numpy arrays "mean" and "cov", of n images.

    Only arrays are read from it; a file with anything else is refused. Raises BadInput.
    """
    rebuild: Any = np.zeros(0).__reduce__()[0]  # numpy's own function, whose place differs between versions
    trusted = [np.ndarray, np.dtype, type(np.dtype("f4")), type(np.dtype("f8")), rebuild]
    old_place = (rebuild, "numpy.core.multiarray._reconstruct")
    with torch.serialization.safe_globals([*trusted, old_place]), blamed(path):
        file = read_contents(path)
        mean, cov = (np.asarray(file[key], dtype=np.float64) for key in ("mean", "cov"))
    return FeatureStatistics(metric, name, n, mean, cov)
