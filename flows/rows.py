"""The rows of a table, a class for each kind: their names, what they need and cost, and how their images are made.

Preflight, cost, authenticity check, report and the flows for a user's photos all ask the same objects.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from flows.workspace import TRAINED, Workspace
from tasks.basics import ROOT, WEIGHTS, BadInput, with_home
from tasks.data.ingest import PhotoFolder, discover
from tasks.methods.feed_forward import FeedForward
from tasks.metrics.registry import METRICS
from tasks.params.experiment import Comparison, Experiment, External, given
from tasks.report.content import HQ, Method, MethodKind
from tasks.running.stage import Source
from tasks.stages.external import ExternalParams
from tasks.stages.external import external as external_stage
from tasks.stages.pseudo_targets import PseudoTargetParams
from tasks.stages.pseudo_targets import pseudo_targets as pseudo_targets_stage
from tasks.stages.restore import RestoreParams
from tasks.stages.restore import restore as restore_stage
from tasks.store.artifact import ImageFolder
from tasks.weights.fetch import required

Check = Callable[[], object]
"""Raises BadInput where a file or a folder of photos is not there."""

INPAINTING = "lama"  # the restoration network that fills holes
RESTORER_LABELS = {"swinir": "SwinIR", "srcnn": "SRCNN", "codeformer": "CodeFormer", "lama": "LaMa"}


@dataclass(frozen=True)
class Row:
    """A row of an experiment's table.

    sections: of the experiment, which it needs; runs_here: on any photos, not on the test set alone; needs_run: its
    model is a result of the experiment.
    """

    name: str
    experiment: Experiment
    sections: ClassVar[tuple[str, ...]] = ()
    kind: ClassVar[MethodKind] = "other"
    runs_here: ClassVar[bool] = True
    needs_run: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """Its name in the tables."""
        raise NotImplementedError

    @property
    def role(self) -> str:
        """Its name over pictures."""
        return self.label

    @property
    def evaluations(self) -> int | None:
        """Evaluations of its networks for one photo, training included; None if it ran elsewhere."""
        raise NotImplementedError

    @property
    def fills(self) -> bool:
        """Whether it fills holes."""
        return False

    def place(self, part: str) -> str:
        """Where its images of a part's test split are published."""
        return f"compared/{part}/{self.name}"

    def checks(self) -> list[Check]:
        """That its weights and photos are there."""
        return []

    def run(self, work: Workspace, lq: ImageFolder, part: str, at: str) -> ImageFolder:
        """Its images of other photos, published at `at`. part: whose adapted model to take."""
        raise NotImplementedError


class Input(Row):
    """The LQ photos as they are."""

    kind = "input"
    label = "LQ input"
    role = "LQ"
    evaluations = 0
    runs_here = False

    def place(self, part: str) -> str:
        return f"lq/{part}/test"


class Pretrained(Row):
    """The experiment's restorer."""

    sections = ("restorer",)
    role = "pre-trained"
    evaluations = 1

    @property
    def label(self) -> str:
        return f"{restorer_label(self.experiment)}, pre-trained"

    @property
    def fills(self) -> bool:
        return given(self.experiment.restorer, "restorer").arch == INPAINTING

    def place(self, part: str) -> str:
        return f"restored/{part}/test"

    def checks(self) -> list[Check]:
        return restorer_checks(self.experiment)

    def run(self, work: Workspace, lq: ImageFolder, part: str, at: str) -> ImageFolder:
        return run_restorer(self.experiment, work, lq, at)


class PseudoTarget(Row):
    """The restorer's output, noised and denoised under the low-frequency constraint: Algorithm 1 of DT-BFR."""

    sections = ("restorer", "prior", "pseudo_targets")
    label = "Pseudo-targets (diffusion at test time)"
    role = "pseudo-target"

    @property
    def evaluations(self) -> int:
        targets = given(self.experiment.pseudo_targets, "pseudo_targets")
        return 1 + max(targets.on(part).evaluations for part in self.experiment.parts)

    def place(self, part: str) -> str:
        return f"pseudo_targets/{part}/test"

    def checks(self) -> list[Check]:
        return [*restorer_checks(self.experiment), *prior_checks(self.experiment)]

    def run(self, work: Workspace, lq: ImageFolder, part: str, at: str) -> ImageFolder:
        return run_prior(self.experiment, work, run_restorer(self.experiment, work, lq, f"{at}_restored"), part, at)


