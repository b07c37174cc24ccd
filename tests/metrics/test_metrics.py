"""Metrics: against the official arrays, offline and safe loading, seeded features, statistics and intervals."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torch.nn.functional as F
from golden.restorer_weights import arrays, load_manifest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tasks.basics import ROOT, WEIGHTS, BadInput
from tasks.metrics import bootstrap, full_reference, kid, landmarks, perceptual, registry
from tasks.metrics.frechet import frechet_distance
from tasks.metrics.inception import fid_seeded_features
from tasks.metrics.metric import SetMetric
from tasks.metrics.neighbours import precision_recall
from tasks.metrics.sets import FeatureStatistics, ReferenceSet, SetScore, feature_statistics, official_statistics
from tasks.noise import numpy_stream
from tasks.pixels import to_tensor
from tasks.store.files import read_png
from tasks.weights import official
from tasks.weights.file import MissingPackage, MissingWeights, Unavailable

GOLDEN = ROOT / "tests" / "golden" / "data" / "metrics"
PAIRS = json.loads((GOLDEN / "image_metrics.json").read_text())
CPU = torch.device("cpu")
MATH = np.load(GOLDEN / "fid_math.npz")


def image(name):
    """[1, 3, H, W] in [0, 1]."""
    return to_tensor(read_png(GOLDEN / "images" / name))[None]


def pair(name):
    return image(PAIRS[name]["restored"]), image(PAIRS[name]["gt"])


def tiles(name, side=64):
    """The image cut into [N, 3, side, side]."""
    pieces = F.unfold(image(name), side, stride=side)
    return pieces[0].T.reshape(-1, 3, side, side)


def noisy(x, sigma):
    noise = np.random.default_rng(0).standard_normal(x.shape, dtype=np.float32)
    return (x + sigma * torch.from_numpy(noise)).clamp(0, 1)


def blurred(x, sigma):
    offset = torch.arange(-8.0, 9.0)
    weight = torch.exp(-(offset**2) / (2 * sigma**2))
    weight = (weight / weight.sum()).repeat(3, 1, 1, 1)
    padded = F.pad(x, (8, 8, 8, 8), mode="reflect")
    return F.conv2d(F.conv2d(padded, weight, groups=3), weight.mT, groups=3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A weights folder whose trunks are the golden data's stand-ins."""
    folder = tmp_path_factory.mktemp("weights")
    for manifest, file in (("vgg16_features", official.VGG16), ("fid_inception", official.INCEPTION)):
        state = {
            key: torch.from_numpy(value)
            for key, value in arrays(load_manifest(GOLDEN / "manifests" / f"{manifest}.json")).items()
        }
        save(state, folder, file)
    yield folder
    for file in (official.VGG16, official.INCEPTION):
        (folder / file.place).unlink()


def save(state, folder, file):
    path = folder / file.place
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)


# ------------------------------------------------------------------------------------------ full reference


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(
    ("metric", "key", "tolerance"),
    [
        ("psnr", "psnr_rgb", 1e-4),
        ("psnr_matched", "psnr_rgb_corrected", 1e-4),
        ("ssim", "ssim_rgb", 1e-6),
        ("ssim_matched", "ssim_rgb_corrected", 1e-6),
    ],
)
def test_psnr_and_ssim_are_those_of_the_evaluation_scripts(metric, key, tolerance, name):
    value = registry.find(metric).build(Path(), CPU)(*pair(name))
    assert value.item() == pytest.approx(PAIRS[name]["official"][key], abs=tolerance, rel=0)


@pytest.mark.parametrize("metric", ["psnr", "ssim", "psnr_matched", "ssim_matched", "lpips_seeded"])
def test_an_image_has_the_same_value_in_any_batch(metric):
    scorer = registry.find(metric).build(Path(), CPU)
    reference = tiles("gt_c256.png")[:3]
    restored = torch.stack([noisy(reference[0], 0.1), reference[1] * 0.9, blurred(reference[2:], 2)[0]])
    single = torch.cat([scorer(r[None], g[None]) for r, g in zip(restored, reference, strict=True)])
    assert single.shape == (3,)
    torch.testing.assert_close(scorer(restored, reference), single, rtol=0, atol=1e-6)


