"""Official weights of networks and metrics: where they come from, their licence. To add one: an entry of OFFICIAL."""

from pathlib import Path

from tasks.basics import WEIGHTS
from tasks.store.files import read_json
from tasks.weights.file import WeightFile

VGG16 = WeightFile(
    "hub/checkpoints/vgg16-397923af.pth",
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "torchvision, BSD-3-Clause",
    sha256="397923af",
)
INCEPTION = WeightFile(
    "hub/checkpoints/pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    "pytorch-fid, Apache-2.0",
    sha256="6726825d",
)


def _pyiqa_file(name: str, licence: str) -> WeightFile:
    url = f"https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/{name}"
    return WeightFile(f"hub/pyiqa/{name}", url, licence)


MUSIQ_KONIQ = _pyiqa_file("musiq_koniq_ckpt-e95806b9.pth", "MUSIQ, Apache-2.0")
MANIQA_PIPAL = _pyiqa_file("MANIQA_PIPAL-ae6d356b.pth", "MANIQA, Apache-2.0")
MANIQA_KONIQ = _pyiqa_file("ckpt_koniq10k.pt", "MANIQA, Apache-2.0")
NIQE_PARAMETERS = _pyiqa_file("niqe_modelparameters.mat", "research parameters of the authors of NIQE")
NRQM_MODEL = _pyiqa_file("NRQM_model.mat", "research parameters of the authors of NRQM")
NIMA_AVA = _pyiqa_file("NIMA_InceptionV2_ava-b0c77c00.pth", "NIMA, Apache-2.0")
ARCFACE18 = WeightFile(
    "hub/checkpoints/arcface_resnet18.pth",
    "https://github.com/TencentARC/GFPGAN/releases/download/v0.1.0/arcface_resnet18.pth",
    "GFPGAN release, Apache-2.0",
)
FAN98 = WeightFile(
    "hub/checkpoints/alignment_WFLW_4HG.pth",
    "https://github.com/xinntao/facexlib/releases/download/v0.1.0/alignment_WFLW_4HG.pth",
    "facexlib, Apache-2.0",
)

S_LAB = "S-Lab License 1.0, non-commercial"
DIFFACE = "https://github.com/zsyOAOA/DifFace/releases/download/V1.0"
DT_BFR = "https://github.com/SamsungLabs/DT-BFR/releases/download/v1.0.0"
GFPGAN = "https://github.com/TencentARC/GFPGAN/releases/download"

OFFICIAL: dict[str, WeightFile] = {
    file.place: file
    for file in (
        *(VGG16, INCEPTION, MUSIQ_KONIQ, MANIQA_PIPAL, MANIQA_KONIQ, NIQE_PARAMETERS, NRQM_MODEL, NIMA_AVA),
        *(ARCFACE18, FAN98),
        WeightFile("iddpm_ffhq512_ema500000.pth", f"{DIFFACE}/iddpm_ffhq512_ema500000.pth", S_LAB),
        WeightFile("iddpm_ffhq256_ema750000.pth", f"{DIFFACE}/iddpm_ffhq256_ema750000.pth", S_LAB),
        WeightFile("swinir_restoration512_L1.pth", f"{DIFFACE}/swinir_restoration512_L1.pth", S_LAB),
        WeightFile("General_Face_ffhq512.pth", f"{DIFFACE}/General_Face_ffhq512.pth", S_LAB),
        WeightFile("lama_inpainting256.pth", f"{DIFFACE}/lama_inpainting256.pth", S_LAB),
        WeightFile("swinir_gan_v1.pth", f"{DT_BFR}/swinir_gan_v1.pth", "CC BY-NC-SA 4.0, non-commercial"),
        WeightFile(
            "codeformer.pth",
            "https://github.com/sczhou/CodeFormer/releases/download/v0.1.0/codeformer.pth",
            S_LAB,
            sha256="1009e537e0c2a07d4cabce6355f53cb66767cd4b4297ec7a4a64ca4b8a5684b7",
        ),
        WeightFile(
            "GFPGANv1.4.pth",
            f"{GFPGAN}/v1.3.0/GFPGANv1.4.pth",
            "GFPGAN, Apache-2.0 with parts under other licences",
            sha256="e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad",
        ),
        WeightFile("RestoreFormer.pth", f"{GFPGAN}/v1.3.4/RestoreFormer.pth", "RestoreFormer, Apache-2.0"),
    )
}


def licence(path: Path) -> str:
    """Under which terms a weights file stands: registered, else as the card beside it says."""
    if path.is_relative_to(WEIGHTS) and (file := OFFICIAL.get(path.relative_to(WEIGHTS).as_posix())):
        return file.licence
    card = path.with_suffix(".json") if path.name != "model.safetensors" else path.with_name("card.json")
    found = read_json(card).get("licence") if card.is_file() else None
    return str(found or "not known: ask for the terms of the weights that this began with")