class Adapted(Row):
    """The restorer, fine-tuned on pseudo-targets of the part's own LQ photos."""

    sections = ("restorer", "prior", "pseudo_targets", "finetune")
    kind = "adapted"
    needs_run = True
    role = "adapted"
    evaluations = 1

    @property
    def label(self) -> str:
        return f"{restorer_label(self.experiment)}, adapted"

    def checks(self) -> list[Check]:
        recipe = self.experiment.finetune
        loss = recipe.perceptual if recipe else None
        files = METRICS[loss].needs if loss else ()
        losses = [partial(required, WEIGHTS / file.place, f"the loss finetune.perceptual = {loss}") for file in files]
        return [*restorer_checks(self.experiment), *prior_checks(self.experiment), *losses]

    def run(self, work: Workspace, lq: ImageFolder, part: str, at: str) -> ImageFolder:
        return run_restorer(self.experiment, work, lq, at, adapted_weights(work, part))


class Refined(Row):
    """Algorithm 1 on what the adapted restorer makes; no paper has it."""

    sections = Adapted.sections
    needs_run = True
    role = "adapted + prior"

    @property
    def adapted(self) -> Adapted:
        """Where it begins."""
        return Adapted(self.name, self.experiment)

    @property
    def label(self) -> str:
        return f"{self.adapted.label}, then the prior"

    @property
    def evaluations(self) -> int:
        return PseudoTarget(self.name, self.experiment).evaluations

    def checks(self) -> list[Check]:
        return self.adapted.checks()

    def run(self, work: Workspace, lq: ImageFolder, part: str, at: str) -> ImageFolder:
        return run_prior(self.experiment, work, self.adapted.run(work, lq, part, f"{at}_restored"), part, at)


@dataclass(frozen=True)
class Compared(Row):
    """A method of the section `compare`."""

    entry: Comparison

    @property
    def label(self) -> str:
        return self.entry.label or self.name

    @property
    def fills(self) -> bool:
        return self.entry.method.fills or getattr(self.entry.method, "arch", "") == INPAINTING

    @property
    def evaluations(self) -> int:
        return self.entry.method.evaluations + self.entry.method.training_images

    def checks(self) -> list[Check]:
        entry, needs = self.entry, self.entry.method.needs
        found: list[Check] = []
        if entry.weights:
            found.append(partial(required, ROOT / entry.weights, f"the method {self.name!r}"))
        elif "prior" in needs:
            found += prior_checks(self.experiment)
        if "estimator" in needs and (own := entry.own_estimator):
            found.append(partial(required, ROOT / own.weights, f"the estimator of {self.name!r}"))
        elif "estimator" in needs:
            found += restorer_checks(self.experiment)
        return found

    def run(self, work: Workspace, lq: ImageFolder, part: str, at: str) -> ImageFolder:
        return run_comparison(self.entry, self.experiment, work, lq, at, part)


@dataclass(frozen=True)
class Foreign(Row):
    """A method that ran elsewhere."""

    entry: External
    runs_here = False
    evaluations = None

    @property
    def label(self) -> str:
        return self.entry.label or self.name

    def checks(self) -> list[Check]:
        return [partial(discover, self.folder(part)) for part in self.experiment.parts]

    def folder(self, part: str) -> Path:
        """Where the other program's images of a part are."""
        return ROOT / with_home(Path(self.entry.images.replace("{degradation}", part)))

    def run(self, work: Workspace, lq: ImageFolder, part: str, at: str) -> ImageFolder:
        params = ExternalParams(size=self.experiment.dataset.size)
        return work.make(at, external_stage, params, folder=PhotoFolder(self.folder(part)), lq=lq)


OWN: dict[str, type[Row]] = {
    "lq": Input,
    "pretrained": Pretrained,
    "pseudo_target": PseudoTarget,
    "adapted": Adapted,
    "refined": Refined,
}


def rows_of(experiment: Experiment) -> dict[str, Row]:
    """All rows of an experiment's table, in its order. Raises BadInput for a row whose sections are missing."""
    rows: dict[str, Row] = {name: OWN[name](name, experiment) for name in experiment.methods}
    for row in rows.values():
        for section in row.sections:
            if getattr(experiment, section) is None:
                raise BadInput(f"methods: {row.name!r} needs the section `{section}`, which is missing")
    for name, entry in experiment.compare.items():
        if isinstance(entry, External):
            rows[name] = Foreign(name, experiment, entry)
        else:
            rows[name] = Compared(name, experiment, entry)
    return rows


