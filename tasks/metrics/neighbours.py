"""Precision and recall of a set of images by nearest neighbours among features (Kynkäänniemi et al. 2019)."""

import torch
from torch import Tensor

from tasks.metrics.sets import ReferenceSet, SetScore
from tasks.weights.file import Unavailable


def precision(features: Tensor, reference: ReferenceSet) -> SetScore:
    """Share of the set within the reference. Raises Unavailable for too few images."""
    return SetScore(precision_recall(reference.kept_features, features)[0])


def recall(features: Tensor, reference: ReferenceSet) -> SetScore:
    """Share of the reference within the set. Raises Unavailable for too few images."""
    return SetScore(precision_recall(reference.kept_features, features)[1])


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