def test_equal_images_have_infinite_psnr_and_an_ssim_of_one():
    x = tiles("gt_c256.png")[:2]
    assert torch.isposinf(full_reference.psnr(x, x)).all()
    torch.testing.assert_close(full_reference.ssim(x, x), torch.ones(2, dtype=torch.float64))


@given(gain=st.floats(0.2, 1.5), offset=st.floats(-0.3, 0.3))
def test_matching_undoes_any_brightness_and_contrast(gain, offset):
    reference = tiles("gt_c256.png")[:1].double()
    assert full_reference.psnr_matched(reference * gain + offset, reference).item() > 150


def test_matching_a_flat_image_gives_the_mean_of_the_ground_truth():
    reference = tiles("gt_c256.png")[:1]
    flat = torch.full_like(reference, 0.3)
    expected = reference.double().mean(dim=(2, 3), keepdim=True).expand_as(reference)
    torch.testing.assert_close(full_reference.match_mean_std(flat, reference), expected, rtol=0, atol=1e-6)


def test_ssim_says_how_large_an_image_must_be():
    with pytest.raises(BadInput, match="at least 11 x 11 pixels, found 10 x 64"):
        full_reference.ssim(torch.zeros(1, 3, 10, 64), torch.zeros(1, 3, 10, 64))


# ---------------------------------------------------------------------------------------------- perceptual


@pytest.mark.parametrize("name", ["c256_blur", "a203x257_noise"])
def test_lpips_is_that_of_the_reference(weights, name):
    value = registry.find("lpips").build(weights, CPU)(*pair(name))
    expected = json.loads((GOLDEN / "lpips.json").read_text())[name]["vgg"]
    assert value.item() == pytest.approx(expected, abs=1e-5, rel=0)


def test_the_lpips_loss_has_gradients_and_stays_in_evaluation_mode():
    loss = perceptual.perceptual_module("lpips_seeded", Path())
    x = tiles("gt_c256.png")[:2]
    y = noisy(x, 0.1).requires_grad_()
    loss.train()
    value = loss(y, x)
    value.sum().backward()
    assert value.shape == (2,)
    assert y.grad.abs().amax(dim=(1, 2, 3)).min() > 0
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert not any(module.training for module in loss.modules())


def test_lpips_seeded_is_symmetric_and_zero_for_equal_images():
    loss = perceptual.lpips_seeded()
    x = tiles("gt_c256.png")[:4]
    torch.testing.assert_close(loss(x, blurred(x, 2)), loss(blurred(x, 2), x))
    assert torch.equal(loss(x, x), torch.zeros(4))


@pytest.mark.parametrize("name", ["gt_c256.png", "gt_a203x257.png", "gt_c512.png"])
def test_lpips_seeded_rises_with_noise_and_with_blur(name):
    scorer = registry.find("lpips_seeded").build(Path(), CPU)
    x = tiles(name)
    for worse in ([noisy(x, s) for s in (0.02, 0.05, 0.1, 0.2)], [blurred(x, s) for s in (0.5, 1, 2, 4)]):
        values = torch.stack([scorer(y, x) for y in worse])
        assert (values.diff(dim=0) > 0).all(), "for every single tile"
        assert values[-1].mean() > 10 * values[0].mean()


def test_lpips_says_how_large_an_image_must_be():
    with pytest.raises(BadInput, match="at least 31 pixels a side, found 30 x 64"):
        perceptual.lpips_seeded()(torch.zeros(1, 3, 30, 64), torch.zeros(1, 3, 30, 64))


# ---------------------------------------------------------------------------------------------- seeded weights


