"""An experiment's settings: their schema, and the checks that the sections fit together."""

import typing
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    ValidationError,
    model_validator,
)

from tasks.basics import BadInput, Name, Strict, suggestion
from tasks.data.datasets import Dataset, Split
from tasks.degradation.presets import DegradationName
from tasks.diffusion.priors import PRIORS, Prior
from tasks.methods.dt_bfr import PseudoTargets
from tasks.methods.idm import Idm
from tasks.methods.respacing import Respacing
from tasks.methods.table import Settings
from tasks.metrics.registry import DEFAULT, REAL, MetricName, TableMetric, column
from tasks.models.idm import IdmTraining
from tasks.models.prior import PriorTraining
from tasks.report.content import Claim, Published
from tasks.restorers.network import NetworkSpec
from tasks.training.network import Averaged
from tasks.training.recipes import Recipe, trainers

MethodName = Literal["lq", "pretrained", "pseudo_target", "adapted", "refined"]


def _none_of(what: str, taken: Collection[str]) -> AfterValidator:
    def check(name: str) -> str:
        if name in taken:
            raise ValueError(f"the name of a {what} is none of {', '.join(taken)}: choose another")
        return name

    return AfterValidator(check)


MethodKey = Annotated[Name, _none_of("method", typing.get_args(MethodName))]
ReferenceName = Annotated[Name, _none_of("reference set", (REAL, DEFAULT))]


class Degradation(Strict):
    """One named degradation, applied to the HQ photos."""

    preset: DegradationName = Field(description="a preset of tasks/degradation")
    camera: Path | None = Field(default=None, description="camera file (JSON) that replaces a RAW preset's camera")
    iso: PositiveInt | None = Field(default=None, description="sensor gain to look up in the camera file")

    @model_validator(mode="after")
    def _camera_and_iso(self) -> "Degradation":
        if (self.camera is None) != (self.iso is None):
            raise ValueError("camera and iso go together: the noise is looked up in the camera file at that ISO")
        return self


Estimator = Annotated[
    Annotated[NetworkSpec, Tag("NetworkSpec")] | Annotated[Literal["adapted"], Tag("adapted")],
    Discriminator(lambda value: "adapted" if isinstance(value, str) else "NetworkSpec"),
]


class Comparison(Strict):
    """One more method of the table."""

    method: Settings
    weights: Path | None = Field(
        default=None, description="its network or prior; default: the experiment's prior, for IDM the cleaned model"
    )
    estimator: Estimator | None = Field(
        default=None,
        description="DifFace's; default: the experiment's restorer; not in the papers: `adapted`, that one adapted",
    )
    label: str | None = Field(default=None, description="its name in the tables; default: its key")

    @property
    def own_estimator(self) -> NetworkSpec | None:
        """The estimator that is named with its weights."""
        return self.estimator if isinstance(self.estimator, NetworkSpec) else None


class External(Strict):
    """A method that ran elsewhere: its images enter the table, matched by image id."""

    images: str = Field(
        min_length=1, description="folder of images named by image id; {degradation} is replaced by its name"
    )
    label: str | None = None


def _other_form(value: object) -> str:
    """Which of the two forms an entry of `compare` means to be, so that an error speaks of that one alone."""
    is_external = isinstance(value, External) or (isinstance(value, dict) and "images" in value)
    return "External" if is_external else "Comparison"


Other = Annotated[
    Annotated[Comparison, Tag("Comparison")] | Annotated[External, Tag("External")], Discriminator(_other_form)
]


class TargetChange(Strict):
    """What is otherwise for one degradation."""

    start_t: PositiveInt | None = Field(default=None, le=1000, description="K")
    stop_t: int | None = Field(default=None, ge=0, description="L")
    factor: PositiveInt | None = Field(default=None, description="N")


class Targets(PseudoTargets):
    """Algorithm 1 of DT-BFR, with settings that differ by degradation."""

    at: dict[Name, TargetChange] = Field(
        default_factory=dict, description="by degradation; published: CodeFormer's N is 8 at x4, 16 at x8"
    )

    def on(self, part: str) -> PseudoTargets:
        """The settings for one degradation, or one set of real photos."""
        change = self.at[part].model_dump(exclude_none=True) if part in self.at else {}
        return PseudoTargets(**self.model_dump(exclude={"at"}) | change)


class Downstream(Averaged):
    """IDM's downstream test: the experiment's prior, trained on the photos before and after cleaning, draws faces."""

    from_scratch: bool = Field(description="false: both start from the experiment's prior")
    respacing: Respacing = Field(description="kept steps of the 1000 when drawing")
    count: PositiveInt = Field(description="faces to draw")
    metrics: tuple[MetricName, ...] = Field(description="against the photos of split `real`; published: fid …")

    def training(self, arch: str, seed: int) -> PriorTraining:
        """How the prior is trained."""
        return PriorTraining.constant(self, kind="prior", arch=arch, seed=seed, clip=1.0)


