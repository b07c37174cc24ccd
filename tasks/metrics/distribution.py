"""Two sets of images by their features: FID (the Frechet distance), KID, precision and recall."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tasks.basics import BadInput
from tasks.metrics.offline import blamed
from tasks.noise import numpy_stream
from tasks.weights.file import Unavailable

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000


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
        """Write as .npz, which pytorch-fid reads too (it wants mu and sigma), under a temporary name, then rename."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            np.savez(file, metric=self.metric, name=self.name, n=self.n, mu=self.mean, sigma=self.cov)
        os.replace(temporary, path)

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
    """Statistics of a set from its features in batches of [B, D]. Raises Unavailable for fewer than two images."""
    n, total, products = 0, np.zeros(()), np.zeros(())
    for batch in features:
        rows = batch.detach().cpu().double().numpy()
        n += len(rows)
        total = total + rows.sum(axis=0)
        products = products + rows.T @ rows
    if n < 2:
        raise Unavailable(f"{metric} of {name}: at least 2 images are needed for a covariance, found {n}.")
    mean = total / n
    return FeatureStatistics(metric, name, n, mean, (products - n * np.outer(mean, mean)) / (n - 1))


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """|mu1 - mu2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    The trace of the root is the sum of the square roots of the eigenvalues of S C2 S, with S the symmetric root of C1:
    real also for rank-deficient covariances, where a matrix root of C1 C2 is not. Raises BadInput for statistics of
    different metrics.
    """
    if a.metric != b.metric:
        raise BadInput(f"{a.name} has features of {a.metric}, {b.name} of {b.metric}: only equal ones can be compared.")
    values, vectors = np.linalg.eigh(a.cov)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    trace_of_root = np.sqrt(np.linalg.eigvalsh(root @ b.cov @ root).clip(min=0)).sum()
    shift = a.mean - b.mean
    return max(0.0, float(shift @ shift + np.trace(a.cov) + np.trace(b.cov) - 2 * trace_of_root))


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """A set that others are compared with. features: [N, D], None where only statistics were kept."""

    statistics: FeatureStatistics
    features: Tensor | None = None


class SetScore(NamedTuple):
    """The value of a set. spread: its standard deviation over subsets, where the metric has one."""

    value: float
    spread: float | None = None


def frechet(features: Tensor, reference: ReferenceSet) -> SetScore:
    """FID of a set, by its features [N, D]; strongly biased by small sets, so compare only results of equal N.

    Raises Unavailable for fewer than two images.
    """
    ours = feature_statistics([features], reference.statistics.metric, "images")
    return SetScore(frechet_distance(ours, reference.statistics))


def precision(features: Tensor, reference: ReferenceSet) -> SetScore:
    """Share of the set within the reference. Raises Unavailable for too few images."""
    return SetScore(precision_recall(_features(reference), features)[0])


def recall(features: Tensor, reference: ReferenceSet) -> SetScore:
    """Share of the reference within the set. Raises Unavailable for too few images."""
    return SetScore(precision_recall(_features(reference), features)[1])


def kid(features: Tensor, reference: ReferenceSet) -> SetScore:
    """KID (Binkowski et al. 2018) of a set, by its features [N, D]: mean and standard deviation over random subsets.

    As torch-fidelity has it: KID_SUBSETS pairs of subsets of KID_SUBSET_SIZE, each drawn without replacement, the
    standard deviation with the divisor KID_SUBSETS. A smaller set is taken whole, as in pyiqa; then the subsets share
    it, their spread says nothing of how sure the value is, and there is none. The draws depend on the two sizes alone,
    so methods of one table are compared on the same photos. Raises Unavailable for fewer than two images.
    """
    ours, theirs = features.double(), _features(reference).double()
    sizes = len(ours), len(theirs)
    size = min(*sizes, KID_SUBSET_SIZE)
    if size < 2:
        raise Unavailable(f"KID needs 2 images in each set, found {sizes[1]} and {sizes[0]}")
    stream = numpy_stream(0, "kid", "")
    distances = []
    for _ in range(KID_SUBSETS if max(sizes) > size else 1):
        some, others = (torch.from_numpy(stream.choice(n, size, replace=False)) for n in sizes)
        distances.append(polynomial_mmd2(ours[some], theirs[others]))
    return SetScore(float(np.mean(distances)), float(np.std(distances)) if min(sizes) > size else None)


def polynomial_mmd2(x: Tensor, y: Tensor) -> float:
    """Unbiased MMD^2 of two sets of features [m, D] with the kernel k(a, b) = (a.b / D + 1)^3; can be below zero.

    sum over i != j of k(x_i, x_j) and of k(y_i, y_j), each / (m (m - 1)), minus 2 mean of k(x_i, y_j).
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        both = kernel(a, a)
        return (both.sum() - both.trace()) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


def _features(reference: ReferenceSet) -> Tensor:
    assert reference.features is not None, "the metric has needs_features = False"
    return reference.features


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
        file = torch.load(path, map_location="cpu", weights_only=True)
        mean, cov = (np.asarray(file[key], dtype=np.float64) for key in ("mean", "cov"))
    return FeatureStatistics(metric, name, n, mean, cov)


def precision_recall(real: Tensor, generated: Tensor, k: int = 3) -> tuple[float, float]:
    """Precision and recall of generated against real features [N, D], [M, D] (Kynkäänniemi et al. 2019).

    A point's ball reaches to its k-th nearest neighbour in its own set; precision is the share of generated points in
    at least one real ball, recall the reverse. Raises Unavailable for fewer than k + 1.
    """
    if min(len(real), len(generated)) <= k:
        raise Unavailable(
            f"precision and recall with k = {k} need {k + 1} images in each set, found {len(real)} and {len(generated)}"
        )
    real, generated = real.double(), generated.double()
    between = torch.cdist(real, generated, compute_mode="donot_use_mm_for_euclid_dist")

    def radii(points: Tensor) -> Tensor:
        own = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
        return own.kthvalue(k + 1, dim=1).values  # the nearest is the point itself

    precision = (between <= radii(real)[:, None]).any(dim=0).double().mean()
    recall = (between <= radii(generated)[None]).any(dim=1).double().mean()
    return float(precision), float(recall)
