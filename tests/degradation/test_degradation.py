import json
import re
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torchvision.transforms.functional as torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from tasks.basics import ROOT, BadInput
from tasks.degradation import blur_jpeg, camera, celeba_test, masks, raw
from tasks.degradation.blur_jpeg import BlurJpegParams, PhotometricJitter, apply, to_float
from tasks.degradation.camera import PUBLISHED_CAMERA, CalibratedCcms, Camera, NoiseDn, NormalIlluminant, load_camera
from tasks.degradation.demosaic import bayer_network
from tasks.degradation.preset import degrade
from tasks.degradation.presets import PRESETS

GOLDEN = ROOT / "tests" / "golden" / "data" / "degradation"
CROP = np.s_[:40, :40]


def load(case):
    with np.load(GOLDEN / f"{case}.npz") as arrays:
        return dict(arrays)


def stream(seed=0):
    return np.random.Generator(np.random.Philox(seed))


def assert_within(found, expected, tolerance):
    np.testing.assert_allclose(np.asarray(found, dtype=np.float64), expected, rtol=0, atol=tolerance)


def assert_final_uint8(found, expected):
    """The golden's gate: one level on at most 1 % of the values."""
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.01


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


# ------------------------------------------------------------------------------------- blur, JPEG: golden


def blur_jpeg_params(golden):
    return BlurJpegParams(
        float(golden["sigma_x"]),
        float(golden["sigma_y"]),
        float(golden["theta"]),
        float(golden["scale"]),
        float(golden["noise_sigma_255"]),
        int(golden["jpeg_quality"]),
        channel_shift=tuple(golden["jitter_rgb_shift"].tolist()) if "jitter_rgb_shift" in golden else None,
        is_gray=bool(golden["to_gray"]),
    )