class Cleaning(Averaged):
    """IDM's extrinsic iteration: the first model cleans the training photos, the second learns from these."""

    method: Idm
    weights: Path | None = Field(default=None, description="the first model; default: trained here, alike")
    degradation: DegradationName = Field(description="makes the training's LQ photos; published: idm")
    iterations: PositiveInt = Field(description="published: 100000")
    batch: PositiveInt = Field(description="published: 32")
    metrics: tuple[MetricName, ...] = Field(description="of the photos before and after; published: nima")
    downstream: Downstream | None = None

    def training(self, seed: int) -> IdmTraining:
        """How both models are trained."""
        method = self.method
        own = {"arch": method.arch, "predicts": method.predicts, "degradation": self.degradation}
        return IdmTraining.constant(self, kind="idm", seed=seed, **own)


class Authenticity(Strict):
    """IDM's check of every method: restoring a restored photo, or a clean one, should change nothing."""

    degradation: str = Field(description="one of the experiment's: its restored photos are restored once more")
    metrics: tuple[MetricName, ...]
    methods: tuple[str, ...] | None = Field(default=None, description="of the table; default: all that run here")


class Reference(Strict):
    """A set of photos that metrics of whole sets compare with: as `fid@<its name>` among the metrics."""

    label: str = Field(description="as the column names it, like FFHQ-70k")
    images: Path | None = Field(default=None, description="folder of photos, read at dataset.size")
    statistics: Path | None = Field(default=None, description="or FID statistics: .npz of pytorch-fid or bfr, or .pth")
    count: PositiveInt | None = Field(default=None, description="images that the statistics are of")

    @model_validator(mode="after")
    def _is_one_of_them(self) -> "Reference":
        if (self.images is None) == (self.statistics is None):
            raise ValueError("give either `images` or `statistics`")
        if self.statistics and self.count is None:
            raise ValueError("count: how many images are the statistics of?")
        return self


def _known(what: str, name: str, valid: Collection[str]) -> None:
    if name not in valid:
        raise ValueError(f"{what}: unknown {name!r}.{suggestion(name, valid)} Valid: {', '.join(valid)}")


