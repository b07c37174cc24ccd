"""params.yaml as typed, strict models: the only place that reads the file.

Every stage gets just the model of its own settings, so that its key depends on nothing else. A wrong key or value is
reported with its full path and the nearest valid name, before any work starts.
"""

import difflib
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from tasks.degradation import PRESETS as DEGRADATIONS
from tasks.metrics.registry import METRICS
from tasks.priors import PRIORS
from tasks.restorers import RESTORERS
from tasks.store import ROOT, BadInput, Strict

PARAMS_FILE = ROOT / "params.yaml"


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


DegradationName = Annotated[str, one_of("degradation", DEGRADATIONS)]
PriorName = Annotated[str, one_of("prior", PRIORS)]
RestorerName = Annotated[str, one_of("restorer", RESTORERS)]
MetricName = Annotated[str, one_of("metric", METRICS)]
Split = Literal["finetune", "test", "real"]
MethodName = Literal["lq", "pretrained", "pseudo_target", "adapted"]


class Portraits(Strict):
    """Procedural faces, made on the spot. Each split is drawn from seeds of its own, so no face is in two splits."""

    kind: Literal["portraits"]
    size: PositiveInt = Field(description="side of the square images, pixels")
    finetune: PositiveInt = Field(description="faces whose LQ photos the restorer is adapted on")
    test: PositiveInt = Field(description="faces that the methods are compared on")
    real: PositiveInt = Field(description="unpaired HQ faces: the discriminator's real images")


class Folders(Strict):
    """Aligned HQ photos on disk; file names sorted, the last `test` of them are the test set (DT-BFR: 2500 and 500)."""

    kind: Literal["folders"]
    size: PositiveInt = Field(description="side of the square images, pixels; others are resized")
    hq: Path = Field(description="folder of HQ photos, degraded to make LQ photos and used as test ground truth")
    test: PositiveInt = Field(description="how many of `hq`, from the end of the sorted list, are the test set")
    real: Path = Field(description="folder of unpaired HQ photos for the discriminator (DT-BFR: FFHQ at 512)")


Dataset = Annotated[Portraits | Folders, Field(discriminator="kind")]


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

    arch: RestorerName = Field(description="a method of tasks/restorers; fine-tuning knows swinir")
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
    """Eq. 8 of DT-BFR: L1 + lambda_lpips LPIPS + lambda_gan GAN, AdamW, cosine learning rate."""

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


class Published(Strict):
    """A paper's own numbers, shown beside ours: {degradation: {method: {metric: value}}}."""

    source: str = Field(description="paper, table and page")
    scores: dict[str, dict[str, dict[str, float]]]


class Experiment(Strict):
    """One benchmark: data, degradations, models, settings and metrics."""

    title: str
    seed: int
    dataset: Dataset
    degradations: dict[str, Degradation] = Field(min_length=1)
    prior: Prior
    restorer: Restorer
    pseudo_targets: PseudoTargets
    finetune: FineTune
    methods: tuple[MethodName, ...] = Field(min_length=1)
    metrics: tuple[MetricName, ...] = Field(min_length=1)
    published: tuple[Published, ...] = ()


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
    """Stage `restore`: a feed-forward restorer over a folder."""

    arch: str
    fidelity: float


class PseudoTargetParams(Strict):
    """Stage `pseudo_targets`."""

    seed: int
    arch: str
    settings: PseudoTargets


class FineTuneParams(Strict):
    """Stage `finetune`."""

    seed: int
    arch: str
    settings: FineTune


class EvaluateParams(Strict):
    """Stage `evaluate`: one method's images, with or without ground truth."""

    metrics: tuple[MetricName, ...]


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
    methods: tuple[MethodName, ...]
    metrics: tuple[MetricName, ...]
    published: tuple[Published, ...]


class PriorTraining(Strict):
    """How a demo prior is made."""

    arch: str
    seed: int
    faces: PositiveInt
    size: PositiveInt
    iterations: PositiveInt
    batch: PositiveInt
    lr: PositiveFloat
    warmup: PositiveInt
    ema: float = Field(ge=0, lt=1)
    bf16: bool


class RestorerTraining(Strict):
    """How a demo restorer is pre-trained on Eq. 9."""

    arch: str
    seed: int
    faces: PositiveInt
    size: PositiveInt
    degradation: DegradationName
    iterations: PositiveInt
    batch: PositiveInt
    lr: PositiveFloat
    lr_min: NonNegativeFloat
    lambda_lpips: NonNegativeFloat
    ema: float = Field(ge=0, lt=1)
    bf16: bool


class Params(Strict):
    """The whole of params.yaml."""

    experiments: dict[str, Experiment]
    demo_prior: PriorTraining
    demo_restorer: RestorerTraining


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check a parameter file. Raises BadInput that lists every wrong key or value with its path."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(
            f"{path} is missing; it holds the experiments. Restore it: git checkout -- {path.name}"
        ) from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not valid YAML: {error}") from error
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise BadInput("\n".join(_explain(path.name, item) for item in error.errors())) from error


def load_experiment(name: str, path: Path = PARAMS_FILE) -> Experiment:
    """One experiment of params.yaml. Raises BadInput with the nearest name if there is none of that name."""
    experiments = load(path).experiments
    if name not in experiments:
        raise BadInput(
            f"{path.name}: experiments: there is no {name!r}.{suggestion(name, experiments)}"
            f" Valid: {', '.join(experiments)}"
        )
    return experiments[name]


def _explain(file: str, error: Any) -> str:
    where = [str(part) for part in error["loc"]]
    place = f"{file}: {'.'.join(where) or '(top level)'}"
    if error["type"] == "extra_forbidden":
        parent = _model_at(Params, error["loc"][:-1])
        valid = list(parent.model_fields) if parent else []
        return f"{place}: unknown key.{suggestion(where[-1], valid)} Valid here: {', '.join(valid)}"
    if error["type"] == "missing":
        return f"{place}: this key is missing"
    return f"{place}: {error['msg'].removeprefix('Value error, ')} (found: {error['input']!r:.80})"


def _model_at(annotation: Any, path: tuple[Any, ...]) -> type[BaseModel] | None:
    """The model that stands at a location of a pydantic error, to list its keys."""
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is Annotated:
        return _model_at(arguments[0], path)
    if origin in (typing.Union, types.UnionType):
        if path and isinstance(path[0], str):  # a discriminated union reports the tag as one part of the location
            tagged = [a for a in arguments if path[0] in typing.get_args(a.model_fields["kind"].annotation)]
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
