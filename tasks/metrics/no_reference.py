"""MUSIQ, MANIQA, NIMA, NRQM and PI through pyiqa, with local weight files only; and sharpness.

pyiqa is under the PolyForm Noncommercial License 1.0.0 (older parts: S-Lab License 1.0), so it is imported only when
one of these is asked for. Its own loader unpickles anything; here checkpoints load with weights_only=True.

All functions return a scorer: [N, 3, H, W] in [0, 1] on `device`, to [N].
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.metrics.niqe import niqe
from tasks.metrics.offline import blamed, constructing, replaced
from tasks.running.torchvision_import import import_torchvision
from tasks.weights.checkpoint import read_state_dict
from tasks.weights.file import MissingPackage, WeightFile
from tasks.weights.official import MANIQA_KONIQ, MANIQA_PIPAL, MUSIQ_KONIQ, NIMA_AVA, NRQM_MODEL

if TYPE_CHECKING:
    from pyiqa.models.inference_model import InferenceModel

Score = Callable[[Tensor], Tensor]


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


def sharpness(images: Tensor) -> Tensor:
    """Standard deviation of the luma's Laplacian, in units of 1/255: rises with detail, and with noise as well."""
    luma = (images * images.new_tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1)).sum(dim=1, keepdim=True)
    kernel = images.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return 255 * F.conv2d(luma, kernel).flatten(1).std(dim=1)


def nrqm(weights_dir: Path, device: torch.device) -> Score:
    """NRQM (Ma et al. 2017) on the Y of YIQ, pyiqa's setting: about 0..10."""
    return _nrqm(weights_dir, device, "NRQM", color_space="yiq", crop_border=0)


def pi(weights_dir: Path, device: torch.device) -> Score:
    """Perceptual index (Blau et al. 2018): (10 - NRQM + NIQE) / 2, Y of BT.601, 4 border pixels cut."""
    of_nrqm = _nrqm(weights_dir, device, "PI", color_space="ycbcr", crop_border=4)
    return lambda images: (10 - of_nrqm(images).double() + niqe(images[..., 4:-4, 4:-4])) / 2


def _nrqm(weights_dir: Path, device: torch.device, metric: str, color_space: str, crop_border: int) -> Score:
    """On the CPU: its random forests run there alone."""
    path = NRQM_MODEL.find(weights_dir, metric)
    model = _pyiqa(metric).create_metric(
        "nrqm",
        color_space=color_space,
        crop_border=crop_border,
        pretrained_model_path=str(path),
        device=torch.device("cpu"),
    )

    def score(images: Tensor) -> Tensor:
        values: Tensor = model(images.cpu())
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
        scorer.net.load_state_dict(read_state_dict(path))
    return scorer


def _one_by_one(model: "InferenceModel") -> Score:
    """Image after image: MANIQA makes a batch of 20 crops of each."""
    return lambda images: torch.cat([model(image[None]).flatten() for image in images])


def _pyiqa(metric: str) -> Any:
    import_torchvision()
    try:
        import pyiqa
    except ImportError as error:
        raise MissingPackage(
            f"{metric} needs the package pyiqa, which cannot be imported ({error}). Its licence, PolyForm "
            f"Noncommercial 1.0.0, allows non-commercial use only; if you agree with it: pip install 'bfr[metrics]'"
        ) from error
    return pyiqa