def check_names(rows: Iterable[Row]) -> None:
    """Raises BadInput if a row is shown by another one's name."""
    seen = {HQ: "the ground truth"}
    for row in rows:
        for shown in {row.label, row.role}:
            if shown in seen:
                raise BadInput(
                    f"compare: {row.name!r} is shown as {shown!r}, as is {seen[shown]}: give it another `label`."
                )
            seen[shown] = repr(row.name)


def authentic_rows(experiment: Experiment) -> list[Row]:
    """What the authenticity check is about: all rows that can be run on other photos, or those that it names."""
    wanted = experiment.authenticity and experiment.authenticity.methods
    return [row for row in rows_of(experiment).values() if row.runs_here and (wanted is None or row.name in wanted)]


def reported(rows: Sequence[Row]) -> tuple[Method, ...]:
    """The rows as the report has them; changes are against the pre-trained restorer, without it the first row."""
    baseline = next((row for row in rows if isinstance(row, Pretrained)), rows[0])
    return tuple(
        Method(
            name=row.name,
            label=row.label,
            kind="baseline" if row is baseline else row.kind,
            role=row.role,
            evaluations=row.evaluations,
        )
        for row in rows
    )


def restorer_label(experiment: Experiment) -> str:
    arch = given(experiment.restorer, "restorer").arch
    return RESTORER_LABELS.get(arch, arch)


def restorer_checks(experiment: Experiment) -> list[Check]:
    restorer = given(experiment.restorer, "restorer")
    return [partial(required, ROOT / restorer.weights, "the restorer")]


def prior_checks(experiment: Experiment) -> list[Check]:
    return [partial(required, ROOT / given(experiment.prior, "prior").weights, "the prior")]


def run_restorer(
    experiment: Experiment, work: Workspace, lq: ImageFolder, at: str, weights: Path | None = None
) -> ImageFolder:
    """The experiment's restorer, pre-trained or with other weights."""
    restorer = given(experiment.restorer, "restorer")
    method = FeedForward(arch=restorer.arch, fidelity=restorer.fidelity)
    weights = weights or ROOT / restorer.weights
    return work.make(at, restore_stage, RestoreParams(method=method), lq=lq, weights=weights)


def adapted_weights(work: Workspace, part: str) -> Path:
    """The restorer, adapted to a part of the experiment."""
    return work[f"adapted_models/{part}"].path(TRAINED)


def run_prior(experiment: Experiment, work: Workspace, restored: ImageFolder, part: str, at: str) -> ImageFolder:
    """Algorithm 1 of DT-BFR. part: whose settings to take; those of no part are the section's own."""
    prior, targets = given(experiment.prior, "prior"), given(experiment.pseudo_targets, "pseudo_targets")
    params = PseudoTargetParams(seed=experiment.seed, arch=prior.arch, settings=targets.on(part))
    return work.make(at, pseudo_targets_stage, params, restored=restored, weights=ROOT / prior.weights)


def run_comparison(
    entry: Comparison, experiment: Experiment, work: Workspace, lq: ImageFolder, at: str, part: str = ""
) -> ImageFolder:
    """A method of the section `compare`. part: whose adapted model is the estimator, if the adapted one is."""
    method = entry.method
    inputs: dict[str, Source] = {}
    prior = given(experiment.prior, "prior") if "prior" in method.needs else None
    estimator = None
    if "estimator" in method.needs:
        estimator = entry.own_estimator or given(experiment.restorer, "restorer")
        is_adapted = entry.estimator == "adapted"
        inputs["estimator"] = adapted_weights(work, part) if is_adapted else ROOT / estimator.weights
    if weights := entry.weights or (prior and prior.weights):
        inputs["weights"] = ROOT / weights
    else:
        inputs["weights"] = work["cleaning/model"].path(TRAINED)
    params = RestoreParams(
        method=method,
        seed=experiment.seed if method.draws else None,
        prior=prior.arch if prior else None,
        estimator=estimator.without_weights() if estimator else None,
    )
    return work.make(at, restore_stage, params, lq=lq, **inputs)