@given(
    size=st.tuples(st.integers(48, 130), st.integers(48, 130)),
    sigmas=st.tuples(st.floats(0.1, 15), st.floats(0.1, 15)),
    theta=st.floats(-3, 3),
    scale=st.floats(0.8, 12),
    is_isotropic=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_blur_and_shrink_is_the_blur_of_the_whole_image_then_the_resize(size, sigmas, theta, scale, is_isotropic):
    image = stream(1).random((*size, 3), dtype=np.float32)
    sigma_x, sigma_y = (sigmas[0], sigmas[0]) if is_isotropic else sigmas
    kernel = blur_jpeg.gaussian_kernel(sigma_x, sigma_y, theta)
    blurred = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    small = blur_jpeg.low_size(size, scale)
    expected = cv2.resize(blurred, small[::-1], interpolation=cv2.INTER_LINEAR)
    found = blur_jpeg.blur_and_shrink(image, BlurJpegParams(sigma_x, sigma_y, theta, scale, 0, 90))
    assert_within(found, expected, 2e-6)


@given(
    factors=st.tuples(st.floats(0.5, 1.5), st.floats(0.5, 1.5), st.floats(0, 1.5), st.floats(-0.1, 0.1)),
    order=st.permutations(["brightness", "contrast", "saturation", "hue"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_photometric_jitter_is_torchvisions(factors, order, seed):
    image = stream(seed).random((16, 12, 3), dtype=np.float32)
    jitter = PhotometricJitter(*factors, order=tuple(order))
    expected = torch.from_numpy(image).permute(2, 0, 1)
    for name in order:
        expected = getattr(torchvision, f"adjust_{name}")(expected, getattr(jitter, name))
    assert_within(blur_jpeg.jitter(image, jitter), expected.permute(1, 2, 0).numpy(), 2e-5)


# ---------------------------------------------------------------------------------- blur, JPEG: properties


@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(blur_jpeg.PRESETS)))
@settings(deadline=None)
def test_drawn_parameters_lie_in_the_presets_ranges(seed, name):
    ranges = blur_jpeg.PRESETS[name]
    params = blur_jpeg.draw(stream(seed), ranges)
    for value, (low, high) in (
        (params.sigma_x, ranges.blur_sigma),
        (params.sigma_y, ranges.blur_sigma),
        (params.theta, (-np.pi, np.pi)),
        (params.scale, ranges.scale),
        (params.noise_sigma_255, ranges.noise_sigma_255),
        (params.jpeg_quality, ranges.jpeg_quality),
    ):
        assert low <= value <= high
    assert isinstance(params.jpeg_quality, int)


def test_half_of_the_kernels_are_isotropic_and_rare_events_come_as_often_as_published():
    rng, ranges = stream(), blur_jpeg.PRESETS["gfpgan"]
    drawn = [blur_jpeg.draw(rng, ranges) for _ in range(4000)]
    rates = [
        np.mean([p.sigma_x == p.sigma_y for p in drawn]),
        np.mean([p.channel_shift is not None for p in drawn]),
        np.mean([p.photometric is not None for p in drawn]),
        np.mean([p.is_gray for p in drawn]),
    ]
    assert_within(rates, [0.5, 0.3, 0.3, 0.01], 0.03)


@given(height=st.integers(4, 70), width=st.integers(4, 70), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_blur_jpeg_keeps_the_shape_of_any_photo_and_repeats_itself(height, width, seed):
    hq = stream(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    lq = degrade(hq, PRESETS["demo128"], stream(seed))
    assert lq.shape == hq.shape
    assert lq.dtype == np.uint8
    assert np.array_equal(lq, degrade(hq, PRESETS["demo128"], stream(seed)))


def test_a_narrow_kernel_leaves_the_photo_unchanged():
    image = stream().random((20, 20, 3), dtype=np.float32)
    assert_within(blur_jpeg.blur(image, 0.1, 0.1, 0.0), image, 1e-7)
    assert_within(blur_jpeg.blur(image, 0.1, 0.10001, 1.0), image, 1e-6)


def test_skipping_the_kernels_empty_border_changes_nothing_that_counts(monkeypatch):
    image = stream().random((64, 64, 3), dtype=np.float32)
    fast = [blur_jpeg.blur(image, 1.5, sigma_y, 0.7) for sigma_y in (1.5, 3.0)]
    monkeypatch.setattr(blur_jpeg, "NEGLIGIBLE_WEIGHT", -1.0)
    for narrow, sigma_y in zip(fast, (1.5, 3.0), strict=True):
        assert_within(narrow, blur_jpeg.blur(image, 1.5, sigma_y, 0.7), 1e-6)


def test_the_target_is_gray_only_where_the_preset_says_so():
    hq = load("eq9_01_iso")["input_u8"]
    always = replace(blur_jpeg.PRESETS["difface"], gray_prob=1.0)
    lq, target = always.training_pair(hq, stream())
    assert np.array_equal(lq[..., 0], lq[..., 2])
    assert np.array_equal(target[..., 0], target[..., 2])
    lq, target = replace(always, gray_target=False).training_pair(hq, stream())
    assert np.array_equal(lq[..., 0], lq[..., 2])
    assert target is hq


def test_a_photo_that_shrinks_to_nothing_is_an_error():
    with pytest.raises(ValueError, match="8 x 8 image divided by r = 30 leaves no pixel"):
        blur_jpeg.low_size((8, 8), 30.0)


def test_ranges_the_wrong_way_round_are_an_error():
    with pytest.raises(ValueError, match=r"scale: expected 0 <= low <= high, found \(8, 1\)"):
        blur_jpeg.BlurJpegRanges((0.1, 2), (8, 1), (0, 20), (30, 100))


@pytest.mark.parametrize("wrong", [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8)])
def test_anything_but_a_uint8_rgb_photo_is_an_error(wrong):
    with pytest.raises(ValueError, match=r"expected a uint8 image \[H, W, 3\], found"):
        degrade(wrong, PRESETS["demo128"], stream())


# --------------------------------------------------------------------------------------------- RAW: golden


def raw_params(golden):
    b1, b2 = golden["noise_b1_b2_dn"].T
    return raw.RawParams(int(golden["scale"]), golden["ccm"], golden["wb_gains_rgb"], b1, b2, 64, 1023, "GRBG")


def test_the_demosaicing_network_has_the_published_size():
    assert sum(parameter.numel() for parameter in bayer_network().parameters()) == 560_886


# ----------------------------------------------------------------------------------------- RAW: properties

NOISELESS = PUBLISHED_CAMERA.model_copy(update={"noise": (NoiseDn(iso=100, b1=0, b2=0),)})


def test_averaging_before_the_colour_matrix_is_exact():
    hq = load("eq9_01_iso")["input_u8"]
    params = raw.draw(stream(), raw.RawSettings(4, 1500))
    inverse = np.linalg.inv(params.ccm / params.ccm.sum(axis=1, keepdims=True))
    full_size = (hq / 255) ** 2.2 @ inverse.T / params.wb_gains
    averaged = full_size.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
    assert_within(raw.unprocess(hq, params), np.clip(averaged, 0, 1), 1e-12)


def test_the_ccm_is_row_normalised_on_the_way_to_the_sensor_and_not_on_the_way_back():
    ccm = np.array([[1.6, -0.5, -0.08], [-0.3, 1.5, -0.2], [0.0, -0.6, 1.63]])
    params = replace(raw.draw(stream(), raw.RawSettings(4, 1500)), ccm=ccm)
    gray = np.full((8, 8, 3), 128, dtype=np.uint8)
    sensor = raw.unprocess(gray, params)
    assert_within(sensor * params.wb_gains, (128 / 255) ** 2.2, 1e-12)
    assert_within(raw.develop(sensor, params) ** 2.2, np.broadcast_to((128 / 255) ** 2.2 * ccm.sum(1), (2, 2, 3)), 1e-6)


def test_a_noiseless_camera_returns_a_smooth_photo():
    ramp = np.linspace(40, 215, 64)
    hq = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], 128 + 0 * ramp[:, None]), axis=-1).astype(np.uint8)
    lq = degrade(hq, raw.RawSettings(1, 100, NOISELESS), stream())
    inside = np.s_[4:-4, 4:-4]
    assert psnr(lq[inside], hq[inside]) > 38