def weights_digest(network):
    return hashlib.sha256(b"".join(p.numpy().astype("<f4").tobytes() for p in network.parameters())).hexdigest()[:16]


def test_seeded_weights_never_change():
    assert weights_digest(perceptual.lpips_seeded()) == "50a7c2d3a597b158"
    assert weights_digest(fid_seeded_features()) == "94a10c04ab33d42b"


@pytest.mark.parametrize("build", [perceptual.lpips_seeded, fid_seeded_features])
def test_seeded_networks_neither_use_nor_move_the_global_generator(build):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = weights_digest(build())
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert weights_digest(build()) == first


def test_the_seeded_fid_network_is_the_start_of_the_fid_inception(weights):
    whole = registry.find("fid").build(weights, CPU).network.network
    start = fid_seeded_features()
    trained = torch.nn.Sequential(*whole.blocks[:2]).state_dict()
    start.load_state_dict(dict(zip(start.state_dict(), trained.values(), strict=True)))
    x = tiles("gt_c256.png")[:2]
    expected = whole.blocks[1](whole.blocks[0](2 * x - 1)).mean(dim=(2, 3))
    torch.testing.assert_close(start(x), expected)


# -------------------------------------------------------------------------------------------- distribution


def test_fid_features_are_those_of_the_reference(weights):
    golden = np.load(GOLDEN / "inception_features.npz")
    expected = dict(zip(golden["files"], golden["features"], strict=True))
    scorer = registry.find("fid").build(weights, CPU)
    for name in ("gt_a203x257.png", "res_c256_blur.png", "res_c512_colorcast.png"):
        found = scorer.features(image(name))[0, ::4].numpy()
        assert np.abs(found - expected[name]).max() <= 1e-4 * np.abs(expected[name]).max()


def golden_statistics(case, which, batch=7):
    return feature_statistics(torch.from_numpy(MATH[f"{case}/{which}"]).split(batch), "fid", which)


@pytest.mark.parametrize("case", ["full_rank", "rank_deficient"])
def test_the_frechet_distance_is_that_of_the_official_code(case):
    a, b = golden_statistics(case, "a"), golden_statistics(case, "b")
    assert frechet_distance(a, b) == pytest.approx(float(MATH[f"{case}/official"]), abs=1e-4, rel=0)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), abs=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_the_frechet_distance_of_features_that_are_not_numbers_is_none_and_not_the_best_one():
    broken = feature_statistics([torch.tensor([[1.0, 2.0], [torch.nan, 3.0], [0.0, 1.0]])], "fid", "broken")
    assert np.isnan(frechet_distance(broken, feature_statistics([torch.eye(2)], "fid", "b")))


