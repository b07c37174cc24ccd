"""Paired tests between methods: Wilcoxon's signed ranks over photos, Holm-corrected over the methods of a column."""

from collections.abc import Mapping

import numpy as np
import pandas as pd


def valued(values: pd.Series, sign: int) -> pd.Series:
    """What is a number, in the order of the photos; with sign times infinity, which is a perfect score.

    sign: 1 where higher values are better, else -1. The PSNR of a photo that is identical to its original is infinite.
    Infinitely bad is a failure of the metric, and missing.
    """
    return values[np.isfinite(values) | (values == sign * np.inf)].sort_index()


def differences(a: pd.Series, b: pd.Series) -> np.ndarray:
    """a - b for each photo, float64 [n], by position; 0 where both are infinite."""
    x, y = a.to_numpy(dtype=float), b.to_numpy(dtype=float)
    return np.where(x == y, 0.0, x - np.where(x == y, 0.0, y))


def bounded(difference: np.ndarray) -> np.ndarray:
    """Infinite differences count as much as the largest finite one (as 1 where all others are 0), of their sign."""
    most = np.abs(difference[np.isfinite(difference)]).max(initial=0.0) or 1.0
    return np.nan_to_num(difference, posinf=most, neginf=-most)


def holm_p(values: Mapping[str, pd.Series], against: str) -> dict[str, float]:
    """Holm-corrected p of every other method against one, on the photos that both have.

    values: by method, scores indexed by image id. A pair without two photos in common has no p and no entry.
    """
    raw = {name: _paired_p(scores, values[against]) for name, scores in values.items() if name != against}
    return holm({name: p for name, p in raw.items() if p is not None})


def _paired_p(a: pd.Series, b: pd.Series) -> float | None:
    from scipy.stats import wilcoxon  # here, not above: takes seconds

    ours, theirs = a.align(b, join="inner")
    if len(ours) < 2:
        return None
    difference = bounded(differences(ours, theirs))
    return float(wilcoxon(difference).pvalue) if np.any(difference) else 1.0


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction (1979): the k-th smallest of m times m - k + 1, never falling, at most 1."""
    corrected: dict[str, float] = {}
    reached = 0.0
    for k, (name, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        reached = max(reached, min(1.0, value * (len(p) - k)))
        corrected[name] = reached
    return corrected
