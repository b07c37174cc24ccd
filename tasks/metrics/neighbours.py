"""Precision and recall of a set of images by nearest neighbours among features (Kynkäänniemi et al. 2019)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from tasks.metrics.sets import ReferenceSet, SetScore
from tasks.weights.file import Unavailable

BLOCK = 2**24  # distances at a time


def precision(features: Tensor, reference: ReferenceSet) -> SetScore:
    """Share of the set within the reference. Raises Unavailable for too few images."""
    return SetScore(precision_recall(reference.kept_features.to(features.device), features)[0])


def recall(features: Tensor, reference: ReferenceSet) -> SetScore:
    """Share of the reference within the set. Raises Unavailable for too few images."""
    return SetScore(precision_recall(reference.kept_features.to(features.device), features)[1])


def precision_recall(real: Tensor, generated: Tensor, k: int = 3) -> tuple[float, float]:
    """Precision and recall of generated against real features [N, D], [M, D] (Kynkäänniemi et al. 2019).

    Both on one device, which has float64; at most BLOCK distances are held at a time.

    A point's ball reaches to its k-th nearest neighbour in its own set; precision is the share of generated points in
    at least one real ball, recall the reverse. Raises Unavailable for fewer than k + 1.
    """
    if min(len(real), len(generated)) <= k:
        raise Unavailable(
            f"precision and recall with k = {k} need {k + 1} images in each set, found {len(real)} and {len(generated)}"
        )
    real, generated = real.double(), generated.double()

    def radii(points: Tensor) -> Tensor:  # the nearest is the point itself
        return torch.cat([own.kthvalue(k + 1, dim=1).values for own in distances(points, points)])

    def share_within(points: Tensor, balls: Tensor) -> float:
        reach = radii(balls)
        return float(torch.cat([(some <= reach).any(dim=1) for some in distances(points, balls)]).double().mean())

    return share_within(generated, real), share_within(real, generated)


def distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """Of all points a [N, D] to all points b [M, D], [some, M] at a time: all at once are 39 GB for 70,000 images."""
    for some in a.split(max(1, BLOCK // len(b))):
        yield torch.cdist(some, b, compute_mode="donot_use_mm_for_euclid_dist")
