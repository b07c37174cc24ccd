"""KID: the kernel inception distance of two sets of features (Binkowski et al. 2018)."""

import numpy as np
import torch
from torch import Tensor

from tasks.metrics.sets import ReferenceSet, SetScore
from tasks.noise import numpy_stream
from tasks.weights.file import Unavailable

SUBSETS = 100
SUBSET_SIZE = 1000


def kid(features: Tensor, reference: ReferenceSet) -> SetScore:
    """KID of a set, by its features [N, D]: mean and standard deviation over random subsets.

    As torch-fidelity has it: SUBSETS pairs of subsets of SUBSET_SIZE, each drawn without replacement, the
    standard deviation with the divisor SUBSETS. A smaller set is taken whole, as in pyiqa; then the subsets share
    it, their spread says nothing of how sure the value is, and there is none. The draws depend on the two sizes alone,
    so methods of one table are compared on the same photos. Raises Unavailable for fewer than two images.
    """
    ours, theirs = features.double(), reference.kept_features.to(features.device).double()
    sizes = len(ours), len(theirs)
    size = min(*sizes, SUBSET_SIZE)
    if size < 2:
        raise Unavailable(f"KID needs 2 images in each set, found {sizes[1]} and {sizes[0]}")
    stream = numpy_stream(0, "kid", "")
    distances = []
    for _ in range(SUBSETS if max(sizes) > size else 1):
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