@pytest.mark.parametrize(
    ("cfa", "flip"), [("RGGB", np.s_[:, ::-1]), ("BGGR", np.s_[::-1]), ("GBRG", np.s_[::-1, ::-1])]
)
def test_the_other_cfa_orders_are_mirror_images_of_grbg(cfa, flip):
    hq = load("eq9_01_iso")["input_u8"]
    grbg = replace(raw.draw(stream(), raw.RawSettings(4, 1500)), b1=np.full(4, 5.0), b2=np.full(4, -200.0))
    noise_unit = stream(1).standard_normal((32, 32))

    def developed(image, params, noise):
        dn = raw.add_noise(raw.mosaic(raw.unprocess(image, params), params), params, noise)
        return raw.develop(raw.demosaic(dn, params), params)

    mirrored = developed(np.ascontiguousarray(hq[flip]), replace(grbg, cfa=cfa), noise_unit[flip])
    assert_within(mirrored[flip], developed(hq, grbg, noise_unit), 1e-5)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_severe_raw_noise_is_worse_than_moderate_and_repeats_itself(scale):
    hq = load("eq9_02_aniso")["input_u8"]
    moderate, severe = (degrade(hq, PRESETS[f"raw_x{scale}_{name}"], stream(3)) for name in ("moderate", "severe"))
    assert moderate.shape == hq.shape
    assert np.array_equal(moderate, degrade(hq, PRESETS[f"raw_x{scale}_moderate"], stream(3)))
    assert psnr(moderate, hq) > psnr(severe, hq) + 0.5


def test_noise_has_the_variance_of_the_camera():
    params = raw.draw(stream(), raw.RawSettings(4, 1500))
    dn = np.full((256, 256), 500, dtype=np.float32)
    noise = raw.add_noise(dn, params, stream(5).standard_normal(dn.shape)) - dn
    x = (500 - 64) / 959
    assert noise.std() == pytest.approx(959 * np.sqrt(6.1e-3 * x + 1.23e-4), rel=0.01)


def test_a_size_that_leaves_an_odd_sensor_is_an_error():
    with pytest.raises(ValueError, match="RAW x4: height and width must be multiples of 8, found 64 x 60"):
        degrade(np.zeros((64, 60, 3), np.uint8), PRESETS["raw_x4_moderate"], stream())


# -------------------------------------------------------------------------------------------------- camera


