"""What studies of several ways to make pseudo-targets share."""

import pandas as pd

from tasks.basics import BadInput, suggestion
from tasks.metrics.bootstrap import paired_difference
from tasks.params.experiment import Experiment, Targets, given


def on_one(base: Experiment, degradation: str, **targets: int | str) -> Experiment:
    """The experiment with one degradation, and pseudo-targets changed by settings, which are not checked together.

    Raises BadInput if it has not that degradation, or makes no pseudo-targets.
    """
    if degradation not in base.degradations:
        valid = ", ".join(base.degradations) or "none"
        raise BadInput(
            f"degradation: unknown {degradation!r}.{suggestion(degradation, base.degradations)} Valid: {valid}"
        )
    settings = given(base.pseudo_targets, "pseudo_targets").on(degradation)
    changed = Targets.model_construct(**settings.model_dump() | targets)
    parts = {degradation: base.degradations[degradation]}
    return base.model_copy(update={"degradations": parts, "pseudo_targets": changed})


def difference(ours: pd.Series, theirs: pd.Series) -> str:
    """Mean of ours - theirs over photos, with its 95 % interval."""
    found = paired_difference(ours, theirs)
    return f"{found.mean:+.2g} [{found.low:+.2g}, {found.high:+.2g}]"
