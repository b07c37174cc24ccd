"""Degradations against what the official code computed, stage by stage and end to end, with injected noise."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.degradation import bicubic, blur_jpeg, celeba_test, masks, raw
from tasks.degradation.blur_jpeg import BlurJpegParams

Near = Callable[..., None]


def crop(image: np.ndarray, like: np.ndarray, top: int = 0) -> np.ndarray:
    """The part of an image that a file stores."""
    return image[top : top + like.shape[0], top : top + like.shape[1]]


def check_final(near: Near, what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """The gate of the golden data: one level, on at most 1 % of the values."""
    near(what, ours, theirs, 1)
    assert (ours != theirs).mean() <= 0.01


# ------------------------------------------------------------------------------------------ blur and JPEG


def blur_jpeg_params(file: Any) -> BlurJpegParams:
    shift = tuple(file["jitter_rgb_shift"].tolist()) if "jitter_rgb_shift" in file.files else None
    names = ("sigma_x", "sigma_y", "theta", "scale", "noise_sigma_255")
    return BlurJpegParams(
        *(float(file[name]) for name in names),
        int(file["jpeg_quality"]),
        channel_shift=shift,
        is_gray=bool(file["to_gray"]),
    )


@pytest.mark.golden("degradation/kernels.npz")
def test_the_gaussian_kernels(case, near):
    file = np.load(case)
    for index, kind in enumerate(file["type"].tolist()):
        if kind not in ("iso", "aniso"):
            continue  # generalised and plateau kernels are in none of the five papers
        sigma_x, sigma_y, theta = (float(file[key][index]) for key in ("sigma_x", "sigma_y", "theta"))
        turned = (sigma_y, theta) if kind == "aniso" else (sigma_x, 0.0)
        expected = file[f"k{index:02d}"]
        near(kind, blur_jpeg.gaussian_kernel(sigma_x, *turned, size=len(expected)), expected, 1e-12)


@pytest.mark.golden("degradation/eq9_*.npz", "degradation/eq17_*.npz")
def test_blur_jpeg(case, near):
    file = np.load(case)
    params, hq = blur_jpeg_params(file), blur_jpeg.to_float(file["input_u8"])
    low = blur_jpeg.low_size(hq.shape[:2], params.scale)
    assert low == tuple(file["lq_hw"])
    blurred = blur_jpeg.blur(hq, params.sigma_x, params.sigma_y, params.theta)
    near("blurred", crop(blurred, file["blurred_crop"]), file["blurred_crop"], 1e-6)
    near("shrunk", blur_jpeg.resize(blurred, low), file["down"], 1e-6)
    near("noisy", blur_jpeg.add_noise(file["down"], params.noise_sigma_255, file["noise_unit"]), file["noisy"], 1e-6)
    decoded = blur_jpeg.jpeg(file["noisy"], params.jpeg_quality)
    near("JPEG, levels", blur_jpeg.to_u8(decoded), file["jpeg_decoded_u8"], 0)
    upsampled = blur_jpeg.resize(decoded, hq.shape[:2])
    if "upsampled_crop" in file.files:
        near("enlarged", crop(upsampled, file["upsampled_crop"]), file["upsampled_crop"], 5e-7)
    if params.is_gray:
        for what, image in (("gray_lq_crop", upsampled), ("gray_gt_crop", hq)):
            near("gray", crop(blur_jpeg.to_gray(image)[..., 0], file[what]), file[what], 1e-6)
    check_final(near, "result, levels", blur_jpeg.apply(hq, params, file["noise_unit"]), file["final_u8"])


@pytest.mark.golden("degradation/jpeg_vectors.npz")
def test_jpeg_is_libjpeg_s_and_pillow_s(case, near, tmp_path):
    file = np.load(case)
    for key in (key for key in file.files if key.startswith("out_")):
        name, quality = re.fullmatch(r"out_(.+)_q(\d+)", key).groups()
        image = file[f"in_{name}"]
        decoded = blur_jpeg.to_u8(blur_jpeg.jpeg(blur_jpeg.to_float(image), int(quality)))
        near("levels", decoded, file[key], 0)
        Image.fromarray(image).save(tmp_path / "image.jpg", quality=int(quality))
        near("levels", np.asarray(Image.open(tmp_path / "image.jpg")), decoded, 0)


@pytest.mark.golden("degradation/celebatest_params.npz")
def test_the_rows_and_the_noise_of_celeba_test(case, near):
    file, rows = np.load(case), celeba_test.rows()
    for key, ours in (
        ("jpeg_q", [row.jpeg_quality for row in rows]),
        ("scale", [row.scale for row in rows]),
        ("noise", [row.noise_sigma_255 for row in rows]),
        ("sigma_x", [row.sigma_x for row in rows]),
        ("sigma_y", [row.sigma_y for row in rows]),
        ("theta_over_pi", [row.theta / np.pi for row in rows]),
    ):
        near(key, ours, file[key], 1e-12)
    drawn = ([unit[0, 0, 2], unit[-1, -1, 0], unit.mean(dtype=np.float64)] for unit in celeba_test.noise_units())
    near("noise", list(drawn), file["noise_first_last_mean_bgr"], 1e-6)


# ----------------------------------------------------------------------------------------------- bicubic


@pytest.mark.golden("degradation/bicubic_sr.npz")
def test_bicubic_super_resolution(case, near):
    file = np.load(case)
    hq = blur_jpeg.to_float(file["input_u8"])
    for key in (key for key in file.files if key.startswith("down_x")):
        scale = int(key.removeprefix("down_x"))
        small = bicubic.resize(hq, hq.shape[0] // scale, hq.shape[1] // scale)
        near("shrunk", small, file[key], 1e-6)
        if f"up_bicubic_x{scale}_crop" in file.files:
            expected = file[f"up_bicubic_x{scale}_crop"]
            enlarged = bicubic.resize(file[key], *hq.shape[:2])
            tops = range(hq.shape[0] - expected.shape[0] + 1)  # where the crop lies is not stated
            top = min(tops, key=lambda t: np.abs(crop(enlarged, expected, t) - expected).max())
            near("enlarged", crop(enlarged, expected, top), expected, 1e-6)


@pytest.mark.golden("degradation/difbfsr_*.npz")
def test_difbfsr(case, near):
    file = np.load(case)
    hq, scale = blur_jpeg.to_float(file["input_u8"]), int(file["scale"])
    kernel = file["kernel"]
    near("kernel", blur_jpeg.gaussian_kernel(float(file["sigma"]), float(file["sigma"]), 0, len(kernel)), kernel, 1e-12)
    near(
        "noisy",
        blur_jpeg.add_noise(file["down_matlab_bicubic"], float(file["noise_sigma_255"]), file["noise_unit"]),
        file["noisy"],
        1e-6,
    )
    lq = bicubic.difbfsr_small(
        hq,
        float(file["sigma"]),
        scale,
        float(file["noise_sigma_255"]),
        file["noise_unit"],
        int(file["jpeg_quality"]),
    )
    check_final(near, "result, levels", blur_jpeg.to_u8(lq), file["lq_u8"])


# --------------------------------------------------------------------------------------------- RAW noise


@pytest.mark.golden("degradation/raw_*.npz")
def test_raw_noise(case, near):
    file = np.load(case)
    b1, b2 = file["noise_b1_b2_dn"].T
    params = raw.RawParams(int(file["scale"]), file["ccm"], file["wb_gains_rgb"], b1, b2, 64, 1023, "GRBG")
    camera_rgb = raw.unprocess(file["input_u8"], params)
    near("linear camera RGB", camera_rgb, file["linear_cam_lr"], 1e-7)
    near("mosaic, DN", raw.mosaic(camera_rgb, params), file["raw_clean_dn"], 1e-3)
    near("noise deviation, DN", raw.noise_std(file["raw_clean_dn"], params), file["noise_std_dn"], 1e-5)
    noisy = raw.add_noise(file["raw_clean_dn"], params, file["noise_unit"])
    near("noisy mosaic, DN", noisy, file["raw_noisy_dn"], 1e-3)
    near("sparse mosaic", raw.sparse_mosaic(file["raw_noisy_dn"], params), file["mosaic_rgb_norm"], 1e-6)
    near("demosaiced", raw.demosaic(file["raw_noisy_dn"], params), file["demosaiced"], 1e-5)
    near("rendered", raw.develop(file["demosaiced"], params), file["rendered"], 1e-5)
    side = file["final_u8"].shape[:2]  # the official code enlarges to 512 whatever the input
    upsampled = raw.resize(file["rendered"], side)
    near("enlarged", crop(upsampled, file["upsampled_crop"], 192), file["upsampled_crop"], 5e-7)
    dn = raw.add_noise(raw.mosaic(camera_rgb, params), params, file["noise_unit"])
    developed = raw.develop(raw.demosaic(dn, params), params)
    check_final(near, "result, levels", raw.finish(developed, side), file["final_u8"])
    lq = raw.apply(file["input_u8"], params, file["noise_unit"])
    assert np.array_equal(lq, raw.finish(developed, file["input_u8"].shape[:2]))


# ------------------------------------------------------------------------------------------------- masks


class LegacyStream:
    """The generators of the official script behind our generator's names."""

    def __init__(self, seed: int) -> None:
        self.state = np.random.RandomState(seed)

    def integers(self, low: int, high: int | None = None) -> int:
        return self.state.randint(low, high)


