"""Official weights of networks and metrics: where they come from, their licence. To add one: an entry of OFFICIAL."""

import re
from pathlib import Path

from tasks.basics import WEIGHTS
from tasks.store.files import read_json
from tasks.weights.file import WeightFile

VGG16 = WeightFile(
    "hub/checkpoints/vgg16-397923af.pth",
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "torchvision, BSD-3-Clause",
    sha256="397923af",
    size=553433881,
)
INCEPTION = WeightFile(
    "hub/checkpoints/pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    "pytorch-fid, Apache-2.0",
    sha256="6726825d",
    size=95628359,
)


def _pyiqa_file(name: str, licence: str) -> WeightFile:
    url = f"https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/{name}"
    digits = re.search(r"-([0-9a-f]{8})\.pth$", name)  # as torch.hub has them in names
    return WeightFile(f"hub/pyiqa/{name}", url, licence, sha256=digits[1] if digits else "")


POLYFORM = "from pyiqa's repository of weights, PolyForm Noncommercial 1.0.0"


MUSIQ_KONIQ = _pyiqa_file("musiq_koniq_ckpt-e95806b9.pth", "MUSIQ, Apache-2.0")
MANIQA_PIPAL = _pyiqa_file("MANIQA_PIPAL-ae6d356b.pth", "MANIQA, Apache-2.0")
MANIQA_KONIQ = _pyiqa_file("ckpt_koniq10k.pt", "MANIQA, Apache-2.0")
NRQM_MODEL = _pyiqa_file("NRQM_model.mat", "research parameters of the authors of NRQM")
NIMA_AVA = _pyiqa_file("NIMA_InceptionV2_ava-b0c77c00.pth", f"NIMA, {POLYFORM}")
ARCFACE18 = WeightFile(
    "hub/checkpoints/arcface_resnet18.pth",
    "https://github.com/TencentARC/GFPGAN/releases/download/v0.1.0/arcface_resnet18.pth",
    "GFPGAN release, Apache-2.0",
)
FAN98 = WeightFile(
    "hub/checkpoints/alignment_WFLW_4HG.pth",
    "https://github.com/xinntao/facexlib/releases/download/v0.1.0/alignment_WFLW_4HG.pth",
    "facexlib, MIT",
)

S_LAB = "S-Lab License 1.0, non-commercial"
DIFFACE = "https://github.com/zsyOAOA/DifFace/releases/download/V1.0"
CC_NC = "CC BY-NC-SA 4.0, non-commercial"
FACEXLIB = "https://github.com/xinntao/facexlib/releases/download"
RETINAFACE = WeightFile(
    "detection_Resnet50_Final.pth",
    f"{FACEXLIB}/v0.1.0/detection_Resnet50_Final.pth",
    "facexlib, MIT",
    sha256="6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
    size=109497761,
)
PARSENET = WeightFile(
    "parsing_parsenet.pth",
    f"{FACEXLIB}/v0.2.2/parsing_parsenet.pth",
    "facexlib, MIT",
    sha256="3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2",
    size=85331193,
)
REALESRGAN_X2 = WeightFile(
    "RealESRGAN_x2plus.pth",
    "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.1/RealESRGAN_x2plus.pth",
    "Real-ESRGAN, BSD-3-Clause",
    sha256="49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
    size=67061725,
)
WHOLE_PHOTOS = (RETINAFACE, PARSENET, REALESRGAN_X2)  # the official tools' own; bfr needs none of them

DT_BFR = "https://github.com/SamsungLabs/DT-BFR/releases/download/v1.0.0"
GFPGAN = "https://github.com/TencentARC/GFPGAN/releases/download"

OFFICIAL: dict[str, WeightFile] = {
    file.place: file
    for file in (
        *(VGG16, INCEPTION, MUSIQ_KONIQ, MANIQA_PIPAL, MANIQA_KONIQ, NRQM_MODEL, NIMA_AVA),
        *(ARCFACE18, FAN98, *WHOLE_PHOTOS),
        WeightFile("iddpm_ffhq512_ema500000.pth", f"{DIFFACE}/iddpm_ffhq512_ema500000.pth", S_LAB, size=639153816),
        WeightFile("iddpm_ffhq256_ema750000.pth", f"{DIFFACE}/iddpm_ffhq256_ema750000.pth", S_LAB, size=496226840),
        WeightFile("swinir_restoration512_L1.pth", f"{DIFFACE}/swinir_restoration512_L1.pth", S_LAB, size=63160000),
        WeightFile("lama_inpainting256.pth", f"{DIFFACE}/lama_inpainting256.pth", S_LAB, size=203920000),
        WeightFile("swinir_gan_v1.pth", f"{DT_BFR}/swinir_gan_v1.pth", CC_NC, size=63160000),
        WeightFile("inception_CelebA-Test-500.pth", f"{DT_BFR}/inception_CelebA-Test-500.pth", CC_NC),
        WeightFile("inception_FFHQ_512.pth", f"{DT_BFR}/inception_FFHQ_512.pth", CC_NC),
        WeightFile(
            "base_256.pt",
            "https://github.com/adobe-research/gen2res/releases/download/v1.0.0/base_256.pt",
            "Adobe Research License, non-commercial research",
            size=526853144,
        ),
        WeightFile(
            "codeformer.pth",
            "https://github.com/sczhou/CodeFormer/releases/download/v0.1.0/codeformer.pth",
            S_LAB,
            sha256="1009e537e0c2a07d4cabce6355f53cb66767cd4b4297ec7a4a64ca4b8a5684b7",
            size=376637898,
        ),
        WeightFile(
            "GFPGANv1.3.pth",
            f"{GFPGAN}/v1.3.0/GFPGANv1.3.pth",
            "GFPGAN, Apache-2.0 with parts under other licences",
            sha256="c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70",
            size=348632874,
        ),
        WeightFile(
            "RestoreFormer.pth",
            f"{GFPGAN}/v1.3.4/RestoreFormer.pth",
            "RestoreFormer, Apache-2.0",
            sha256="07404d446d62ca3d5ed38b1de09a947a1e77d46dbccec961a74d713a8f24ace0",
            size=290785322,
        ),
        WeightFile(
            "RestoreFormer++.ckpt",
            "https://github.com/wzhouxiff/RestoreFormerPlusPlus/releases/download/v1.0.0/RestoreFormer++.ckpt",
            "RestoreFormer++, Apache-2.0",
            sha256="613fe52805f86bf8c2bffff08ae9f7a0b99f408be1bf221767af6183038be3a2",
            size=294028815,
        ),
    )
}


def licence(path: Path) -> str:
    """Under which terms a weights file stands: registered, else as the card beside it says."""
    if path.is_relative_to(WEIGHTS) and (file := OFFICIAL.get(path.relative_to(WEIGHTS).as_posix())):
        return file.licence
    card = path.with_suffix(".json") if path.name != "model.safetensors" else path.with_name("card.json")
    found = read_json(card).get("licence") if card.is_file() else None
    return str(found or "not known: ask for the terms of the weights that this began with")
