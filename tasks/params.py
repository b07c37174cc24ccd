"""params.yaml as typed, strict models: the only place that reads the file.

Every stage gets just the model of its own settings, so that its key depends on nothing else. A wrong key or value is
reported with its full path and the nearest valid name, before any work starts.
"""

import difflib
import re
import types
import typing
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationError,
    model_validator,
)

from tasks.degradation import PRESETS as DEGRADATIONS
from tasks.methods import DifFace, DifFaceInpaint, FeedForward, Idm, Settings
from tasks.metrics.registry import DEFAULT, METRICS, find
from tasks.priors import PRIORS
from tasks.restorers import RESTORERS
from tasks.store import ROOT, BadInput, Strict

PARAMS_FILE = ROOT / "params.yaml"
LONGEST = 1_000_000  # characters of a parameter file
MOST_VALUES = 100_000


def one_of(what: str, valid: typing.Iterable[str]) -> AfterValidator:
    """Validator for a name that the code registers."""
    names = sorted(valid)

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"unknown {what} {name!r}.{suggestion(name, names)} Valid: {', '.join(names)}")
        return name

    return AfterValidator(check)


def suggestion(name: str, valid: typing.Iterable[str]) -> str:
    """' Did you mean …?' with the nearest valid name, or nothing."""
    near = difflib.get_close_matches(name, list(valid), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _method_key(name: str) -> str:
    if not re.fullmatch("[a-z0-9_]+", name) or name in typing.get_args(MethodName):
        raise ValueError(
            f"a method's key is made of a-z, 0-9 and _, and is none of {', '.join(typing.get_args(MethodName))}"
        )
    return name


def _table_metric(name: str) -> str:
    _, at, reference = name.partition("@")
    kind = find(name).kind
    if at and (not reference or kind != "distribution"):
        raise ValueError(f"{name!r}: only a metric of whole sets (FID, precision, recall) takes @ and a reference set")
    return name


def _reference_name(name: str) -> str:
    if not re.fullmatch("[a-z0-9_]+", name) or name in (REAL, DEFAULT):
        raise ValueError(f"a reference set's key is made of a-z, 0-9 and _, and is neither {REAL!r} nor {DEFAULT!r}")
    return name


DegradationName = Annotated[str, one_of("degradation", DEGRADATIONS)]
PriorName = Annotated[str, one_of("prior", PRIORS)]
RestorerName = Annotated[str, one_of("restorer", RESTORERS)]
MetricName = Annotated[str, one_of("metric", METRICS)]
TableMetric = Annotated[str, AfterValidator(lambda name: _table_metric(name))]
REAL = "real"  # the reference set of the unpaired HQ photos, which every experiment has
ReferenceName = Annotated[str, AfterValidator(lambda name: _reference_name(name))]
Split = Literal["finetune", "test", "real", "train"]
MethodName = Literal["lq", "pretrained", "pseudo_target", "adapted"]
MethodKey = Annotated[str, AfterValidator(lambda name: _method_key(name))]


class Portraits(Strict):
    """Procedural faces, made on the spot. Each split is drawn from seeds of its own, so no face is in two splits."""

    kind: Literal["portraits"]
    size: PositiveInt = Field(description="side of the square images, pixels")
    finetune: PositiveInt = Field(description="faces whose LQ photos the restorer is adapted on")
    test: PositiveInt = Field(description="faces that the methods are compared on")
    real: PositiveInt = Field(description="unpaired HQ faces: the discriminator's real images")
    train: PositiveInt = Field(default=128, description="HQ faces that IDM cleans and trains on")
    flawed: float = Field(default=0.15, ge=0, le=1, description="share of `train` with slight flaws of its own")


class Folders(Strict):
    """Aligned HQ photos on disk; file names sorted, the last `test` of them are the test set (DT-BFR: 2500 and 500)."""

    kind: Literal["folders"]
    size: PositiveInt = Field(description="side of the square images, pixels; others are resized")
    hq: Path = Field(description="folder of HQ photos, degraded to make LQ photos and used as test ground truth")
    test: PositiveInt | None = Field(
        default=None, description="how many of `hq`, from the end of the sorted list, are the test set; default: all"
    )
    real: Path = Field(
        description="folder of unpaired HQ photos: the discriminator's real images, and what IDM cleans (FFHQ at 512)"
    )
    finetune: PositiveInt | None = Field(default=None, description="use only the first so many photos to adapt on")


class RealSet(Strict):
    """LQ photos without ground truth."""

    test: Path = Field(description="folder of aligned LQ photos that the methods restore")
    expected: PositiveInt | None = Field(default=None, description="how many photos the published set has")
    finetune: Path | None = Field(default=None, description="LQ photos to adapt on; default: `test`")


class RealPhotos(Strict):
    """LQ photos as they come; each set is one part of the tables, as a degradation is of the other kinds."""

    kind: Literal["real"]
    size: PositiveInt = Field(description="side of the square images, pixels; others are resized")
    sets: dict[str, RealSet] = Field(min_length=1)
    real: Path = Field(description="folder of HQ photos: FID's reference, and the discriminator's real images")


Dataset = Annotated[Portraits | Folders | RealPhotos, Field(discriminator="kind")]


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


class Prior(Strict):
    """The diffusion prior."""

    arch: PriorName = Field(description="a named architecture of tasks/priors.py")
    weights: Path = Field(description=".safetensors or an official .pth; path below the repository, or absolute")


class Restorer(Strict):
    """The restorer that is adapted."""

    arch: RestorerName = Field(description="a method of tasks/restorers; fine-tuning knows swinir and codeformer")
    weights: Path = Field(description=".safetensors or an official .pth; path below the repository, or absolute")
    fidelity: float = Field(default=0.5, ge=0, le=1, description="CodeFormer's w: 0 quality … 1 fidelity")


class PseudoTargets(Strict):
    """Algorithm 1 of DT-BFR."""

    respacing: str = Field(description="kept steps of the 1000, in guided-diffusion's notation; published: '250'")
    start_t: PositiveInt = Field(description="K: noise level to start from, of 1000; published: 600")
    stop_t: int = Field(ge=0, description="L: the low frequencies are constrained while t > L; published: 360")
    factor: PositiveInt = Field(description="N: shrink factor of the low-pass filter; published: 16, CodeFormer x4: 8")
    is_constrained: bool = Field(default=True, description="false: the unconditional variant of the ablation")
    bf16: bool = Field(default=False, description="bfloat16 autocast of the prior; published: float32")

    @model_validator(mode="after")
    def _order(self) -> "PseudoTargets":
        if self.stop_t >= self.start_t:
            raise ValueError(f"stop_t (L = {self.stop_t}) must be below start_t (K = {self.start_t})")
        return self


class FineTune(Strict):
    """Eq. 8 of DT-BFR: L1 + lambda_lpips LPIPS + lambda_gan GAN, AdamW, cosine learning rate. For SwinIR."""

    recipe: Literal["swinir_gan"] = "swinir_gan"
    iterations: PositiveInt = Field(description="published: 20000")
    batch: PositiveInt = Field(description="published: 16")
    micro_batch: PositiveInt = Field(description="images a forward pass; LPIPS is summed over it. Published: 4")
    lr: PositiveFloat = Field(description="published: 2e-5")
    lr_min: NonNegativeFloat = Field(description="end of the restorer's cosine; published: 5e-6")
    lambda_lpips: NonNegativeFloat = Field(description="published: 0.1")
    lambda_gan: NonNegativeFloat = Field(description="published: 0.1")
    perceptual: Literal["lpips", "lpips_seeded"] = Field(description="published: lpips (VGG-16)")
    discriminator_width: PositiveInt = Field(description="published: 64")
    bf16: bool = Field(default=False, description="bfloat16 autocast of the restorer; published: float32")
    has_leak: bool = Field(
        default=True, description="the released code's slip: G's adversarial gradient also reaches D. The paper: false"
    )

    @model_validator(mode="after")
    def _divides(self) -> "FineTune":
        if self.batch % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} must divide batch {self.batch}")
        return self