@pytest.mark.golden("degradation/masks.npz")
def test_the_masks(case, near):
    """Box and irregular masks draw for draw; the others, whose draws differ, by their coverage."""
    file = np.load(case)
    legacy = LegacyStream(int(file["testseq_seed"]) if "testseq_seed" in file.files else 12345)
    for name in ("box", "irregular"):
        drawn = []
        for _ in range(len(file[f"testseq_{name}_coverage"])):
            legacy.state.choice(1, p=[1.0])  # the official script picks among its one active generator
            drawn.append(masks.MASKS[name](256, legacy))
        near(name, drawn[: len(file[f"testseq_{name}"])], file[f"testseq_{name}"], 0)
        near(f"{name}, coverage", [mask.mean() for mask in drawn], file[f"testseq_{name}_coverage"], 1e-7)
    near("expand", masks.expand_mask(256, legacy), file["testseq_expand"][0], 0)
    rng = np.random.Generator(np.random.Philox(1))
    tolerances = {"box": 0.012, "irregular": 0.02, "outpainting": 0.016, "train_mix": 0.02, "half": 1e-6}
    ours = {"train_mix": masks.training_mask, "outpainting": masks.outpainting_mask, **masks.MASKS}
    for name, tolerance in tolerances.items():
        coverage = [ours[name](256, rng).mean() for _ in range(2000)]
        near(f"{name}, mean coverage", np.mean(coverage), file[f"stats_{name}_coverage"].mean(), tolerance)