@given(batch=st.integers(1, 300))
def test_statistics_do_not_depend_on_the_batches(batch):
    features = MATH["full_rank/a"].astype(np.float64)
    found = golden_statistics("full_rank", "a", batch)
    assert found.n == 300
    np.testing.assert_allclose(found.mean, features.mean(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.cov, np.cov(features, rowvar=False), rtol=0, atol=1e-11)


def test_statistics_survive_a_round_trip_and_their_digest_tells_sets_apart(tmp_path):
    a, b = golden_statistics("full_rank", "a"), golden_statistics("full_rank", "b")
    a.save(tmp_path / "a.npz")
    loaded = FeatureStatistics.load(tmp_path / "a.npz")
    assert (loaded.metric, loaded.name, loaded.n) == ("fid", "a", 300)
    assert loaded.digest == a.digest != b.digest
    assert frechet_distance(loaded, b) == frechet_distance(a, b)


def test_what_cannot_be_compared_is_refused(tmp_path):
    a = golden_statistics("full_rank", "a")
    other = feature_statistics([torch.rand(4, 32)], "fid_seeded", "photos")
    with pytest.raises(BadInput, match="a has features of fid, photos of fid_seeded"):
        frechet_distance(a, other)
    with pytest.raises(BadInput, match="at least 2 images are needed for a covariance, found 1"):
        feature_statistics([torch.rand(1, 32)], "fid", "one photo")
    (tmp_path / "broken.npz").write_bytes(b"PK nonsense")
    with pytest.raises(BadInput, match=r"broken\.npz cannot be read as feature statistics"):
        FeatureStatistics.load(tmp_path / "broken.npz")


def test_published_statistics_are_read_and_nothing_else_is(tmp_path):
    rng = np.random.default_rng(0)
    torch.save({"name": "FFHQ", "mean": rng.random(4), "cov": np.eye(4)}, tmp_path / "inception_FFHQ.pth")
    read = official_statistics(tmp_path / "inception_FFHQ.pth", "fid", "FFHQ", 70_000)
    np.testing.assert_array_equal(read.mean, np.random.default_rng(0).random(4))
    assert read.n == 70_000
    torch.save({"mean": Path("x"), "cov": np.eye(4)}, tmp_path / "code.pth")
    with pytest.raises(BadInput, match=r"code\.pth: expected a file of tensors, found also objects of Python"):
        official_statistics(tmp_path / "code.pth", "fid", "x", 2)


def test_precision_and_recall_say_how_many_images_they_need():
    with pytest.raises(BadInput, match="need 4 images in each set, found 3 and 9"):
        precision_recall(torch.zeros(3, 2), torch.zeros(9, 2), k=3)


def test_a_peak_on_the_border_is_decoded_without_its_missing_neighbour():
    heatmaps = torch.zeros(1, 2, 8, 8)
    heatmaps[0, 0, 0, 0] = heatmaps[0, 1, 7, 3] = 1.0
    heatmaps[0, 1, 7, 4] = 0.5
    assert landmarks.decode(heatmaps)[0].tolist() == [[0.5, 0.5], [3.75, 7.5]]


def described(features, network="fid_seeded"):
    """A reference set from its features."""
    return ReferenceSet(feature_statistics([features], network, "tiles"), features)


def features_of(images, metric="fid_seeded"):
    """Features [N, D] of a network of the repository."""
    return registry.find(metric).build(WEIGHTS, CPU).features(images)


def value(metric, features, reference):
    return registry.find(metric).compare(features, reference).value


def test_prior_features_are_those_of_the_middle_block_and_say_which_sizes_they_take():
    scorer = registry.find("fid_prior").build(WEIGHTS, CPU)
    seen = []
    scorer.network.prior.middle_block.register_forward_hook(lambda module, given, out: seen.append(out))
    x = tiles("gt_c512.png")[:2]
    scorer.network.prior(2 * x - 1, torch.zeros(2))
    torch.testing.assert_close(scorer.features(x), seen[0].mean(dim=(2, 3)))
    with pytest.raises(BadInput, match="multiples of 16, found 40 x 64"):
        scorer.features(torch.zeros(1, 3, 40, 64))


def test_precision_and_recall_tell_missing_quality_from_missing_variety():
    x = features_of(images := tiles("gt_c512.png"))
    real = described(x)
    assert value("precision_seeded", x, real) == value("recall_seeded", x, real) == 1
    assert value("precision_seeded", features_of(noisy(images, 0.3)), real) < 0.5
    few = x[:8].repeat(len(x) // 8, 1)
    assert value("precision_seeded", few, real) == 1
    assert value("recall_seeded", few, real) < 0.7
    with pytest.raises(Unavailable, match="need 4 images in each set, found 64 and 3"):
        value("recall_seeded", x[:3], real)


@pytest.mark.parametrize(
    ("metric", "network", "at_least"),
    [("fid_seeded", "fid_seeded", 10), ("kid_seeded", "fid_seeded", 3), ("fid_prior", "fid_prior", 2.5)],
)
def test_the_distance_of_sets_rises_with_noise_and_with_blur(metric, network, at_least):
    x = tiles("gt_c512.png")
    clean = described(features_of(x, network), network)
    for worse in ([noisy(x, s) for s in (0.02, 0.05, 0.1)], [blurred(x, s) for s in (0.5, 1, 2)]):
        values = [value(metric, features_of(y, network), clean) for y in worse]
        assert np.diff(values).min() > 0
        assert values[-1] > at_least * abs(values[0])


# ---------------------------------------------------------------------------------------------------- KID


def plain_mmd2(x, y):
    """The unbiased MMD^2 of KID, one pair of points after the other."""
    d, m = len(x[0]), len(x)

    def kernel(a, b):
        return (sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / d + 1) ** 3

    pairs = [(i, j) for i in range(m) for j in range(m)]
    within = sum(kernel(x[i], x[j]) + kernel(y[i], y[j]) for i, j in pairs if i != j) / (m * (m - 1))
    return within - 2 * sum(kernel(x[i], y[j]) for i, j in pairs) / m**2


def two_sets(n, m, d=6):
    rng = np.random.default_rng(4)
    return torch.from_numpy(rng.random((n, d))), torch.from_numpy(rng.random((m, d)) + 0.1)


def test_kid_of_small_sets_is_the_unbiased_mmd_of_the_whole_sets():
    x, y = two_sets(9, 9)
    score = kid.kid(x.float(), described(y.float()))
    assert score.value == pytest.approx(plain_mmd2(x.float(), y.float()), rel=1e-9)
    assert score.spread is None


def test_kid_is_the_mean_over_subsets_and_their_deviation(monkeypatch):
    monkeypatch.setattr(kid, "SUBSETS", 7)
    monkeypatch.setattr(kid, "SUBSET_SIZE", 5)
    x, y = two_sets(11, 14)
    stream, found = numpy_stream(0, "kid", ""), []
    for _ in range(7):
        some, others = stream.choice(11, 5, replace=False), stream.choice(14, 5, replace=False)
        found.append(plain_mmd2(x[some], y[others]))
    score = kid.kid(x, described(y))
    assert score == pytest.approx((np.mean(found), np.std(found)), rel=1e-9)
    assert kid.kid(x, described(y)) == score


def test_kid_is_that_of_pyiqa():
    """pyiqa draws from numpy's global generator, so the sets are as large as the subsets: no draw matters."""
    from pyiqa.archs.fid_arch import mmd_polynomial_kernel

    x, y = two_sets(40, 40, d=64)
    assert kid.kid(x, described(y)).value == pytest.approx(mmd_polynomial_kernel(x.numpy(), y.numpy()))


def test_kid_of_two_samples_of_one_set_is_zero_within_its_spread():
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.standard_normal((1500, 16))) for _ in range(2))
    score = kid.kid(x, described(y))
    assert abs(score.value) < 3 * score.spread < 0.02


