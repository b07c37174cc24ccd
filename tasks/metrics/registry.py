"""The table of all metrics. To add one: write its function, and give it an entry here."""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

from pydantic import AfterValidator

from tasks.basics import BadInput, PickedFrom, one_of, suggestion
from tasks.metrics import (
    brisque,
    consistency,
    denoiser,
    frechet,
    full_reference,
    identity,
    inception,
    kid,
    landmarks,
    neighbours,
    niqe,
    no_reference,
    perceptual,
    piqe,
)
from tasks.metrics.metric import Features, ImageMetric, Metric, SetMetric
from tasks.weights import official

REAL = "real"  # the reference set of the unpaired HQ photos, which every experiment has
DEFAULT = "default"  # the reference set of a metric of whole sets that names none


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
CONSISTENT = (
    f"low frequencies of the restored and of the LQ photo ({consistency.SIDE} x {consistency.SIDE} pixels, cubic, "
    "enlarged again)"
)
SUBSETS = (
    f"unbiased MMD^2 with the kernel (x.y / D + 1)^3, mean of {kid.SUBSETS} random pairs of subsets of "
    f"{kid.SUBSET_SIZE} images (a smaller set whole); ±: their standard deviation, where no set is "
    "taken whole"
)

INCEPTION = Features("fid", inception.fid_features, (official.INCEPTION,))
SEEDED_INCEPTION = Features("fid_seeded", inception.fid_seeded_features)
PRIOR = Features("fid_prior", denoiser.prior_features, (denoiser.DEMO_PRIOR,))

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        ImageMetric(
            "psnr",
            "PSNR (dB)",
            "higher",
            f"{PIXELS}; per image",
            needs_truth=True,
            measure=full_reference.psnr,
        ),
        ImageMetric(
            "ssim",
            "SSIM",
            "higher",
            f"{PIXELS}; {SSIM}",
            needs_truth=True,
            measure=full_reference.ssim,
        ),
        ImageMetric(
            "psnr_matched",
            "PSNR matched (dB)",
            "higher",
            f"{MATCHED}; per image",
            needs_truth=True,
            measure=full_reference.psnr_matched,
        ),
        ImageMetric(
            "ssim_matched",
            "SSIM matched",
            "higher",
            f"{MATCHED}; {SSIM}",
            needs_truth=True,
            measure=full_reference.ssim_matched,
        ),
        ImageMetric(
            "lpips",
            "LPIPS",
            "lower",
            f"version 0.1, VGG-16, RGB mapped to [-1, 1], original size; {_package('lpips')}",
            needs_truth=True,
            make=perceptual.lpips_score,
            needs=(official.VGG16,),
        ),
        ImageMetric(
            "lpips_seeded",
            "LPIPS (seeded)",
            "lower",
            f"LPIPS's distance on AlexNet with {SEEDED}; not LPIPS",
            needs_truth=True,
            make=perceptual.lpips_seeded_score,
        ),
        SetMetric(
            "fid",
            "FID",
            "lower",
            "FID Inception of 2015-12-05, RGB mapped to [-1, 1], bilinear 299 x 299, 2048 pool features, sample "
            f"covariance; {_package('pytorch-fid')}; biased by small sets",
            features=INCEPTION,
            compare=frechet.fid,
            needs_features=False,
        ),
        SetMetric(
            "fid_seeded",
            "FID (seeded)",
            "lower",
            "Frechet distance on the FID Inception up to its second pooling (192 features, mean over positions, "
            f"original size) with {SEEDED}; not FID",
            features=SEEDED_INCEPTION,
            compare=frechet.fid,
            needs_features=False,
        ),
        SetMetric(
            "fid_prior",
            "FID (prior)",
            "lower",
            "Frechet distance on the demo's prior up to its middle block (128 features, t = 0, mean over positions, "
            "original size): learned from rendered heads, and partial to what this prior has made; not FID",
            features=PRIOR,
            compare=frechet.fid,
            needs_features=False,
        ),
        SetMetric(
            "kid",
            "KID",
            "lower",
            f"{SUBSETS}; features of FID; {_package('pytorch-fid')}",
            features=INCEPTION,
            compare=kid.kid,
            needs_features=True,
        ),
        SetMetric(
            "kid_seeded",
            "KID (seeded)",
            "lower",
            f"{SUBSETS}; features of FID (seeded): {SEEDED}; not KID",
            features=SEEDED_INCEPTION,
            compare=kid.kid,
            needs_features=True,
        ),
        SetMetric(
            "precision",
            "Precision",
            "higher",
            f"share of the images among the reference, k = 3, features of FID; {_package('pytorch-fid')}",
            features=INCEPTION,
            compare=neighbours.precision,
            needs_features=True,
        ),
        SetMetric(
            "precision_seeded",
            "Precision (seeded)",
            "higher",
            f"share of the images among the reference, k = 3, features of FID (seeded): {SEEDED}; not precision",
            features=SEEDED_INCEPTION,
            compare=neighbours.precision,
            needs_features=True,
        ),
        SetMetric(
            "recall",
            "Recall",
            "higher",
            f"share of the reference among the images, k = 3, features of FID; {_package('pytorch-fid')}",
            features=INCEPTION,
            compare=neighbours.recall,
            needs_features=True,
        ),
        SetMetric(
            "recall_seeded",
            "Recall (seeded)",
            "higher",
            f"share of the reference among the images, k = 3, features of FID (seeded): {SEEDED}; not recall",
            features=SEEDED_INCEPTION,
            compare=neighbours.recall,
            needs_features=True,
        ),
        ImageMetric(
            "musiq",
            "MUSIQ (KonIQ)",
            "higher",
            f"KonIQ-10k weights, longer sides 224, 384 and original; {_package('pyiqa')}",
            needs_truth=False,
            make=no_reference.musiq,
            needs=(official.MUSIQ_KONIQ,),
        ),
        ImageMetric(
            "maniqa_pipal",
            "MANIQA (PIPAL)",
            "higher",
            f"PIPAL weights, {MANIQA}",
            needs_truth=False,
            make=no_reference.maniqa_pipal,
            needs=(official.MANIQA_PIPAL,),
        ),
        ImageMetric(
            "maniqa_koniq",
            "MANIQA (KonIQ)",
            "higher",
            f"KonIQ-10k weights, {MANIQA}",
            needs_truth=False,
            make=no_reference.maniqa_koniq,
            needs=(official.MANIQA_KONIQ,),
        ),
        ImageMetric(
            "niqe",
            "NIQE",
            "lower",
            "Y of BT.601 (limited range, rounded), blocks of 96 x 96, no border crop; parameters of its authors",
            needs_truth=False,
            measure=niqe.niqe,
        ),
        ImageMetric(
            "brisque",
            "BRISQUE",
            "lower",
            "gray, bicubic half size; support vectors of its authors",
            needs_truth=False,
            measure=brisque.brisque,
        ),
        ImageMetric(
            "nrqm",
            "NRQM",
            "higher",
            f"Y of YIQ, no border crop; {_package('pyiqa')}",
            needs_truth=False,
            make=no_reference.nrqm,
            needs=(official.NRQM_MODEL,),
        ),
        ImageMetric(
            "pi",
            "PI",
            "lower",
            f"(10 - NRQM + NIQE) / 2, Y of BT.601, 4 border pixels cut; {_package('pyiqa')}",
            needs_truth=False,
            make=no_reference.pi,
            needs=(official.NRQM_MODEL,),
        ),
        ImageMetric(
            "piqe",
            "PIQE",
            "lower",
            "gray, blocks of 16 x 16; no parameters",
            needs_truth=False,
            measure=piqe.piqe,
        ),
        ImageMetric(
            "sharpness",
            "Sharpness",
            "higher",
            "standard deviation of the luma's Laplacian, 0..255 scale; noise raises it too",
            needs_truth=False,
            measure=no_reference.sharpness,
        ),
        ImageMetric(
            "nima",
            "NIMA (AVA)",
            "higher",
            f"InceptionResNetV2, AVA weights, short side 299, centre crop; {_package('pyiqa')}",
            needs_truth=False,
            make=no_reference.nima,
            needs=(official.NIMA_AVA,),
        ),
        ImageMetric(
            "ids",
            "IDS (degrees)",
            "lower",
            "angle of ArcFace-18 embeddings, whole image, gray uint8, bilinear 128 x 128; all pairs count",
            needs_truth=True,
            make=identity.ids,
            needs=(official.ARCFACE18,),
        ),
        ImageMetric(
            "id_cosine",
            "ID (cosine)",
            "higher",
            "cosine of the embeddings of IDS; which network the papers of this name used is not said",
            needs_truth=True,
            make=identity.id_cosine,
            needs=(official.ARCFACE18,),
        ),
        ImageMetric(
            "psnr_input",
            "PSNR to the input (dB)",
            "higher",
            f"{CONSISTENT}; {PIXELS}; per image",
            needs_truth=False,
            needs_input=True,
            measure=consistency.psnr,
        ),
        ImageMetric(
            "lpips_input",
            "LPIPS to the input",
            "lower",
            f"{CONSISTENT}; version 0.1, VGG-16, RGB mapped to [-1, 1]; {_package('lpips')}",
            needs_truth=False,
            needs_input=True,
            make=consistency.lpips,
            needs=(official.VGG16,),
        ),
        ImageMetric(
            "lpips_seeded_input",
            "LPIPS (seeded) to the input",
            "lower",
            f"{CONSISTENT}; LPIPS's distance on AlexNet with {SEEDED}; not LPIPS",
            needs_truth=False,
            needs_input=True,
            make=consistency.lpips_without_weights,
        ),
        ImageMetric(
            "id_input",
            "ID to the input (cosine)",
            "higher",
            "cosine of the embeddings of IDS; a photo that is badly degraded says little about who it shows",
            needs_truth=False,
            needs_input=True,
            make=identity.id_cosine,
            needs=(official.ARCFACE18,),
        ),
        ImageMetric(
            "id_album",
            "ID to the album (cosine)",
            "higher",
            "mean cosine of the embeddings of IDS with those of the album's photos; the paper does not say with which",
            needs_truth=False,
            make=identity.no_album,
            needs=(official.ARCFACE18,),
        ),
        ImageMetric(
            "lmd",
            "LMD (pixels)",
            "lower",
            f"mean distance of 98 landmarks, FAN with 4 hourglasses on 256 x 256; {_package('facexlib')}",
            needs_truth=True,
            make=landmarks.lmd,
            needs=(official.FAN98,),
        ),
    )
}

MetricName = Annotated[str, one_of("metric", METRICS), PickedFrom(METRICS)]


def find(name: str) -> Metric:
    """The metric of a table's column. Raises BadInput for another name."""
    name, _ = column(name)
    if name not in METRICS:
        raise BadInput(f"unknown metric {name!r}.{suggestion(name, METRICS)} Valid: {', '.join(METRICS)}")
    return METRICS[name]


def column(name: str) -> tuple[str, str]:
    """Metric and reference set of a table's column: ("fid", "ffhq") of "fid@ffhq", ("fid", DEFAULT) of "fid"."""
    metric, _, reference = name.partition("@")
    return metric, reference or DEFAULT


def _table_metric(name: str) -> str:
    metric, reference = find(name), column(name)[1]
    if "@" in name and (reference == DEFAULT or not metric.is_of_sets):
        valid = ", ".join(other.name for other in METRICS.values() if other.is_of_sets)
        raise ValueError(f"{name!r}: only a metric of whole sets ({valid}) takes @ and a reference set")
    return name


TableMetric = Annotated[str, AfterValidator(_table_metric), PickedFrom(METRICS, lambda name: column(name)[0])]