class Experiment(Strict):
    """One benchmark: data, degradations, models, settings and metrics."""

    title: str
    seed: int
    dataset: Dataset
    degradations: dict[Name, Degradation] = Field(default_factory=dict)
    prior: Prior | None = None
    restorer: NetworkSpec | None = None
    pseudo_targets: Targets | None = None
    finetune: Recipe | None = None
    methods: tuple[MethodName, ...] = Field(min_length=1)
    means: dict[Name, tuple[str, ...]] = Field(
        default_factory=dict, description="tables of means over some of the degradations: {name: [degradation, …]}"
    )
    compare: dict[MethodKey, Other] = Field(default_factory=dict)
    metrics: tuple[TableMetric, ...] = Field(min_length=1)
    references: dict[ReferenceName, Reference] = Field(default_factory=dict)
    cleaning: Cleaning | None = None
    authenticity: Authenticity | None = None
    claims: tuple[Claim, ...] = Field(default=(), description="to be checked here; of data/published alone")
    published: tuple[Published, ...] = Field(default=(), description="the papers' numbers; of data/published too")

    @model_validator(mode="after")
    def _fits_together(self) -> "Experiment":
        if self.dataset.has_truth != bool(self.degradations):
            raise ValueError("degradations: real photos have none, other data sets need at least one")
        if self.finetune and self.restorer and self.restorer.arch not in self.finetune.trains:
            raise ValueError(
                f"finetune.recipe {self.finetune.recipe!r} does not train restorer.arch {self.restorer.arch!r};"
                f" valid: {', '.join(f'{recipe!r} for {arch!r}' for arch, recipe in trainers().items())}"
            )
        if self.prior and self.dataset.size % (multiple := PRIORS[self.prior.arch].multiple):
            raise ValueError(
                f"dataset.size {self.dataset.size}: prior.arch {self.prior.arch!r} needs a multiple of {multiple}"
            )
        if self.pseudo_targets:
            self._check_targets(self.pseudo_targets)
        if self.cleaning and self.cleaning.downstream and self.prior is None:
            raise ValueError("cleaning.downstream: it needs the section `prior`, which is missing")
        self._check_means()
        if "refined" in self.methods and "adapted" not in self.methods:
            raise ValueError("methods: `refined` goes on from `adapted`, which is none of them: add it")
        for name, other in self.compare.items():
            if isinstance(other, Comparison):
                self._check_comparison(name, other)
        for metric in self.metrics:
            if (reference := column(metric)[1]) != DEFAULT:
                _known(f"metrics: {metric!r}: reference set", reference, (REAL, *self.references))
        if self.authenticity:
            if not self.dataset.has_truth:
                raise ValueError("authenticity: real photos have no clean version to check with; remove it")
            _known("authenticity.degradation", self.authenticity.degradation, self.parts)
            for name in self.authenticity.methods or ():
                _known("authenticity.methods", name, self.table)
        return self

    def _check_means(self) -> None:
        if self.means and not self.dataset.has_truth:
            raise ValueError("means: the sets of real photos have not the same photos; remove it")
        for name, parts in self.means.items():
            if name in self.parts:
                raise ValueError(f"means.{name}: a degradation has this name: choose another")
            if len(set(parts)) < max(2, len(parts)):
                raise ValueError(f"means.{name}: expected two degradations or more, each once")
            for part in parts:
                _known(f"means.{name}", part, self.parts)

    def _check_targets(self, targets: Targets) -> None:
        for part in targets.at:
            _known("pseudo_targets.at", part, self.parts)
        for part in ("", *targets.at):
            where = f"pseudo_targets.at.{part}" if part else "pseudo_targets"
            try:
                found = targets.on(part)
                _ = found.evaluations  # for K and L between which the respaced chain keeps no step
            except ValidationError as error:
                raise ValueError(f"{where}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            if found.is_constrained and self.dataset.size % found.factor:
                raise ValueError(f"{where}.factor {found.factor} does not divide dataset.size {self.dataset.size}")

    def _check_comparison(self, name: str, other: Comparison) -> None:
        method, estimator = other.method, other.own_estimator or self.restorer
        if "weights" in method.needs and other.weights is None and not (method.is_cleaned and self.cleaning):
            cleaned = ", or the experiment a `cleaning`" if method.is_cleaned else ""
            raise ValueError(f"compare.{name}: a method {method.kind!r} needs `weights`{cleaned}")
        if "prior" in method.needs and self.prior is None:
            raise ValueError(f"compare.{name}: it needs the section `prior`, which is missing")
        if "estimator" in method.needs and estimator is None:
            raise ValueError(f"compare.{name}: it needs an `estimator`, or the experiment a `restorer`")
        if other.estimator and "estimator" not in method.needs:
            raise ValueError(f"compare.{name}.estimator: a method {method.kind!r} has none; remove it")
        if other.estimator == "adapted" and "adapted" not in self.methods:
            raise ValueError(f"compare.{name}.estimator: nothing is adapted, for `adapted` is none of `methods`")
        if method.estimators and estimator and estimator.arch not in method.estimators:
            raise ValueError(f"compare.{name}: its estimator is a {method.estimators[0]!r}, found {estimator.arch!r}")

    @property
    def weights(self) -> dict[Path, str]:
        """Each file of weights or statistics, as it is written, and what it is needed as; those of metrics left out."""
        found = {self.prior.weights: "the prior"} if self.prior else {}
        if self.restorer:
            found[self.restorer.weights] = "the restorer"
        for name, other in self.compare.items():
            if isinstance(other, Comparison):
                own = (other.weights, other.own_estimator and other.own_estimator.weights)
                found |= {path: f"the method {name!r}" for path in own if path and path not in found}
        if self.cleaning and self.cleaning.weights:
            found.setdefault(self.cleaning.weights, "the first model of cleaning")
        for name, reference in self.references.items():
            if reference.statistics:
                found[reference.statistics] = f"the reference set {name!r}"
        return found

    @property
    def all_metrics(self) -> tuple[str, ...]:
        """The metrics of its table and of its checks, and its loss that is one."""
        downstream = self.cleaning and self.cleaning.downstream
        checks = [check.metrics for check in (self.cleaning, downstream, self.authenticity) if check]
        loss = self.finetune and self.finetune.perceptual
        names = [*self.metrics, *(name for metrics in checks for name in metrics), *([loss] if loss else [])]
        return tuple(dict.fromkeys(names))

    @property
    def splits(self) -> tuple[Split, ...]:
        """Which LQ photos are needed: those that the methods are compared on, and those to adapt on."""
        return ("finetune", "test") if "adapted" in self.methods else ("test",)

    @property
    def parts(self) -> tuple[str, ...]:
        """What the tables are divided into: the degradations, or the sets of real photos."""
        return (*self.dataset.lq, *self.degradations)

    @property
    def table(self) -> tuple[str, ...]:
        """All methods of the table, in its order."""
        return (*self.methods, *self.compare)


Section = TypeVar("Section")


def given(section: Section | None, name: str) -> Section:
    """An optional section of an experiment that is needed now. Raises BadInput if the experiment does not have it."""
    if section is None:
        raise BadInput(f"This needs the section `{name}`, which the experiment has not. Choose another experiment.")
    return section
