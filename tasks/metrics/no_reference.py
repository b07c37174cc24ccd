"""MUSIQ, MANIQA, NIMA, NIQE and PIQE through pyiqa, with local weight files only.

pyiqa is under the PolyForm Noncommercial License 1.0.0 (older parts: S-Lab License 1.0), so it is imported only when
one of these is asked for. Its own loader unpickles anything; here checkpoints load with weights_only=True.

All functions return a scorer: [N, 3, H, W] in [0, 1] on `device`, to [N].
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tasks.metrics.full_reference import size_text
from tasks.metrics.offline import (
    MANIQA_KONIQ,
    MANIQA_PIPAL,
    MUSIQ_KONIQ,
    NIMA_AVA,
    NIQE_PARAMETERS,
    MissingPackage,
    Unavailable,
    WeightFile,
    blamed,
    constructing,
    load_state,
    replaced,
)

if TYPE_CHECKING:
    from pyiqa.models.inference_model import InferenceModel

Score = Callable[[Tensor], Tensor]

NIQE_BLOCK = 96


def musiq(weights_dir: Path, device: torch.device) -> Score:
    """MUSIQ (Ke et al. 2021), KonIQ-10k weights: about 0..100."""
    model = _trained("musiq", "MUSIQ", MUSIQ_KONIQ, weights_dir, device)
    return lambda images: model(images).flatten()


def maniqa_pipal(weights_dir: Path, device: torch.device) -> Score:
    """MANIQA (Yang et al. 2022), PIPAL weights: the variant of DT-BFR's tables, about 0..1."""
    return _one_by_one(_trained("maniqa-pipal", "MANIQA (PIPAL)", MANIQA_PIPAL, weights_dir, device))


def maniqa_koniq(weights_dir: Path, device: torch.device) -> Score:
    """MANIQA (Yang et al. 2022), KonIQ-10k weights, about 0..1: not comparable with the PIPAL variant."""
    return _one_by_one(_trained("maniqa", "MANIQA (KonIQ)", MANIQA_KONIQ, weights_dir, device))


def nima(weights_dir: Path, device: torch.device) -> Score:
    """NIMA (Talebi & Milanfar 2018), InceptionResNetV2 with AVA weights: 1..10, the judge of IDM's cleaning."""
    model = _trained("nima", "NIMA", NIMA_AVA, weights_dir, device)
    return lambda images: model(images).flatten()


def piqe(weights_dir: Path, device: torch.device) -> Score:
    """PIQE (Venkatanath et al. 2015), which needs no weights; lower is better, 0..100."""
    model = _pyiqa("PIQE").create_metric("piqe", device=device)
    return lambda images: model(images).flatten()


def niqe(weights_dir: Path, device: torch.device) -> Score:
    """NIQE (Mittal et al. 2013) on the Y of BT.601, as the papers' scripts have it; lower is better.

    Its statistics are over 96 x 96 blocks: an image with fewer than two of them raises Unavailable.
    """
    path = NIQE_PARAMETERS.find(weights_dir, "NIQE")
    has_float64 = device.type != "mps"
    model = _pyiqa("NIQE").create_metric(
        "niqe",
        color_space="ycbcr",
        pretrained_model_path=str(path),
        device=device if has_float64 else torch.device("cpu"),
    )

    def score(images: Tensor) -> Tensor:
        if (images.shape[-2] // NIQE_BLOCK) * (images.shape[-1] // NIQE_BLOCK) < 2:
            raise Unavailable(
                f"NIQE needs images with at least two blocks of 96 x 96 pixels, found {size_text(images)}."
            )
        values: Tensor = model(images)
        return values.flatten()

    return score


def _trained(model: str, metric: str, file: WeightFile, weights_dir: Path, device: torch.device) -> "InferenceModel":
    """pyiqa's `model` with the weights of `file`; it needs no network although its constructor would use one."""
    path = file.find(weights_dir, metric)
    pyiqa = _pyiqa(metric)
    import timm

    create_backbone: Callable[..., nn.Module] = timm.create_model

    def create_empty_backbone(name: str, **options: Any) -> nn.Module:
        return create_backbone(name, **options | {"pretrained": False})  # MANIQA's checkpoint holds the backbone too

    with constructing(), replaced(timm, "create_model", create_empty_backbone):
        scorer = pyiqa.create_metric(model, pretrained=False, device=device)
    with blamed(path):
        scorer.net.load_state_dict(load_state(path))
    return scorer


def _one_by_one(model: "InferenceModel") -> Score:
    """Image after image: MANIQA makes a batch of 20 crops of each."""
    return lambda images: torch.cat([model(image[None]).flatten() for image in images])


def _pyiqa(metric: str) -> Any:
    try:
        import pyiqa
    except ImportError as error:
        raise MissingPackage(
            f"{metric} needs the package pyiqa, which cannot be imported ({error}). Install it: pip install pyiqa. "
            f"Its licence, PolyForm Noncommercial 1.0.0, allows non-commercial use only."
        ) from error
    return pyiqa