def example():
    return json.loads(re.search(r"^    \{.*?^    \}$", camera.__doc__, re.DOTALL | re.MULTILINE).group())


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_the_camera_file_of_the_documentation_loads_and_degrades(tmp_path):
    mine = load_camera(write(tmp_path / "camera.json", example()))
    hq = load("eq9_01_iso")["input_u8"]
    lq = degrade(hq, replace(PRESETS["raw_x4_moderate"], camera=mine, iso=800), stream())
    assert 10 < psnr(lq, hq) < 40


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"cfa": "RGBG"}, r"camera\.json: cfa: Input should be 'RGGB'"),
        ({"whitelevel": 1023}, r"camera\.json: whitelevel: Extra inputs"),
        ({"black_level": 2000}, r"black_level 2000.0 must be below white_level 1023"),
        ({"noise": [{"iso": 100, "b1": 1, "b3": 2}]}, r"camera\.json: noise\.0\.b1, b2\.b2: Field required"),
        (
            {"noise": [{"iso": iso, "shot": 1e-3, "read": 0} for iso in (200, 100)]},
            r"iso must rise .* \[200.0, 100.0\]",
        ),
        ({"colour": {"kind": "ccm", "matrices": [[[1, 0, 0]] * 3]}}, r"expected an invertible colour matrix"),
        ({"white_balance": {"kind": "daylight"}}, r"camera\.json: white_balance: .*'uniform', 'normal'"),
    ],
)
def test_a_wrong_camera_file_names_the_file_and_the_key(tmp_path, edit, message):
    with pytest.raises(BadInput, match=message):
        load_camera(write(tmp_path / "camera.json", example() | edit))


def test_a_missing_camera_file_is_a_clear_error(tmp_path):
    with pytest.raises(BadInput, match=r"camera file .*nowhere\.json is missing"):
        load_camera(tmp_path / "nowhere.json")


def test_the_two_forms_of_noise_are_the_same_noise():
    dn = example() | {"noise": [{"iso": 100, "b1": 0.959 * 6.1, "b2": 959**2 * 1.23e-4 - 64 * 0.959 * 6.1}]}
    normalised = example() | {"noise": [{"iso": 100, "shot": 6.1e-3, "read": 1.23e-4}]}
    for found, expected in zip(*(Camera.model_validate(c).noise_dn(100) for c in (dn, normalised)), strict=True):
        assert_within(found, expected, 1e-9)


def test_noise_is_linear_in_iso_between_entries_and_an_error_beyond():
    (b1_low, b2_low), (b1, b2), (b1_high, b2_high) = (PUBLISHED_CAMERA.noise_dn(iso) for iso in (1500, 2250, 3000))
    assert_within(b1, (b1_low + b1_high) / 2, 1e-9)
    assert_within(b2, (b2_low + b2_high) / 2, 1e-9)
    with pytest.raises(BadInput, match=r"ISO 3200 lies outside its noise table \(1500 to 3000\)"):
        PUBLISHED_CAMERA.noise_dn(3200)


def test_published_ccms_keep_white():
    rng, gains = stream(), np.array([2.0, 1.0, 1.7])
    for _ in range(20):
        assert_within(PUBLISHED_CAMERA.colour.draw(rng, gains).sum(axis=1), np.ones(3), 1e-12)


def test_a_calibrated_ccm_is_its_own_at_its_illuminant_and_between_its_neighbours_elsewhere():
    ccms = [np.eye(3) + 0.1 * i for i in range(4)]
    gains = [(1.5, 2.5), (2.0, 2.0), (2.5, 1.5), (4.0, 1.1)]
    entries = [{"ccm": c.tolist(), "gains": g} for c, g in zip(ccms, gains, strict=True)]
    colour = CalibratedCcms.model_validate({"kind": "calibrated_ccm", "entries": entries})
    assert_within(colour.draw(stream(), np.array([2.0, 1.0, 2.0])), ccms[1], 1e-6)
    between = colour.draw(stream(), np.array([2.2, 1.0, 1.8]))
    assert np.all(between > ccms[0])
    assert np.all(between < ccms[2])


