"""What a report is made from: one experiment's scores, images, settings and the labels to show them under."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from tasks.basics import Strict
from tasks.metrics.metric import Direction, Kind
from tasks.metrics.registry import MetricName
from tasks.report.inputs import ReportInputs

if TYPE_CHECKING:
    import pandas as pd  # takes a second


class Claim(Strict):
    """What a paper says, to be checked: on `degradation`, `better` beats `than` by a metric of single photos."""

    text: str
    source: str
    degradation: str
    metric: MetricName
    better: str
    than: str


class Published(Strict):
    """A paper's own numbers, shown beside ours: {degradation or mean: {method: {metric: value}}}."""

    source: str = Field(description="paper, table and page")
    differs: tuple[str, ...] = Field(default=(), description="what the paper did otherwise than this experiment")
    elsewhere: tuple[str, ...] = Field(
        default=(), description="of the names below, those that this experiment has not: methods that ran elsewhere …"
    )
    scores: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict, description="for one photo, by method")


CLEANING = "cleaning"  # among published numbers: the training photos, by the methods "before" and "after"
HQ = "HQ"  # the role of the ground truth among the pictures

SCORE_COLUMNS = ("degradation", "method", "metric", "image_id", "value")
SET_SCORE_COLUMNS = ("degradation", "method", "metric", "value", "spread")
PUBLISHED_COLUMNS = ("degradation", "method", "metric", "value", "source")

ImageKey = tuple[str, str, str]


MethodKind = Literal["input", "baseline", "adapted", "other"]


class Method(Strict):
    """One row of the tables. The change of every other method is measured against the one of kind "baseline".

    label: in tables; role: over its pictures; evaluations: of its networks for one photo, None where not known.
    """

    name: str
    label: str
    kind: MethodKind
    role: str
    evaluations: int | None = None


@dataclass(frozen=True)
class MetricInfo:
    """One column of the tables. A "distribution" metric has one value per set, all others one per photo.

    reference: count and digest of the set that a distribution metric compares with.
    """

    name: str
    label: str
    direction: Direction
    kind: Kind
    protocol: str
    reference: str = ""

    @property
    def is_of_sets(self) -> bool:
        """Whether it has one value per set."""
        return self.kind == "distribution"

    @property
    def sign(self) -> int:
        """1 where higher values are better, else -1."""
        return 1 if self.direction == "higher" else -1


