"""The preset `fast`: fewer kept steps than a published chain of the prior has. No paper has it.

The chain's own sampler stays: with so few evaluations DPM-Solver++(2M) makes worse targets (docs/performance.md, with
what the preset costs in quality).
"""

import logging

from tasks.basics import BadInput
from tasks.methods.difface import DifFace
from tasks.params.experiment import Comparison, Experiment, Targets

LOG = logging.getLogger(__name__)

RESPACING = "34"  # of Algorithm 1, whose results are taught to a restorer or kept near to a photo
DIFFACE = "100"  # DifFace's own results are looked at: 34 steps leave noise in them


def fast(experiment: Experiment, row: str) -> Experiment:
    """The experiment with the preset for a row of its table; where the row's chain is as short, that stays.

    Raises BadInput for a row that has no chain to shorten.
    """
    if (chain := chain_of(experiment, row)) is None:
        raise BadInput(
            "fast: this method has no variant with fewer evaluations of a diffusion prior. Leave it out, or choose "
            "pseudo_target or difface."
        )
    short = shortened(chain)
    if short is chain:
        LOG.warning("Fast changes nothing here: %d evaluations of the prior for a face.", chain.evaluations)
    else:
        LOG.info("Fast: %d evaluations of the prior for a face, not %d.", short.evaluations, chain.evaluations)
    if row == "pseudo_target":
        return experiment.model_copy(update={"pseudo_targets": short})
    entry = experiment.compare[row].model_copy(update={"method": short})
    return experiment.model_copy(update={"compare": {**experiment.compare, row: entry}})


def chain_of(experiment: Experiment, row: str) -> Targets | DifFace | None:
    """The settings of a row that has a fast variant."""
    if row == "pseudo_target":
        return experiment.pseudo_targets
    entry = experiment.compare.get(row)
    return entry.method if isinstance(entry, Comparison) and isinstance(entry.method, DifFace) else None


def shortened(chain: Targets | DifFace) -> Targets | DifFace:
    """The chain with the preset; itself where that is not shorter, or keeps no step between Algorithm 1's K and L."""
    short = chain.model_copy(update={"respacing": DIFFACE if isinstance(chain, DifFace) else RESPACING})
    try:
        is_shorter = all(now < before for now, before in zip(evaluations(short), evaluations(chain), strict=True))
    except ValueError:  # K and L lie nearer to one another than two steps
        return chain
    return short if is_shorter else chain


def evaluations(chain: Targets | DifFace) -> list[int]:
    """For one photo; of pseudo-targets also for each degradation that has settings of its own."""
    if isinstance(chain, Targets):
        return [chain.on(part).evaluations for part in ("", *chain.at)]
    return [chain.evaluations]
