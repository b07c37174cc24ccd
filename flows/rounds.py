"""Adaptation in rounds, which none of the papers has: what the adapted restorer makes gives the targets of the next."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.rows import run_prior, run_restorer
from flows.workspace import TRAINED, Workspace
from tasks.basics import ROOT
from tasks.noise import stream_seed
from tasks.params.experiment import Experiment, given
from tasks.running.apart import at_once
from tasks.running.batching import DIFFERENTIATED
from tasks.running.stage import Source
from tasks.stages.finetune import FineTuneParams, finetune
from tasks.store.artifact import ImageFolder
from tasks.training.swinir_gan import FineTune


@dataclass(frozen=True)
class Adaptation:
    """What a restorer learns from in a round.

    part: whose settings of Algorithm 1 to take; at: where the last model goes; rounds: the folder of all that the
    rounds make beside it, by their numbers; targets: of the photos `lq`; weights: what the training begins with.
    """

    part: str
    at: str
    rounds: str
    lq: ImageFolder
    targets: ImageFolder
    real: ImageFolder
    weights: Path

    @property
    def inputs(self) -> dict[str, Source]:
        """Of the stage."""
        return {"lq": self.lq, "targets": self.targets, "real": self.real, "weights": self.weights}


def adapt_in_rounds(experiment: Experiment, work: Workspace, adaptations: Sequence[Adaptation]) -> None:
    """Adapt the experiment's restorer `finetune.rounds` times; `adaptations` are the first round's, side by side.

    In each further round the model of the round before restores the LQ photos, Algorithm 1 makes targets of that, and
    the training goes on from that model.
    """
    arch, recipe = given(experiment.restorer, "restorer").arch, experiment.finetune
    assert recipe is not None, "nobody adapts without it"
    alone = recipe.model_copy(update={"rounds": 1})  # a round's model does not depend on how many follow
    prior = given(experiment.prior, "prior") if recipe.reads_prior else None
    read: dict[str, Source] = {"prior": ROOT / prior.weights} if prior else {}
    images = recipe.micro_batch if isinstance(recipe, FineTune) else recipe.batch
    count = at_once(images * experiment.dataset.size**2 * DIFFERENTIATED)
    for number in range(1, recipe.rounds + 1):
        now = of_round(experiment, number)
        if number > 1:
            adaptations = [continued(now, work, each, number) for each in adaptations]
        is_last = number == recipe.rounds
        inputs = {each.at if is_last else model_of(each, number): each.inputs | read for each in adaptations}
        params = FineTuneParams(seed=now.seed, arch=arch, settings=alone, prior=prior.arch if prior else None)
        work.make_all(finetune, params, inputs, count)


def of_round(experiment: Experiment, number: int) -> Experiment:
    """The experiment with the seed of a round, from 1: the first has the experiment's, each other one of its own."""
    if number == 1:
        return experiment
    seed = stream_seed(experiment.seed, "round", str(number)) & (2**32 - 1)
    return experiment.model_copy(update={"seed": seed})


def continued(experiment: Experiment, work: Workspace, before: Adaptation, number: int) -> Adaptation:
    """Round `number`, from 2, after the round before. experiment: with the seed of this round."""
    weights, at = work[model_of(before, number - 1)].path(TRAINED), f"{before.rounds}/{number}"
    restored = run_restorer(experiment, work, before.lq, f"{at}/restored", weights)
    targets = run_prior(experiment, work, restored, before.part, f"{at}/pseudo_targets")
    return replace(before, targets=targets, weights=weights)


def model_of(adaptation: Adaptation, number: int) -> str:
    """Where the model of a round goes that is not the last."""
    return f"{adaptation.rounds}/{number}/model"
