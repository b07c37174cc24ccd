"""Metrics against what the papers' evaluation scripts and the libraries compute."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.restorer_weights import arrays, load_manifest
from torch import Tensor

from tasks.metrics import arcface, identity, landmarks, registry
from tasks.metrics.frechet import frechet_distance
from tasks.metrics.neighbours import precision_recall
from tasks.metrics.sets import feature_statistics
from tasks.pixels import to_tensor
from tasks.store.files import read_png
from tasks.weights import official
from tasks.weights.file import WeightFile

CPU = torch.device("cpu")
Near = Callable[..., None]


def image(case: Path, name: str) -> Tensor:
    """[1, 3, H, W] in [0, 1]."""
    return to_tensor(read_png(case.parent / "images" / name))[None]


def images_of(case: Path, name: str) -> tuple[Tensor, Tensor]:
    """Restored image and ground truth of a pair."""
    pair = json.loads((case.parent / "image_metrics.json").read_text())[name]
    return image(case, pair["restored"]), image(case, pair["gt"])


def stand_in(folder: Path, manifest: Path, file: WeightFile) -> None:
    """Write a weights file with the golden run's stand-in tensors."""
    path = folder / file.place
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({key: torch.from_numpy(value) for key, value in arrays(load_manifest(manifest)).items()}, path)


@pytest.mark.golden("metrics/image_metrics.json")
@pytest.mark.parametrize(
    ("metric", "key", "tolerance"),
    [
        ("psnr", "psnr_rgb", 1e-4),
        ("ssim", "ssim_rgb", 1e-6),
        ("psnr_matched", "psnr_rgb_corrected", 1e-4),
        ("ssim_matched", "ssim_rgb_corrected", 1e-6),
    ],
)
def test_psnr_and_ssim(case, near, metric, key, tolerance):
    score = registry.find(metric).build(case.parent, CPU)
    for name, pair in json.loads(case.read_text()).items():
        near(metric, score(*images_of(case, name))[0], pair["official"][key], tolerance)


@pytest.mark.golden("metrics/image_metrics.json")
def test_piqe_is_the_library_s(case, near):
    """Which computes in float32: a block at a threshold may fall on its other side."""
    score = registry.find("piqe").build(case.parent, CPU)
    for name, pair in json.loads(case.read_text()).items():
        for photo, key in zip(images_of(case, name), ("piqe_restored", "piqe_gt"), strict=True):
            near("piqe", score(photo)[0], pair["pyiqa"][key], 0.05)


@pytest.mark.golden("metrics/image_metrics.json")
def test_niqe_is_that_of_the_evaluation_scripts(case, near):
    """On photos as the scripts read them; they round Y otherwise, which is seen where JPEG made flat blocks."""
    score = registry.find("niqe").build(case.parent, CPU)
    for name, pair in json.loads(case.read_text()).items():
        for photo, key in zip(images_of(case, name), ("niqe_y_restored", "niqe_y_gt"), strict=True):
            near("niqe", score(photo)[0], pair["official"][key], 0.04 if "jpeg" in name else 3e-3)


BRISQUE = {  # of the package brisque 0.2.0
    "res_a512_blurnoise.png": 12.75832881949654,
    "gt_a512.png": 10.79511253323355,
    "res_b512_jpeg30.png": 31.281522010306475,
    "gt_b512.png": -4.32567610603283,
    "gt_c256.png": -3.1883549443880668,
    "gt_a203x257.png": 2.2492711648114607,
}


@pytest.mark.golden("metrics/image_metrics.json")
def test_brisque_is_that_of_the_package(case, near):
    """Products that are zero but for rounding may change sides."""
    score = registry.find("brisque").build(case.parent, CPU)
    for name, expected in BRISQUE.items():
        near("brisque", score(image(case, name))[0], expected, 0.05)


@pytest.mark.golden("metrics/lpips.json")
def test_lpips(case, near, tmp_path):
    stand_in(tmp_path, case.parent / "manifests" / "vgg16_features.json", official.VGG16)
    score = registry.find("lpips").build(tmp_path, CPU)
    for name, values in json.loads(case.read_text()).items():
        near("VGG", score(*images_of(case, name))[0], values["vgg"], 1e-5)


@pytest.mark.golden("metrics/inception_features.npz")
def test_the_fid_features(case, near, tmp_path):
    file = np.load(case)
    stand_in(tmp_path, case.parent / "manifests" / "fid_inception.json", official.INCEPTION)
    scorer = registry.find("fid").build(tmp_path, CPU)
    for name, expected in zip(file["files"].tolist(), file["features"], strict=True):
        features = scorer.features(image(case, name))[0]
        step = len(features) // len(expected)
        near("features", features[::step], expected, 1e-4 * np.abs(expected).max())


@pytest.mark.golden("metrics/fid_math.npz")
def test_the_frechet_distance(case, near):
    file = np.load(case)
    for key in (key for key in file.files if key.endswith("/official")):
        name = key.removesuffix("/official")
        a, b = (feature_statistics([torch.from_numpy(file[f"{name}/{which}"])], "fid", which) for which in "ab")
        near(name, frechet_distance(a, b), file[key], 1e-4)


@pytest.mark.golden("metrics/identity.json")
def test_identity(case, near, tmp_path):
    manifest = case.parent.parent / "restorers" / "manifests" / "arcface18.json"
    stand_in(tmp_path, manifest, official.ARCFACE18)
    score = registry.find("ids").build(tmp_path, CPU)
    network = arcface.load(tmp_path / official.ARCFACE18.place)
    for name, values in json.loads(case.read_text()).items():
        restored, reference = images_of(case, name)
        near("degrees", score(restored, reference)[0], values["cv2_gray_uint8"]["degrees"], 0.01)
        ours, theirs = (network(identity.gray_faces(photo)) for photo in (restored, reference))
        near("cosine", torch.cosine_similarity(ours, theirs)[0], values["cv2_gray_uint8"]["cosine"], 1e-5)


@pytest.mark.golden("metrics/landmarks.npz")
def test_the_landmarks_of_heat_maps(case, near):
    file = np.load(case)
    near("points", landmarks.decode(torch.from_numpy(file["heatmaps"])[None])[0], file["points"], 1e-9)


@pytest.mark.golden("metrics/landmark_distance.npz")
def test_the_landmark_distance(case, near):
    file = np.load(case)
    a, b = (torch.from_numpy(file[key])[None] for key in ("points_a", "points_b"))
    near("LMD", landmarks.distance(a, b)[0], file["lmd"], 1e-9)


@pytest.mark.golden("metrics/precision_recall.npz")
def test_precision_and_recall(case, near):
    file: Any = np.load(case)
    real, fake = torch.from_numpy(file["real"]), torch.from_numpy(file["fake"])
    for k in (int(key.removeprefix("precision_k")) for key in file.files if key.startswith("precision_k")):
        precision, recall = precision_recall(real, fake, k)
        near("precision", precision, file[f"precision_k{k}"], 1e-12)
        near("recall", recall, file[f"recall_k{k}"], 1e-12)
