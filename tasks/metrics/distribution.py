"""Two sets of images by their features: FID (the Frechet distance), precision and recall."""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tasks.basics import BadInput
from tasks.metrics.offline import blamed, constructing, load_state, replaced
from tasks.metrics.seeded import fill_seeded
from tasks.weights.file import Unavailable
from tasks.weights.official import INCEPTION


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


class SetScorer:
    """A distribution metric: features of image batches, their statistics, and the distance of two sets.

    extract: [N, 3, H, W] in [0, 1] on `device` to [N, D]; metrics of one `family` have the same features.
    """

    needs_features = False

    def __init__(self, metric: str, extract: Callable[[Tensor], Tensor], device: torch.device) -> None:
        self.metric = metric
        self.extract = extract
        self.device = device

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] in [0, 1], on any device, to [N, D] on the scorer's."""
        return self.extract(images.to(self.device))

    def statistics(self, batches: Iterable[Tensor], name: str) -> FeatureStatistics:
        """Statistics of the set `name`, given as batches of images."""
        return feature_statistics(map(self.features, batches), self.metric, name)

    def distance(self, a: FeatureStatistics, b: FeatureStatistics) -> float:
        """Frechet distance; strongly biased by small sets, so compare only results of equal n."""
        return frechet_distance(a, b)

    @property
    def family(self) -> str:
        """Whose features these are."""
        return "fid_seeded" if self.metric.endswith("_seeded") else "fid"

    def reference(self, features: Tensor, name: str) -> ReferenceSet:
        """A reference set from its features [N, D]."""
        statistics = feature_statistics([features], self.family, name)
        return ReferenceSet(statistics, features if self.needs_features else None)

    def compare(self, features: Tensor, reference: ReferenceSet) -> float:
        """The metric of a set, by its features [N, D]. Raises Unavailable for too few images."""
        return self.distance(feature_statistics([features], self.family, "images"), reference.statistics)


class NeighbourScorer(SetScorer):
    """Precision or recall on the scorer's features."""

    needs_features = True

    def compare(self, features: Tensor, reference: ReferenceSet) -> float:
        """Raises Unavailable for too few images."""
        assert reference.features is not None
        try:
            both = precision_recall(reference.features, features)
        except BadInput as reason:
            raise Unavailable(str(reason)) from reason
        return both[0] if self.metric.startswith("precision") else both[1]


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
    at least one real ball, recall the reverse. Raises BadInput for fewer than k + 1 points.
    """
    if min(len(real), len(generated)) <= k:
        raise BadInput(
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


def fid_features(weights_dir: Path, metric: str = "FID") -> nn.Module:
    """pytorch-fid's Inception: [N, 3, H, W] in [0, 1], resized to 299 inside, to [N, 2048]. Raises MissingWeights."""
    path = INCEPTION.find(weights_dir, metric)
    from pytorch_fid import inception  # here, not above: takes seconds

    with blamed(path):
        state = load_state(path)
        with constructing(), replaced(inception, "load_state_dict_from_url", lambda url, progress: state):
            network = inception.InceptionV3(normalize_input=True)
    return _Pooled(network).requires_grad_(False).eval().to(memory_format=torch.channels_last)


class _Pooled(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.network(images)[0]
        return pooled.flatten(1)


def fid_seeded_features() -> nn.Module:
    """The FID Inception up to its second pooling, with seeded random weights: [N, 3, H, W] in [0, 1] to [N, 192].

    The images keep their size, and the features are averaged over all positions. At 64 pixels the whole network, which
    enlarges to 299, takes 100 times longer, and needs more images than a demo has for its 2048 features.
    """
    from torchvision.models import inception_v3  # here, not above: takes seconds

    with constructing():
        layers = inception_v3(weights=None, init_weights=False)
    first = (layers.Conv2d_1a_3x3, layers.Conv2d_2a_3x3, layers.Conv2d_2b_3x3, layers.maxpool1)
    second = (layers.Conv2d_3b_1x1, layers.Conv2d_4a_3x3, layers.maxpool2)
    return fill_seeded(nn.Sequential(_ToSigned(), *first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten()), "fid_seeded")


class _ToSigned(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return 2 * images - 1