def test_kid_takes_a_set_smaller_than_the_other_whole_and_then_has_no_spread(monkeypatch):
    monkeypatch.setattr(kid, "SUBSET_SIZE", 5)
    x, y = two_sets(4, 14)
    assert kid.kid(x, described(y)).spread is None
    assert kid.kid(y, described(x)).spread is None
    with pytest.raises(Unavailable, match="KID needs 2 images in each set, found 14 and 1"):
        kid.kid(x[:1], described(y))


# -------------------------------------------------------------------------------------------- no reference


@pytest.fixture
def offline_only(monkeypatch):
    """Any attempt to reach the network fails."""

    def refuse(*_):
        raise AssertionError("tried to use the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_musiq_scores_as_the_library_does(tmp_path, offline_only):
    import pyiqa

    library = pyiqa.create_metric("musiq", pretrained=False, device=CPU)
    save(library.net.state_dict(), tmp_path, official.MUSIQ_KONIQ)
    x = tiles("gt_c256.png")[:2]
    found = registry.find("musiq").build(tmp_path, CPU)(x)
    torch.testing.assert_close(found, library(x).flatten().double())


def test_maniqa_scores_as_the_library_does(tmp_path, offline_only, monkeypatch):
    import pyiqa
    import timm

    asked = []
    create_model = timm.create_model

    def create_small(name, pretrained):
        asked.append(pretrained)
        return create_model(name, depth=10, mlp_ratio=0.125)

    monkeypatch.setattr(timm, "create_model", create_small)
    monkeypatch.setattr("pyiqa.archs.maniqa_arch.uniform_crop", one_crop)
    library = pyiqa.create_metric("maniqa-pipal", pretrained=False, device=CPU)
    save({"params": library.net.state_dict()}, tmp_path, official.MANIQA_PIPAL)
    x = tiles("gt_c256.png")[:2]
    found = registry.find("maniqa_pipal").build(tmp_path, CPU)(x)
    (tmp_path / official.MANIQA_PIPAL.place).unlink()
    torch.testing.assert_close(found, library(x).flatten().double(), rtol=1e-4, atol=1e-6)
    assert asked == [True, False], "the backbone comes with the checkpoint, so nothing is downloaded"
    assert timm.create_model is create_small


def one_crop(images, crop_size, crop_num):
    """In place of 20 crops of each image, which take minutes."""
    return F.interpolate(images, size=(crop_size, crop_size), mode="bilinear")


@pytest.mark.parametrize("name", ["niqe", "brisque", "piqe"])
def test_what_judges_a_photo_alone_scores_every_photo_by_itself(name, tmp_path):
    score, x = registry.find(name).build(tmp_path, CPU), torch.cat(pair("a203x257_noise"))
    together = score(x)
    assert together.shape == (2,)
    assert together[0] > together[1], "noise is worse"
    torch.testing.assert_close(torch.cat([score(x[:1]), score(x[1:])]), together)


@pytest.mark.parametrize("name", ["niqe", "brisque"])
def test_a_flat_photo_has_no_scene_statistics(name, tmp_path):
    assert registry.find(name).build(tmp_path, CPU)(torch.full((1, 3, 200, 200), 0.5)).isnan().all()


def test_niqe_refuses_images_without_two_blocks(tmp_path):
    with pytest.raises(Unavailable, match="two blocks of 96 x 96 pixels, found 100 x 190"):
        registry.find("niqe").build(tmp_path, CPU)(torch.rand(1, 3, 100, 190))


def test_consistency_sees_what_is_coarse_and_not_what_is_fine():
    lq = torch.cat(pair("a203x257_noise"))[:1]
    fine = (lq + 0.1 * (torch.arange(257) % 2 - 0.5)).clamp(0, 1)
    psnr = registry.find("psnr_input").build(Path(), CPU)
    assert psnr(fine, lq) > 40
    assert psnr((lq + 0.1).clamp(0, 1), lq) < 25
    distance = registry.find("lpips_seeded_input").build(Path(), CPU)
    assert distance(lq, lq) == 0
    assert distance(fine, lq) < distance(lq.flip(3), lq)


@pytest.fixture
def forests(tmp_path):
    """Weights of NRQM: three forests of one leaf each, which say 1, 2 and 3; quality = 0.5 + 1 + 2 * 2 + 0.5 * 3."""
    leaf = np.zeros((1, 1), dtype=np.int64)
    rf = np.empty((1, 3), dtype=object)
    for n in range(3):
        rf[0, n] = dict(zip("abcdefg", (leaf, leaf, leaf, leaf, leaf, leaf + n + 1.0, leaf + 1), strict=True))
    model = {"linear": np.array([[0.5], [1.0], [2.0], [0.5]]), "rf": rf}
    path = tmp_path / official.NRQM_MODEL.place
    path.parent.mkdir(parents=True)
    scipy.io.savemat(path, {"model": model})
    return tmp_path


def test_nrqm_and_pi_follow_their_formulas(forests):
    x = torch.rand(2, 3, 104, 200)  # NIQE needs two blocks of 96
    nrqm, pi, niqe = (registry.find(name).build(forests, CPU) for name in ("nrqm", "pi", "niqe"))
    torch.testing.assert_close(nrqm(x), torch.full((2,), 7.0, dtype=torch.float64))
    torch.testing.assert_close(pi(x), (10 - 7 + niqe(x[..., 4:-4, 4:-4])) / 2)


# ------------------------------------------------------------------------------------------ absent or broken


@pytest.mark.parametrize("metric", [metric for metric in registry.METRICS.values() if metric.needs])
def test_missing_weights_are_named_with_source_licence_and_place(metric, tmp_path):
    with pytest.raises(MissingWeights) as caught:
        registry.find(metric.name).build(tmp_path, CPU)
    file, *_ = metric.needs
    for part in (str(tmp_path / file.place), f"needed by {metric.label.split()[0]}", file.url, file.licence):
        assert part in str(caught.value)


def test_without_pyiqa_its_metrics_say_what_to_install_and_under_which_licence(tmp_path, monkeypatch):
    save({}, tmp_path, official.MUSIQ_KONIQ)
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(MissingPackage, match=r"non-commercial use only.*pip install 'bfr\[metrics\]'"):
        registry.find("musiq").build(tmp_path, CPU)


def truncated(path):
    path.write_bytes(path.read_bytes()[:1000])


def emptied(path):
    path.write_bytes(b"")


def of_another_network(path):
    torch.save({"weight": torch.zeros(3)}, path)


def with_code(path):
    torch.save({"params": {"weight": subprocess.Popen}}, path)


@pytest.mark.parametrize("damage", [truncated, emptied, of_another_network, with_code])
@pytest.mark.parametrize(
    ("metric", "file"), [("lpips", official.VGG16), ("fid", official.INCEPTION), ("musiq", official.MUSIQ_KONIQ)]
)
def test_unusable_weights_are_named_and_never_executed(metric, file, damage, tmp_path):
    save({"weight": torch.zeros(1000)}, tmp_path, file)
    damage(tmp_path / file.place)
    with pytest.raises(BadInput, match=rf"{Path(file.place).name}(: expected a file of| does not hold the)"):
        registry.find(metric).build(tmp_path, CPU)


# ------------------------------------------------------------------------------------------------ registry


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(
        BadInput, match=r"unknown metric 'lpip_seeded'\. Did you mean 'lpips_seeded'\? Valid: psnr, ssim"
    ):
        registry.find("lpip_seeded").build(Path(), CPU)


def test_labels_are_unique_and_protocols_are_one_line():
    metrics = registry.METRICS.values()
    assert len({metric.label for metric in metrics}) == len(metrics)
    assert all(metric.protocol and "\n" not in metric.protocol for metric in metrics)


def test_a_full_reference_metric_needs_a_ground_truth_of_the_same_shape():
    scorer = registry.find("psnr").build(Path(), CPU)
    with pytest.raises(BadInput, match=r"PSNR \(dB\) compares with a ground truth"):
        scorer(torch.zeros(1, 3, 16, 16))
    with pytest.raises(BadInput, match="shape, 1 x 3 x 16 x 16, found 1 x 3 x 16 x 12"):
        scorer(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 12))