class CodeFineTune(Strict):
    """DT-BFR's fine-tuning of CodeFormer: code-level losses, Adam, the learning rate halved at milestones."""

    recipe: Literal["codeformer"]
    iterations: PositiveInt = Field(description="published: 40000")
    batch: PositiveInt = Field(description="published: 8")
    lr: PositiveFloat = Field(description="published: 1e-4")
    milestones: tuple[PositiveInt, ...] = Field(description="published: 35000, 38000")
    ema: float = Field(ge=0, lt=1, description="published: 0.995")
    lambda_code: NonNegativeFloat = Field(description="published: 0.5")


Recipe = Annotated[
    Annotated[FineTune, Tag("swinir_gan")] | Annotated[CodeFineTune, Tag("codeformer")],
    Discriminator(lambda value: _recipe_of(value)),
]


def _recipe_of(value: object) -> str:
    return str(value.get("recipe", "swinir_gan") if isinstance(value, dict) else getattr(value, "recipe", ""))


class Comparison(Strict):
    """One more method of the table."""

    method: Settings
    weights: Path | None = Field(
        default=None, description="its network or prior; default: the experiment's prior, for IDM the cleaned model"
    )
    estimator: Restorer | None = Field(default=None, description="DifFace's; default: the experiment's restorer")
    label: str | None = Field(default=None, description="its name in the tables; default: its key")