@dataclass(frozen=True)
class Extra:
    """One further table, as text. The first column holds names, the others are aligned to the right."""

    title: str
    note: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Origin:
    """Where one method's numbers on one degradation come from.

    images, scores, card: places below the experiment's folder, "" where there is none; facts: to be shown, "" where
    unknown; params, inputs: of the stage that made the images (inputs as digests).
    """

    degradation: str
    method: str
    images: str
    scores: str
    card: str
    facts: Mapping[str, str]
    params: Any
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class ReportData:
    """Everything that the report shows; it computes means and intervals from this and reads nothing else.

    scores: one row per photo, columns SCORE_COLUMNS; NaN counts as missing, and so does an
        infinitely bad value; an infinitely good one is a perfect score (see tasks/report/ranking.py).
    set_scores: one row per set of photos, columns SET_SCORE_COLUMNS, for the distribution metrics; spread: standard
        deviation of the value, NaN where the metric has none.
    absent: metric name to the reason why it was not computed; such a metric has no scores.
    images: (degradation, role, image id) to uint8 RGB [H, W, 3]: a mapping, or a function that returns None for
        an image that does not exist.
    ids: of all photos; photos: of those of each degradation, where these differ.
    timings: (stage, seconds, images, whether the result came from the store).
    published: columns PUBLISHED_COLUMNS, `source` naming the paper, table and page; may be empty.
    extras: further tables.
    origins: where the numbers come from.
    losses: of the fine-tuning by degradation, columns step and one for each loss.
    places: of the images, below the experiment's folder.
    sweeps: by degradation, the ids of the photos of each scale, where these differ: curves over the scale.
    means: name to the degradations that it is the mean over: tables of their own, without pictures.
    Raises ValueError when the parts contradict each other.
    """

    experiment: str
    title: str
    settings: Mapping[str, Any]
    environment: Mapping[str, str]
    timings: Sequence[tuple[str, float, int, bool]]
    methods: Sequence[Method]
    degradations: Sequence[tuple[str, str]]
    scores: "pd.DataFrame"
    set_scores: "pd.DataFrame"
    metrics: Sequence[MetricInfo]
    absent: Mapping[str, str]
    images: Mapping[ImageKey, np.ndarray] | Callable[[str, str, str], np.ndarray | None]
    ids: Sequence[str]
    quarantine: Sequence[tuple[str, str]]
    published: "pd.DataFrame"
    extras: Sequence[Extra] = ()
    origins: Sequence[Origin] = ()
    losses: "Mapping[str, pd.DataFrame]" = field(default_factory=dict)
    places: ReportInputs[str] = field(default_factory=ReportInputs)
    means: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sweeps: Mapping[str, Mapping[int, Sequence[str]]] = field(default_factory=dict)
    photos: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        baselines = [method.name for method in self.methods if method.kind == "baseline"]
        if len(baselines) != 1:
            raise ValueError(f"methods: expected exactly one of kind 'baseline', found {len(baselines)}: {baselines}")
        per_set = {metric.name for metric in self.metrics if metric.is_of_sets}
        per_photo = {metric.name for metric in self.metrics} - per_set
        self._check("scores", self.scores, SCORE_COLUMNS, per_photo)
        self._check("set_scores", self.set_scores, SET_SCORE_COLUMNS, per_set)
        if not self.published.empty:
            _check_columns("published", self.published, PUBLISHED_COLUMNS)

    @property
    def tables(self) -> list[tuple[str, str]]:
        """(name, label) of what has a table: the degradations, and the means over some of them."""
        return [*self.degradations, *((name, name.replace("_", " ")) for name in self.means)]

    @property
    def roles(self) -> list[str]:
        """The columns of the pictures: every method's, then the ground truth's."""
        return [*(method.role for method in self.methods), HQ]

    @property
    def baseline(self) -> Method:
        """The method that all others are compared with."""
        return next(method for method in self.methods if method.kind == "baseline")

    @property
    def shown_metrics(self) -> list[MetricInfo]:
        """The metrics that have numbers: a metric that is absent has no column, only its reason."""
        return [metric for metric in self.metrics if metric.name not in self.absent]

    @property
    def photo_metrics(self) -> list[MetricInfo]:
        """Those of them with a number for every photo."""
        return [metric for metric in self.shown_metrics if not metric.is_of_sets]

    def metric_label(self, name: str) -> str:
        """The label of a metric, also of one that has no numbers."""
        return next((metric.label for metric in self.metrics if metric.name == name), name)

    def image(self, degradation: str, role: str, image_id: str) -> np.ndarray | None:
        """uint8 RGB [H, W, 3], or None when this image does not exist."""
        if isinstance(self.images, Mapping):
            return self.images.get((degradation, role, image_id))
        return self.images(degradation, role, image_id)

    def _check(self, what: str, frame: "pd.DataFrame", columns: Sequence[str], metrics: set[str]) -> None:
        if frame.empty:
            return
        _check_columns(what, frame, columns)
        known = {
            "degradation": {name for name, _ in self.degradations},
            "method": {method.name for method in self.methods},
            "metric": metrics - set(self.absent),
        }
        for column, names in known.items():
            unknown = sorted(set(frame[column]) - names)
            if unknown:
                raise ValueError(f"{what}.{column}: expected one of {sorted(names)}, found {unknown}")
        keys = [column for column in columns if column not in ("value", "spread")]
        twice = frame.loc[frame.duplicated(keys), keys]
        if not twice.empty:
            raise ValueError(f"{what}: expected one value each, found {len(twice)} more, first {tuple(twice.iloc[0])}")


def _check_columns(what: str, frame: "pd.DataFrame", columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{what}: expected the columns {list(columns)}, found {list(frame.columns)}")
