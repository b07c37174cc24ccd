"""The table of all metrics. To add one: write its function, and give it an entry here."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import (
    AfterValidator,
)
from torch import Tensor

from tasks.basics import BadInput, PickedFrom, one_of
from tasks.metrics import distribution, full_reference, identity, landmarks, no_reference, perceptual
from tasks.metrics.distribution import NeighbourScorer, SetScorer
from tasks.weights import official
from tasks.weights.file import WeightFile


def _table_metric(name: str) -> str:
    _, at, reference = name.partition("@")
    kind = find(name).kind
    if at and (not reference or kind != "distribution"):
        raise ValueError(f"{name!r}: only a metric of whole sets (FID, precision, recall) takes @ and a reference set")
    return name


REAL = "real"  # the reference set of the unpaired HQ photos, which every experiment has


DEFAULT = "default"  # the reference set of a distribution metric that names none
Kind = Literal["full_reference", "no_reference", "distribution"]


@dataclass(frozen=True)
class Metric:
    """One metric with its exact settings.

    label: column title; direction: which values are better; protocol: one line to print under a table.
    make(weights_dir, device): its function. By kind, of image batches [N, 3, H, W] in [0, 1] on the device:
    full_reference (restored, reference) to [N], no_reference (restored) to [N], distribution (images) to [N, D].
    needs: its weight files, below the weights folder.
    """

    name: str
    label: str
    direction: Literal["higher", "lower"]
    kind: Kind
    protocol: str
    make: Callable[[Path, torch.device], Callable[..., Tensor]]
    needs: tuple[WeightFile, ...] = ()


def _package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} (not installed)"


PIXELS = "RGB, 0..255 scale, float64, no border crop"
MATCHED = "after matching each channel's mean and standard deviation to the ground truth; " + PIXELS
SSIM = "11 x 11 Gaussian window of sigma 1.5, valid region, mean over channels"
MANIQA = f"20 crops of 224 on a fixed grid, {_package('pyiqa')}; not comparable with MANIQA of other weights"
SEEDED = "random features, seeded: for comparisons inside this table only"

METRICS = {
    metric.name: metric
    for metric in (
        Metric("psnr", "PSNR (dB)", "higher", "full_reference", f"{PIXELS}; per image", lambda *_: full_reference.psnr),
        Metric("ssim", "SSIM", "higher", "full_reference", f"{PIXELS}; {SSIM}", lambda *_: full_reference.ssim),
        Metric(
            "psnr_matched",
            "PSNR matched (dB)",
            "higher",
            "full_reference",
            f"{MATCHED}; per image",
            lambda *_: full_reference.psnr_matched,
        ),
        Metric(
            "ssim_matched",
            "SSIM matched",
            "higher",
            "full_reference",
            f"{MATCHED}; {SSIM}",
            lambda *_: full_reference.ssim_matched,
        ),
        Metric(
            "lpips",
            "LPIPS",
            "lower",
            "full_reference",
            f"version 0.1, VGG-16, RGB mapped to [-1, 1], original size; {_package('lpips')}",
            lambda weights, device: perceptual.lpips_vgg(weights).to(device),
            (official.VGG16,),
        ),
        Metric(
            "lpips_seeded",
            "LPIPS (seeded)",
            "lower",
            "full_reference",
            f"LPIPS's distance on AlexNet with {SEEDED}; not LPIPS",
            lambda weights, device: perceptual.lpips_seeded().to(device),
        ),
        Metric(
            "fid",
            "FID",
            "lower",
            "distribution",
            "FID Inception of 2015-12-05, RGB mapped to [-1, 1], bilinear 299 x 299, 2048 pool features, sample "
            f"covariance; {_package('pytorch-fid')}; biased by small sets",
            lambda weights, device: distribution.fid_features(weights).to(device),
            (official.INCEPTION,),
        ),
        Metric(
            "fid_seeded",
            "FID (seeded)",
            "lower",
            "distribution",
            "Frechet distance on the FID Inception up to its second pooling (192 features, mean over positions, "
            f"original size) with {SEEDED}; not FID",
            lambda weights, device: distribution.fid_seeded_features().to(device),
        ),
        Metric(
            "precision",
            "Precision",
            "higher",
            "distribution",
            f"share of the images among the reference, k = 3, features of FID; {_package('pytorch-fid')}",
            lambda weights, device: distribution.fid_features(weights, "Precision").to(device),
            (official.INCEPTION,),
        ),
        Metric(
            "precision_seeded",
            "Precision (seeded)",
            "higher",
            "distribution",
            f"share of the images among the reference, k = 3, features of FID (seeded): {SEEDED}; not precision",
            lambda weights, device: distribution.fid_seeded_features().to(device),
        ),
        Metric(
            "recall",
            "Recall",
            "higher",
            "distribution",
            f"share of the reference among the images, k = 3, features of FID; {_package('pytorch-fid')}",
            lambda weights, device: distribution.fid_features(weights, "Recall").to(device),
            (official.INCEPTION,),
        ),
        Metric(
            "recall_seeded",
            "Recall (seeded)",
            "higher",
            "distribution",
            f"share of the reference among the images, k = 3, features of FID (seeded): {SEEDED}; not recall",
            lambda weights, device: distribution.fid_seeded_features().to(device),
        ),
        Metric(
            "musiq",
            "MUSIQ (KonIQ)",
            "higher",
            "no_reference",
            f"KonIQ-10k weights, longer sides 224, 384 and original; {_package('pyiqa')}",
            no_reference.musiq,
            (official.MUSIQ_KONIQ,),
        ),
        Metric(
            "maniqa_pipal",
            "MANIQA (PIPAL)",
            "higher",
            "no_reference",
            f"PIPAL weights, {MANIQA}",
            no_reference.maniqa_pipal,
            (official.MANIQA_PIPAL,),
        ),
        Metric(
            "maniqa_koniq",
            "MANIQA (KonIQ)",
            "higher",
            "no_reference",
            f"KonIQ-10k weights, {MANIQA}",
            no_reference.maniqa_koniq,
            (official.MANIQA_KONIQ,),
        ),
        Metric(
            "niqe",
            "NIQE",
            "lower",
            "no_reference",
            f"Y of BT.601 (limited range, rounded), blocks of 96 x 96, no border crop; {_package('pyiqa')}",
            no_reference.niqe,
            (official.NIQE_PARAMETERS,),
        ),
        Metric(
            "nrqm",
            "NRQM",
            "higher",
            "no_reference",
            f"Y of YIQ, no border crop; {_package('pyiqa')}",
            no_reference.nrqm,
            (official.NRQM_MODEL,),
        ),
        Metric(
            "pi",
            "PI",
            "lower",
            "no_reference",
            f"(10 - NRQM + NIQE) / 2, Y of BT.601, 4 border pixels cut; {_package('pyiqa')}",
            no_reference.pi,
            (official.NIQE_PARAMETERS, official.NRQM_MODEL),
        ),
        Metric(
            "piqe",
            "PIQE",
            "lower",
            "no_reference",
            f"no weights; {_package('pyiqa')}",
            no_reference.piqe,
        ),
        Metric(
            "sharpness",
            "Sharpness",
            "higher",
            "no_reference",
            "standard deviation of the luma's Laplacian, 0..255 scale; noise raises it too",
            lambda *_: no_reference.sharpness,
        ),
        Metric(
            "nima",
            "NIMA (AVA)",
            "higher",
            "no_reference",
            f"InceptionResNetV2, AVA weights, short side 299, centre crop; {_package('pyiqa')}",
            no_reference.nima,
            (official.NIMA_AVA,),
        ),
        Metric(
            "ids",
            "IDS (degrees)",
            "lower",
            "full_reference",
            "angle of ArcFace-18 embeddings, whole image, gray uint8, bilinear 128 x 128; all pairs count",
            identity.ids,
            (official.ARCFACE18,),
        ),
        Metric(
            "id_cosine",
            "ID (cosine)",
            "higher",
            "full_reference",
            "cosine of the embeddings of IDS; which network the papers of this name used is not said",
            identity.id_cosine,
            (official.ARCFACE18,),
        ),
        Metric(
            "lmd",
            "LMD (pixels)",
            "lower",
            "full_reference",
            f"mean distance of 98 landmarks, FAN with 4 hourglasses on 256 x 256; {_package('facexlib')}",
            landmarks.lmd,
            (official.FAN98,),
        ),
    )
}

TableMetric = Annotated[str, AfterValidator(_table_metric), PickedFrom(METRICS, lambda name: column(name)[0])]
MetricName = Annotated[str, one_of("metric", METRICS), PickedFrom(METRICS)]


@dataclass(frozen=True)
class ImageScorer:
    """A metric with one value per image."""

    metric: Metric
    measure: Callable[..., Tensor]
    device: torch.device

    @torch.inference_mode()
    def __call__(self, restored: Tensor, reference: Tensor | None = None) -> Tensor:
        """[N, 3, H, W] in [0, 1] on any device, and its ground truth unless the metric needs none, to [N] float64.

        The result is on the CPU. Raises BadInput where the ground truth is missing or of another shape.
        """
        if self.metric.kind == "no_reference":
            return self.measure(restored.to(self.device)).cpu().double()
        if reference is None:
            raise BadInput(f"{self.metric.label} compares with a ground truth, and there is none.")
        if restored.shape != reference.shape:
            raise BadInput(
                f"{self.metric.label}: expected a ground truth of the restored images' shape, {_shape(restored)}, "
                f"found {_shape(reference)}."
            )
        return self.measure(restored.to(self.device), reference.to(self.device)).cpu().double()


def build(name: str, weights_dir: Path, device: torch.device) -> ImageScorer | SetScorer:
    """The scorer of a metric: a SetScorer for kind "distribution", else an ImageScorer.

    Raises BadInput for an unknown name, and Unavailable (MissingWeights, MissingPackage) for a metric that
    cannot be computed here. Nothing is ever downloaded.
    """
    metric = find(name)
    measure = metric.make(weights_dir, device)
    if metric.kind != "distribution":
        return ImageScorer(metric, measure, device)
    return _set_scorer(name)(name, measure, device)


def comparer(name: str) -> SetScorer:
    """The scorer of a set metric for features that are there already: without its network."""
    return _set_scorer(name)(name, torch.nn.Identity(), torch.device("cpu"))


def _set_scorer(name: str) -> type[SetScorer]:
    return SetScorer if name.startswith("fid") else NeighbourScorer


def column(name: str) -> tuple[str, str]:
    """Metric and reference set of a table's column: ("fid", "ffhq") of "fid@ffhq", ("fid", DEFAULT) of "fid"."""
    metric, _, reference = name.partition("@")
    return metric, reference or DEFAULT


def find(name: str) -> Metric:
    """The metric of a table's column. Raises BadInput for another name."""
    name, _ = column(name)
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise BadInput(f"unknown metric {name!r}.{hint} Valid: {', '.join(METRICS)}")
    return METRICS[name]


def _shape(images: Tensor) -> str:
    return " x ".join(map(str, images.shape))