class External(Strict):
    """A method that ran elsewhere: its images enter the table, matched by image id."""

    images: str = Field(description="folder of images named by image id; {degradation} is replaced by its name")
    label: str | None = None


def _other_form(value: object) -> str:
    """Which of the two forms an entry of `compare` means to be, so that an error speaks of that one alone."""
    is_external = isinstance(value, External) or (isinstance(value, dict) and "images" in value)
    return "External" if is_external else "Comparison"


Other = Annotated[
    Annotated[Comparison, Tag("Comparison")] | Annotated[External, Tag("External")], Discriminator(_other_form)
]


class Downstream(Strict):
    """IDM's downstream test: the experiment's prior, trained on the photos before and after cleaning, draws faces."""

    iterations: PositiveInt
    batch: PositiveInt
    lr: PositiveFloat
    ema: float = Field(ge=0, lt=1)
    from_scratch: bool = Field(description="false: both start from the experiment's prior")
    bf16: bool = False
    respacing: str = Field(description="kept steps of the 1000 when drawing")
    count: PositiveInt = Field(description="faces to draw")
    metrics: tuple[MetricName, ...] = Field(description="against the photos of split `real`; published: fid …")


class Cleaning(Strict):
    """IDM's extrinsic iteration: the first model cleans the training photos, the second learns from these."""

    method: Idm
    weights: Path | None = Field(default=None, description="the first model; default: trained here, alike")
    degradation: DegradationName = Field(description="makes the training's LQ photos; published: idm")
    iterations: PositiveInt = Field(description="published: 100000")
    batch: PositiveInt = Field(description="published: 32")
    lr: PositiveFloat
    ema: float = Field(ge=0, lt=1)
    bf16: bool = False
    metrics: tuple[MetricName, ...] = Field(description="of the photos before and after; published: nima")
    downstream: Downstream | None = None


class Authenticity(Strict):
    """IDM's check of every method: restoring a restored photo, or a clean one, should change nothing."""

    degradation: str = Field(description="one of the experiment's: its restored photos are restored once more")
    metrics: tuple[MetricName, ...]
    methods: tuple[str, ...] | None = Field(default=None, description="of the table; default: all that run here")


class Claim(Strict):
    """What a paper says, to be checked: on `degradation`, `better` beats `than` by a metric of single photos."""

    text: str
    source: str
    degradation: str
    metric: MetricName
    better: str
    than: str