def test_a_normal_illuminant_stays_inside_its_limits():
    illuminant = NormalIlluminant(
        kind="normal", mean=(0.6, 0.5), covariance=((0.02, -0.01), (-0.01, 0.008)), low=(0.4, 0.3), high=(1.0, 0.65)
    )
    gains = np.array([illuminant.draw(stream(seed)) for seed in range(200)])
    assert np.all(gains[:, 1] == 1)
    assert np.all((1 / gains[:, 0] > 0.4) & (1 / gains[:, 0] < 1.0))
    assert np.all((1 / gains[:, 2] > 0.3) & (1 / gains[:, 2] < 0.65))


# --------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize(
    ("name", "draw", "tolerance"),
    [
        ("box", masks.box_mask, 0.012),
        ("irregular", masks.irregular_mask, 0.02),
        ("outpainting", masks.outpainting_mask, 0.016),
        ("train_mix", masks.training_mask, 0.02),
    ],
)
def test_masks_cover_as_much_as_the_references(name, draw, tolerance):
    expected, rng = load("masks")[f"stats_{name}_coverage"], stream(3)
    coverage = np.array([draw(256, rng).mean() for _ in range(2000)])
    assert coverage.mean() == pytest.approx(expected.mean(), abs=tolerance)
    assert ks_2samp(coverage, expected).pvalue > 0.001


def test_expand_and_half_masks_are_the_references():
    golden, rng = load("masks"), stream()
    assert np.array_equal(masks.expand_mask(256, rng), golden["testseq_expand"][0])
    drawn = {masks.half_mask(256, rng).tobytes() for _ in range(30)}
    assert drawn == {mask.tobytes() for mask in golden["testseq_half"]}


@pytest.mark.parametrize("name", sorted(masks.MASKS))
def test_masks_of_other_sizes_cover_as_much(name):
    small, full = (
        np.mean([masks.MASKS[name](n, rng).mean() for _ in range(600)])
        for n, rng in ((64, stream(1)), (256, stream(2)))
    )
    assert small == pytest.approx(full, abs=0.04)


@pytest.mark.parametrize("name", sorted(masks.PRESETS))
def test_a_mask_is_a_degradation_like_others(name):
    hq = np.full((64, 64, 3), 9, np.uint8)
    lq, again = (degrade(hq, PRESETS[name], stream(4)) for _ in range(2))
    assert np.array_equal(lq, again)
    assert set(np.unique(lq)) == {0, 9}
    with pytest.raises(ValueError, match="masks are made for square photos, found 64 x 32 pixels"):
        degrade(hq[:32], PRESETS[name], stream())


def test_a_masked_photo_is_black_in_the_hole_and_itself_elsewhere():
    hq = load("eq9_02_aniso")["input_u8"]
    mask = masks.box_mask(256, stream())
    lq = masks.mask_image(hq, mask)
    assert not lq[mask].any()
    assert np.array_equal(lq[~mask], hq[~mask])


# ------------------------------------------------------------------------------------------------- package


def test_the_package_needs_no_pipeline_tools():
    code = "import sys, tasks.degradation; print(*{'prefect', 'dvc', 'pandas'} & set(sys.modules))"
    root = ROOT
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_the_table_of_celeba_test_ends_after_its_4000_photos():
    hq = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(BadInput, match=r"celeba_test: the table has 4000 photos, found more"):
        celeba_test.CelebaTest().degrade(hq, np.random.default_rng(0), 4000)


def test_celeba_test_has_the_official_noise_whatever_the_seed_and_the_order():
    hq = np.full((64, 64, 3), 128, np.uint8)
    preset, units = celeba_test.CelebaTest(), celeba_test.noise_units(64, 64)
    for position, unit in zip(range(3), units, strict=False):
        expected = apply(to_float(hq), celeba_test.rows()[position], unit)
        for seed in (0, 1):
            np.testing.assert_array_equal(preset.degrade(hq, np.random.default_rng(seed), position), expected)


def test_the_severity_sweep_has_400_photos_for_each_scale():
    groups = celeba_test.CelebaTest().groups(4000)
    assert [*groups] == list(range(4, 41, 4))
    assert {len(positions) for positions in groups.values()} == {400}
    assert celeba_test.CelebaTest().groups(101).keys() == {4, 8}