@pytest.mark.parametrize("metric", registry.METRICS.values(), ids=lambda metric: metric.name)
def test_an_entry_names_the_code_that_computes_it_and_all_that_changes_its_numbers(metric):
    assert metric.code
    for module in metric.code:
        assert module.startswith("tasks.metrics.")
        assert module not in ("tasks.metrics.registry", "tasks.metrics.metric")  # they hold no metric's arithmetic
    constants = metric.constants
    assert json.loads(json.dumps(constants)) == constants
    assert constants["protocol"] == metric.protocol
    others = [other.constants for other in registry.METRICS.values() if other is not metric]
    assert constants not in others


def test_a_set_metric_is_its_entry_and_its_function(monkeypatch):
    """No other place knows its name: it computes what its entry says, whatever it is called."""

    def farthest(features, reference):
        return SetScore(float(torch.cdist(features, reference.features).max()))

    fid = registry.find("fid_seeded")
    metric = SetMetric("fiddle", "Fiddle", "lower", "…", features=fid.features, compare=farthest, needs_features=True)
    monkeypatch.setitem(registry.METRICS, "fiddle", metric)
    assert registry.find("fiddle@ffhq") is metric
    x = features_of(tiles("gt_c256.png"))
    assert value("fiddle", x, described(2 * x)) == pytest.approx(torch.cdist(x, 2 * x).max().item())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("fid", ("fid", registry.DEFAULT)), ("fid@ffhq", ("fid", "ffhq")), ("kid@real", ("kid", "real"))],
)
def test_a_column_is_a_metric_and_a_reference_set(name, expected):
    assert registry.column(name) == expected
    assert registry.find(name).name == expected[0]