class Published(Strict):
    """A paper's own numbers, shown beside ours: {degradation: {method: {metric: value}}}."""

    source: str = Field(description="paper, table and page")
    differs: tuple[str, ...] = Field(default=(), description="what the paper did otherwise than this experiment")
    scores: dict[str, dict[str, dict[str, float]]]


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


NEEDS: dict[str, tuple[str, ...]] = {
    "lq": (),
    "pretrained": ("restorer",),
    "pseudo_target": ("restorer", "prior", "pseudo_targets"),
    "adapted": ("restorer", "prior", "pseudo_targets", "finetune"),
}
RECIPES = {"swinir": "swinir_gan", "codeformer": "codeformer"}


def _known(what: str, name: str, valid: Collection[str]) -> None:
    if name not in valid:
        raise ValueError(f"{what}: unknown {name!r}.{suggestion(name, valid)} Valid: {', '.join(valid)}")


class Experiment(Strict):
    """One benchmark: data, degradations, models, settings and metrics."""

    title: str
    seed: int
    dataset: Dataset
    degradations: dict[str, Degradation] = Field(default_factory=dict)
    prior: Prior | None = None
    restorer: Restorer | None = None
    pseudo_targets: PseudoTargets | None = None
    finetune: Recipe | None = None
    methods: tuple[MethodName, ...] = Field(min_length=1)
    compare: dict[MethodKey, Other] = Field(default_factory=dict)
    metrics: tuple[TableMetric, ...] = Field(min_length=1)
    references: dict[ReferenceName, Reference] = Field(default_factory=dict)
    cleaning: Cleaning | None = None
    authenticity: Authenticity | None = None
    claims: tuple[Claim, ...] = ()
    published: tuple[Published, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> "Experiment":
        if (self.dataset.kind == "real") == bool(self.degradations):
            raise ValueError("degradations: real photos have none, other data sets need at least one")
        for method in self.methods:
            for section in NEEDS[method]:
                if getattr(self, section) is None:
                    raise ValueError(f"methods: {method!r} needs the section `{section}`, which is missing")
        if self.finetune and self.restorer and RECIPES.get(self.restorer.arch) != self.finetune.recipe:
            raise ValueError(
                f"finetune.recipe {self.finetune.recipe!r} does not train restorer.arch {self.restorer.arch!r};"
                f" valid: {', '.join(f'{recipe!r} for {arch!r}' for arch, recipe in RECIPES.items())}"
            )
        if self.cleaning and self.cleaning.downstream and self.prior is None:
            raise ValueError("cleaning.downstream: it needs the section `prior`, which is missing")
        for name, other in self.compare.items():
            if isinstance(other, Comparison):
                self._check_comparison(name, other)
        for metric in self.metrics:
            if reference := metric.partition("@")[2]:
                _known(f"metrics: {metric!r}: reference set", reference, (REAL, *self.references))
        for claim in self.claims:
            known = {"degradation": self.parts, "metric": self.metrics, "better": self.table, "than": self.table}
            for key, valid in known.items():
                _known(f"claims: {claim.text!r}: {key}", getattr(claim, key), valid)
        if self.authenticity:
            if self.dataset.kind == "real":
                raise ValueError("authenticity: real photos have no clean version to check with; remove it")
            _known("authenticity.degradation", self.authenticity.degradation, self.parts)
            for name in self.authenticity.methods or ():
                _known("authenticity.methods", name, self.table)
        return self

    def _check_comparison(self, name: str, other: Comparison) -> None:
        if isinstance(other.method, Idm):
            if other.weights is None and self.cleaning is None:
                raise ValueError(f"compare.{name}: an idm needs `weights`, or the experiment a `cleaning`")
        elif isinstance(other.method, FeedForward):
            if other.weights is None:
                raise ValueError(f"compare.{name}: a feed_forward method needs `weights`")
        elif self.prior is None:
            raise ValueError(f"compare.{name}: it needs the section `prior`, which is missing")
        if isinstance(other.method, DifFace | DifFaceInpaint):
            estimator = other.estimator or self.restorer
            if estimator is None:
                raise ValueError(f"compare.{name}: it needs an `estimator`, or the experiment a `restorer`")
            if isinstance(other.method, DifFaceInpaint) and estimator.arch != "lama":
                raise ValueError(f"compare.{name}: its estimator is a 'lama', found {estimator.arch!r}")

    @property
    def splits(self) -> tuple[Split, ...]:
        """Which LQ photos are needed: those that the methods are compared on, and those to adapt on."""
        return ("finetune", "test") if "adapted" in self.methods else ("test",)

    @property
    def parts(self) -> tuple[str, ...]:
        """What the tables are divided into: the degradations, or the sets of real photos."""
        return tuple(self.dataset.sets if isinstance(self.dataset, RealPhotos) else self.degradations)

    @property
    def table(self) -> tuple[str, ...]:
        """All methods of the table, in its order."""
        return (*self.methods, *self.compare)


# What each stage gets: its own settings and nothing else, for they are part of its key.


class PhotosParams(Strict):
    """Stage `photos`: the HQ photos of one split."""

    seed: int
    dataset: Dataset
    split: Split


class DegradeParams(Strict):
    """Stage `degrade`. `name` keys the noise, so two degradations of one photo are independent."""

    seed: int
    name: str
    preset: DegradationName
    iso: PositiveInt | None


class RestoreParams(Strict):
    """Stage `restore`: one method over a folder.

    seed: None for a method that draws nothing; prior, estimator: architectures; fidelity: of the estimator.
    """

    method: Settings
    seed: int | None = None
    prior: str | None = None
    estimator: str | None = None
    fidelity: float | None = None


class ExternalParams(Strict):
    """Stage `external`: a folder of images made elsewhere."""

    size: PositiveInt


class GenerateParams(Strict):
    """Stage `generate`: faces that a prior draws."""

    seed: int
    arch: str
    respacing: str
    count: PositiveInt
    size: PositiveInt


class PersonalizeParams(Strict):
    """Stage `personalize`: the prior, fine-tuned on an album."""

    seed: int
    arch: str
    iterations: PositiveInt
    batch: PositiveInt
    lr: PositiveFloat


class PseudoTargetParams(Strict):
    """Stage `pseudo_targets`."""

    seed: int
    arch: str
    settings: PseudoTargets


class FineTuneParams(Strict):
    """Stage `finetune`."""

    seed: int
    arch: str
    settings: Recipe


class ReferenceParams(Strict):
    """Stage `reference`: a set that whole sets are compared with. count: of its images, for a file of statistics."""

    label: str
    metrics: tuple[MetricName, ...]
    count: PositiveInt | None = None


class EvaluateParams(Strict):
    """Stage `evaluate`: one method's images, with or without ground truth."""

    metrics: tuple[TableMetric, ...]


class IngestParams(Strict):
    """Stage `ingest`: a user's folder; of two folders with the same faces, the photos of `side`."""

    size: PositiveInt
    fit: Literal["aligned", "crop"]
    side: Literal["lq", "hq"] = "lq"


class ReportParams(Strict):
    """Stage `report`. `settings` are shown as they are."""

    name: str
    title: str
    settings: dict[str, Any]
    degradations: tuple[str, ...]
    methods: dict[str, str]
    evaluations: dict[str, int]
    metrics: tuple[TableMetric, ...]
    authenticity_metrics: tuple[MetricName, ...] = ()
    claims: tuple[Claim, ...] = ()
    published: tuple[Published, ...]
    places: dict[str, str] = Field(default_factory=dict, description="of results, below the experiment's folder")
    dvc: dict[str, str] = Field(default_factory=dict, description="DVC's digests of folders there")


class DrawnPhotos(Strict):
    """Procedural faces to train on."""

    kind: Literal["portraits"]
    size: PositiveInt = Field(description="side of the square images, pixels")
    count: PositiveInt
    flawed: float = Field(default=0.0, ge=0, le=1, description="share with slight flaws of its own")


class FolderPhotos(Strict):
    """A folder of aligned HQ photos to train on; the last 64 by name are held out for the card's scores."""

    kind: Literal["folder"]
    size: PositiveInt = Field(description="side of the square images, pixels; others are resized")
    path: Path


class Training(Strict):
    """What every training has."""

    seed: int
    iterations: PositiveInt
    batch: PositiveInt
    micro_batch: PositiveInt | None = Field(default=None, description="images of a forward pass; default: the batch")
    lr: PositiveFloat
    lr_min: NonNegativeFloat = Field(description="the learning rate falls to it along a cosine; lr: constant")
    warmup: PositiveInt = Field(default=1, description="steps over which the learning rate rises first")
    ema: float = Field(ge=0, lt=1, description="decay of the averaged weights, which are the result; 0: the last ones")
    clip: PositiveFloat | None = Field(default=None, description="largest norm of the gradient")
    bf16: bool = False


class PriorTraining(Training):
    """The diffusion prior."""

    kind: Literal["prior"]
    arch: PriorName


class RestorerTraining(Training):
    """A restorer by L1 and, where wanted, a perceptual loss: DifFace's estimators."""

    kind: Literal["restorer"]
    arch: Literal["swinir", "swinir64", "srcnn"]
    degradation: DegradationName
    lambda_lpips: NonNegativeFloat = 0.0
    perceptual: Literal["lpips", "lpips_seeded"] = "lpips"


class GanTraining(Training):
    """A SwinIR by L1, a perceptual loss and a discriminator: DT-BFR's. Its networks are not averaged."""

    kind: Literal["restorer_gan"]
    arch: Literal["swinir", "swinir64"]
    degradation: DegradationName
    ema: Literal[0] = 0
    lambda_lpips: NonNegativeFloat
    lambda_gan: NonNegativeFloat
    perceptual: Literal["lpips", "lpips_seeded"] = "lpips"
    discriminator_width: PositiveInt = 64


class InpaintingTraining(Training):
    """LaMa by a weighted L1, on DifFace's mixture of masks: its estimator for inpainting."""

    kind: Literal["inpainting"]
    arch: Literal["lama", "lama64"]


class IdmTraining(Training):
    """IDM: its first model, or the second, which makes cleaned photos from the degraded ones."""

    kind: Literal["idm"]
    arch: Literal["idm512", "idm64"]
    degradation: DegradationName


AnyTraining = Annotated[
    PriorTraining | RestorerTraining | GanTraining | InpaintingTraining | IdmTraining, Field(discriminator="kind")
]


class Model(Strict):
    """A network trained from scratch."""

    photos: Annotated[DrawnPhotos | FolderPhotos, Field(discriminator="kind")]
    training: AnyTraining
    is_half: bool = Field(default=False, description="stored as float16, half as large")


def _model_name(name: str) -> str:
    if not re.fullmatch("[a-z0-9_]+(/[a-z0-9_]+)?", name):
        raise ValueError("a model's name is made of a-z, 0-9 and _, with at most one / before the last part")
    return name


ModelName = Annotated[str, AfterValidator(_model_name)]


class TrainParams(Strict):
    """Stage `train`."""

    training: AnyTraining


Section = TypeVar("Section")


def given(section: Section | None, name: str) -> Section:
    """An optional section of an experiment that is needed now. Raises BadInput if the experiment does not have it."""
    if section is None:
        raise BadInput(f"This needs the section `{name}`, which the experiment has not. Choose another experiment.")
    return section


class Params(Strict):
    """The whole of params.yaml."""

    experiments: dict[str, Experiment]
    models: dict[ModelName, Model] = Field(default_factory=dict)


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check a parameter file. Raises BadInput that lists every wrong key or value with its path."""
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > LONGEST:
            raise BadInput(f"{path} has {len(text)} characters: expected at most {LONGEST}.")
        raw = yaml.safe_load(text)
        if _values(raw) > MOST_VALUES:
            raise BadInput(f"{path} says more than {MOST_VALUES} values by its aliases (*name): write fewer.")
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise BadInput(
            f"{path} is missing; it holds the experiments. Restore it: git checkout -- {path.name}"
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not text in UTF-8: {error}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadInput(f"{path} is not valid YAML: {error}") from error
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise BadInput("\n".join(_explain(path.name, raw, item) for item in error.errors())) from error


def _values(tree: Any, counted: dict[int, int] | None = None) -> int:
    """How many values a tree would have if each of its aliases were written out."""
    counted = {} if counted is None else counted
    if id(tree) not in counted:
        counted[id(tree)] = MOST_VALUES + 1  # a tree inside itself has no end
        inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
        counted[id(tree)] = min(MOST_VALUES + 1, 1 + sum(_values(item, counted) for item in inner))
    return counted[id(tree)]


def load_experiment(name: str, path: Path = PARAMS_FILE) -> Experiment:
    """One experiment of params.yaml. Raises BadInput with the nearest name if there is none of that name."""
    return _entry("experiments", load(path).experiments, name, path)


def load_model(name: str, path: Path = PARAMS_FILE) -> Model:
    """How one model of params.yaml is trained. Raises BadInput with the nearest name if there is none of that name."""
    return _entry("models", load(path).models, name, path)


def _entry(section: str, entries: dict[str, Section], name: str, path: Path) -> Section:
    if name not in entries:
        raise BadInput(
            f"{path.name}: {section}: there is no {name!r}.{suggestion(name, entries)} Valid: {', '.join(entries)}"
        )
    return entries[name]


def _explain(file: str, raw: Any, error: Any) -> str:
    where = _keys(raw, error["loc"])
    place = f"{file}: {'.'.join(where) or '(top level)'}"
    if error["type"] == "extra_forbidden":
        parent = _model_at(Params, error["loc"][:-1])
        valid = list(parent.model_fields) if parent else []
        return f"{place}: unknown key.{suggestion(where[-1], valid)} Valid here: {', '.join(valid)}"
    if error["type"] == "missing":
        return f"{place}: this key is missing"
    return f"{place}: {error['msg'].removeprefix('Value error, ')} (found: {error['input']!r:.80})"


def _keys(raw: Any, location: tuple[Any, ...]) -> list[str]:
    """A location of a pydantic error without the names of the forms that a value was tried as."""
    keys = []
    for position, part in enumerate(location):
        is_key = (isinstance(raw, dict) and part in raw) or (isinstance(raw, list) and isinstance(part, int))
        if is_key or position == len(location) - 1:
            keys.append(str(part))
            raw = raw[part] if is_key else None
    return keys


def _model_at(annotation: Any, path: tuple[Any, ...]) -> type[BaseModel] | None:
    """The model that stands at a location of a pydantic error, to list its keys."""
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is Annotated:
        return _model_at(arguments[0], path)
    if origin in (typing.Union, types.UnionType):
        if len(members := [argument for argument in arguments if argument is not types.NoneType]) == 1:
            return _model_at(members[0], path)
        if path and isinstance(path[0], str):  # a discriminated union reports the tag as one part of the location
            forms = [typing.get_args(a)[0] if typing.get_origin(a) is Annotated else a for a in arguments]
            tagged = [form for form in forms if path[0] in _tags(form)]
            return _model_at(tagged[0], path[1:]) if tagged else None
        return None
    if origin is dict:
        return _model_at(arguments[1], path[1:])
    if origin is tuple:
        return _model_at(arguments[0], path[1:])
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return None
    if not path:
        return annotation
    return (
        _model_at(annotation.model_fields[path[0]].annotation, path[1:]) if path[0] in annotation.model_fields else None
    )


def _tags(form: Any) -> tuple[str, ...]:
    """What pydantic calls a member of a union: its kind, its recipe, or its name."""
    fields = getattr(form, "model_fields", {})
    named = [typing.get_args(fields[key].annotation) for key in ("kind", "recipe") if key in fields]
    return named[0] if named else (getattr(form, "__name__", ""),)
