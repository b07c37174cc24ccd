"""FID: the Frechet distance of two sets of features (Heusel et al. 2017)."""

import numpy as np
from torch import Tensor

from tasks.basics import BadInput
from tasks.metrics.sets import FeatureStatistics, ReferenceSet, SetScore, feature_statistics


def fid(features: Tensor, reference: ReferenceSet) -> SetScore:
    """FID of a set, by its features [N, D]; strongly biased by small sets, so compare only results of equal N.

    Raises Unavailable for fewer than two images.
    """
    ours = feature_statistics([features], reference.statistics.metric, "images")
    return SetScore(frechet_distance(ours, reference.statistics))


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """|mu1 - mu2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    The trace of the root is the sum of the square roots of the eigenvalues of S C2 S, with S the symmetric root of C1:
    real also for rank-deficient covariances, where a matrix root of C1 C2 is not. Raises BadInput for statistics of
    different metrics. NaN for features that are not numbers.
    """
    if a.metric != b.metric:
        raise BadInput(f"{a.name} has features of {a.metric}, {b.name} of {b.metric}: only equal ones can be compared.")
    values, vectors = np.linalg.eigh(a.cov)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    trace_of_root = np.sqrt(np.linalg.eigvalsh(root @ b.cov @ root).clip(min=0)).sum()
    shift = a.mean - b.mean
    return float(np.maximum(0, shift @ shift + np.trace(a.cov) + np.trace(b.cov) - 2 * trace_of_root))
