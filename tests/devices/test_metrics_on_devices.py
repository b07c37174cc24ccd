"""Metrics on a pretended GPU (the second of two) and on Apple's: the CPU's values, as float64 on the CPU."""

import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tasks.basics import WEIGHTS
from tasks.metrics import arcface, neighbours, no_reference, sets
from tasks.metrics.metric import ImageMetric
from tasks.metrics.niqe import niqe
from tasks.metrics.registry import find
from tasks.weights.official import ARCFACE18, NRQM_MODEL

DEVICES = {"cuda": torch.device("cuda", 1), "mps": torch.device("mps", 0)}
METRICS = (
    "psnr",
    "ssim",
    "psnr_matched",
    "ssim_matched",
    "lpips_seeded",
    "ids",
    "id_cosine",
    "sharpness",
    "niqe",
    "piqe",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of the right form, of random numbers."""
    folder = tmp_path_factory.mktemp("weights")
    for file in (ARCFACE18, NRQM_MODEL):
        (folder / file.place).parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.save(arcface.ArcFace18().state_dict(), folder / ARCFACE18.place)
    leaf, forests = np.zeros((1, 1), dtype=np.int64), np.empty((1, 3), dtype=object)
    for n in range(3):
        forests[0, n] = dict(zip("abcdefg", (leaf, leaf, leaf, leaf, leaf, leaf + n + 1.0, leaf + 1), strict=True))
    scipy.io.savemat(
        folder / NRQM_MODEL.place, {"model": {"linear": np.array([[0.5], [1.0], [2.0], [0.5]]), "rf": forests}}
    )
    (folder / "demo").symlink_to(WEIGHTS / "demo")
    return folder


def measured(name, weights, device, restored, reference):
    metric = find(name)
    scorer = metric.build(weights, device)
    if not isinstance(metric, ImageMetric):
        return scorer.features(restored).float().cpu()
    return scorer(restored, reference) if metric.needs_truth else scorer(restored, None)


@pytest.mark.parametrize("name", [*METRICS, "fid_seeded", "fid_prior"])
@pytest.mark.parametrize("kind", DEVICES)
@torch.no_grad()
def test_a_metric_measures_what_it_measures_on_the_cpu(pretend, weights, kind, name):
    random = torch.Generator().manual_seed(0)
    reference = torch.rand(2, 3, 224, 224, generator=random)
    restored = (reference + 0.05 * torch.randn(2, 3, 224, 224, generator=random)).clamp(0, 1)
    expected = measured(name, weights, torch.device("cpu"), restored, reference)
    its, device = pretend(kind), DEVICES[kind]
    with its.devices():
        found = measured(name, weights, device, restored.to(device), reference.to(device))
        assert found.device == torch.device("cpu")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_perceptual_index_adds_its_two_parts_where_neither_has_float64(pretend, monkeypatch):
    """NIQE and NRQM run on the CPU. A stand-in for NRQM, which is slow."""
    monkeypatch.setattr(no_reference, "_pyiqa", lambda metric: SimpleNamespace(create_metric=slow))
    monkeypatch.setattr(type(no_reference.NRQM_MODEL), "find", lambda self, folder, metric: Path("weights"))
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = (10 - 2 + niqe(images[..., 4:-4, 4:-4])) / 2
    for kind, device in DEVICES.items():
        with pretend(kind).devices():
            score = no_reference.pi(Path("weights"), device)
            torch.testing.assert_close(score(images.to(device)), expected, rtol=1e-4, atol=1e-4)


def slow(name, device, **options):
    """As pyiqa: takes images to the device it was made for, computes in float64."""
    return lambda images: images.to(device).double().mean(dim=(1, 2, 3)) * 0 + 2


class Largest(TorchDispatchMode):
    """The most numbers that a tensor had."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.numbers = max(self.numbers, *sizes, 0)
        return result


def test_precision_and_recall_hold_a_part_of_all_distances_at_a_time(monkeypatch):
    """All of them are 39 GB for 70,000 images."""
    real, generated = (torch.randn(n, 8, generator=torch.Generator().manual_seed(n)) for n in (90, 70))
    expected = neighbours.precision_recall(real, generated)
    monkeypatch.setattr(neighbours, "BLOCK", 1000)
    with Largest() as largest:
        assert neighbours.precision_recall(real, generated) == expected
    assert largest.numbers <= 1000


def test_the_statistics_of_a_set_hold_a_part_of_its_features_in_float64(monkeypatch):
    features = torch.randn(20_000, 16, generator=torch.Generator().manual_seed(0))
    expected = sets.feature_statistics([features], "fid", "images")
    monkeypatch.setattr(sets, "BLOCK", 16_000)  # a twentieth
    tracemalloc.start()
    found = sets.feature_statistics([features], "fid", "images")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < features.numel() * 8 / 2
    np.testing.assert_allclose(found.mean, expected.mean, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.cov, expected.cov, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["fid", "kid", "precision", "recall"])
def test_sets_are_compared_on_the_gpu(pretend, name):
    ours, theirs = (torch.randn(20, 8, generator=torch.Generator().manual_seed(n)) + 0.3 * n for n in (0, 1))
    reference = sets.ReferenceSet(sets.feature_statistics([theirs], "fid", "theirs"), theirs)
    expected = find(name).compare(ours, reference)
    with pretend("cuda").devices():
        found = find(name).compare(ours.to(DEVICES["cuda"]), reference)
    assert found.value == pytest.approx(expected.value, abs=1e-12)
