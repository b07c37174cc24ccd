"""Paired tests between methods: Wilcoxon's signed ranks over photos, Holm-corrected over the methods of a column."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon


def holm_p(values: Mapping[str, pd.Series], against: str) -> dict[str, float]:
    """Holm-corrected p of every other method against one, on the photos that both have.

    values: by method, scores indexed by image id. A pair without two photos in common has no p and no entry.
    """
    raw = {name: _paired_p(scores, values[against]) for name, scores in values.items() if name != against}
    return holm({name: p for name, p in raw.items() if p is not None})


def _paired_p(a: pd.Series, b: pd.Series) -> float | None:
    ours, theirs = a.align(b, join="inner")
    if len(ours) < 2:
        return None
    difference = (ours - theirs).to_numpy(dtype=float)
    return float(wilcoxon(difference).pvalue) if np.any(difference) else 1.0


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction (1979): the k-th smallest of m times m - k + 1, never falling, at most 1."""
    corrected: dict[str, float] = {}
    reached = 0.0
    for k, (name, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        reached = max(reached, min(1.0, value * (len(p) - k)))
        corrected[name] = reached
    return corrected