@pytest.mark.parametrize("name", ["fid@", "fid@default", "psnr@real"])
def test_a_column_that_names_no_set_is_refused(name):
    with pytest.raises(ValueError, match=r"only a metric of whole sets \(fid, fid_seeded, .*\) takes @"):
        TypeAdapter(registry.TableMetric).validate_python(name)


def test_the_table_imports_without_pipeline_tools_and_metric_libraries():
    code = (
        "import sys, tasks.metrics.registry, tasks.metrics.bootstrap;"
        "print({'prefect', 'dvc', 'pandas', 'pyiqa', 'lpips', 'torchvision', 'pytorch_fid'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


# ----------------------------------------------------------------------------------------------- intervals


def test_intervals_cover_the_truth_as_often_as_theory_says():
    """On the same normal data as mean +- 1.96 s / sqrt(n), so that the luck of the draw cancels."""
    n, trials = 64, 200
    data = 3 + np.random.default_rng(0).standard_normal((trials, n))
    mean, half = data.mean(axis=1), 1.96 * data.std(axis=1) / np.sqrt(n)
    _, low, high = np.array([bootstrap.mean_interval(values) for values in data]).T
    assert np.abs(low - (mean - half)).max() < 0.2 * half.mean()
    assert np.abs(high - (mean + half)).max() < 0.2 * half.mean()
    assert np.mean((low < 3) & (high > 3)) == pytest.approx(np.mean(np.abs(mean - 3) < half), abs=0.02)


def test_pairing_removes_what_both_methods_share():
    rng = np.random.default_rng(0)
    difficulty = 5 * rng.standard_normal(64)
    a, b = difficulty + 0.5 + 0.1 * rng.standard_normal(64), difficulty + 0.1 * rng.standard_normal(64)
    mean, low, high = bootstrap.paired_difference(a, b)
    assert mean == pytest.approx(a.mean() - b.mean())
    assert 0.4 < low < mean < high < 0.6
    assert bootstrap.mean_interval(a).low < bootstrap.mean_interval(b).high, "unpaired, nothing is decided"
    assert bootstrap.paired_difference(b, a).mean == -mean


def test_equal_values_give_an_equal_interval_on_every_call():
    values = np.random.default_rng(1).standard_normal(20)
    assert bootstrap.mean_interval(values) == bootstrap.mean_interval(list(values))
    assert bootstrap.mean_interval([2.0, 2.0]) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [([1.0], "at least 2"), ([[1.0, 2.0]], "shape"), ([1.0, float("inf")], "found 1 that are not")],
)
def test_an_interval_needs_several_finite_values(values, message):
    with pytest.raises(ValueError, match=message):
        bootstrap.mean_interval(values)


def test_pairs_must_be_complete():
    with pytest.raises(ValueError, match="two values for every image"):
        bootstrap.paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
