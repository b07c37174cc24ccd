"""What a metric is: a value for each image, or one for a whole set of them; and its function, ready to be called."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from tasks.basics import BadInput
from tasks.metrics.sets import ReferenceSet, SetScore
from tasks.weights.file import WeightFile

Kind = Literal["full_reference", "input_reference", "no_reference", "distribution"]
Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Described:
    """What every metric says of itself.

    label: column title; direction: which values are better; protocol: its exact settings, one line to print under a
    table.
    """

    name: str
    label: str
    direction: Direction
    protocol: str

    @property
    def sign(self) -> int:
        """1 where higher values are better, else -1."""
        return 1 if self.direction == "higher" else -1

    @property
    def kind(self) -> Kind:
        """What it looks at: an image and its ground truth, an image alone, or a set of images."""
        raise NotImplementedError

    @property
    def needs(self) -> tuple[WeightFile, ...]:
        """Its weight files, below the weights folder."""
        raise NotImplementedError

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """What computes it."""
        raise NotImplementedError

    @property
    def code(self) -> tuple[str, ...]:
        """The modules of its functions; what these import computes it too."""
        return tuple(dict.fromkeys(function.__module__ for function in self.functions))

    @property
    def constants(self) -> dict[str, Any]:
        """What of its entry changes its numbers, fit for JSON."""
        return {
            "kind": self.kind,
            "protocol": self.protocol,
            "needs": [[need.place, need.sha256] for need in self.needs],
            "functions": [f"{function.__module__}.{function.__qualname__}" for function in self.functions],
        }


@dataclass(frozen=True, kw_only=True)
class ImageMetric(Described):
    """One value per image.

    Its function takes batches [N, 3, H, W] in [0, 1] on the device, restored and, if needs_truth or needs_input, the
    ground truth or the LQ photo, and returns [N]. It is `measure`, or what `make(weights_dir, device)` returns where a
    network has to be loaded first.
    """

    needs_truth: bool
    needs_input: bool = False
    measure: Callable[..., Tensor] | None = None
    make: Callable[[Path, torch.device], Callable[..., Tensor]] | None = None
    needs: tuple[WeightFile, ...] = ()

    is_of_sets: ClassVar[bool] = False

    @property
    def kind(self) -> Kind:
        return "full_reference" if self.needs_truth else "input_reference" if self.needs_input else "no_reference"

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        return tuple(filter(None, (self.measure, self.make)))

    def build(self, weights_dir: Path, device: torch.device) -> "ImageScorer":
        """Ready to measure; nothing is ever downloaded. Raises Unavailable where it cannot be measured here
        (MissingWeights, MissingPackage).
        """
        measure = self.measure or (self.make and self.make(weights_dir, device))
        assert measure is not None, f"the entry of {self.name} has neither `measure` nor `make`"
        return ImageScorer(self, measure, device)


@dataclass(frozen=True)
class Features:
    """A network by whose features sets are compared. make: takes the paths of its weight files.

    name: of the features' files, too; the network takes [N, 3, H, W] in [0, 1] and returns [N, D].
    """

    name: str
    make: Callable[..., nn.Module]
    needs: tuple[WeightFile, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SetMetric(Described):
    """One value for a set of images, compared with another set by the features of a network.

    compare: (features [N, D] of the set, reference) to its value; raises Unavailable for too few images.
    needs_features: of the reference, too; else its statistics are enough, and a file of them can be the reference.
    """

    features: Features
    compare: Callable[[Tensor, ReferenceSet], SetScore]
    needs_features: bool

    is_of_sets: ClassVar[bool] = True
    needs_truth: ClassVar[bool] = False
    needs_input: ClassVar[bool] = False

    @property
    def kind(self) -> Kind:
        return "distribution"

    @property
    def needs(self) -> tuple[WeightFile, ...]:
        return self.features.needs

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        return self.features.make, self.compare

    def build(self, weights_dir: Path, device: torch.device) -> "SetScorer":
        """Ready to extract features; nothing is ever downloaded. Raises Unavailable where that cannot be done here
        (MissingWeights, MissingPackage).
        """
        network = self.features.make(*(need.find(weights_dir, self.label) for need in self.needs))
        return SetScorer(self, network.to(device), device)


Metric = ImageMetric | SetMetric


@dataclass(frozen=True)
class ImageScorer:
    """A metric with one value per image, ready to measure."""

    metric: ImageMetric
    measure: Callable[..., Tensor]
    device: torch.device

    @torch.inference_mode()
    def __call__(self, restored: Tensor, reference: Tensor | None = None) -> Tensor:
        """[N, 3, H, W] in [0, 1] on any device, and what it is compared with unless the metric needs none, to [N]
        float64.

        The result is on the CPU. Raises BadInput where the ground truth (the LQ photos) is missing or of another shape.
        """
        if not self.metric.needs_truth and not self.metric.needs_input:
            return self.measure(restored.to(self.device)).cpu().double()
        what = "a ground truth" if self.metric.needs_truth else "the LQ photos"
        if reference is None:
            raise BadInput(f"{self.metric.label} compares with {what}, and there is none.")
        if restored.shape != reference.shape:
            raise BadInput(
                f"{self.metric.label}: expected {what} of the restored images' shape, {_shape(restored)}, "
                f"found {_shape(reference)}."
            )
        return self.measure(restored.to(self.device), reference.to(self.device)).cpu().double()


@dataclass(frozen=True)
class SetScorer:
    """The features of a metric of whole sets, ready to extract."""

    metric: SetMetric
    network: nn.Module
    device: torch.device

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] in [0, 1], on any device, to [N, D] on the scorer's."""
        found: Tensor = self.network(images.to(self.device))
        return found


def _shape(images: Tensor) -> str:
    return " x ".join(map(str, images.shape))
