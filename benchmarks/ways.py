"""What studies of several ways to make pseudo-targets share."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tasks.basics import BadInput, suggestion
from tasks.metrics.bootstrap import paired_difference
from tasks.params.experiment import Experiment, Targets, given
from tasks.params.messages import Faults, validated


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


def checked(way: str, settings: Mapping[str, Any]) -> Experiment:
    """A way's experiment. Raises BadInput with all that is wrong with it."""
    try:
        return validated(Experiment, settings)
    except Faults as error:
        lines = (": ".join(filter(None, (f"way {way!r}", *fault))) for fault in error.found)
        raise BadInput("\n".join(lines)) from error


def difference(ours: pd.Series, theirs: pd.Series) -> str:
    """Mean of ours - theirs over photos, with its 95 % interval."""
    found = paired_difference(ours, theirs)
    return f"{found.mean:+.2g} [{found.low:+.2g}, {found.high:+.2g}]"
