"""What must be there before any work: of what runs, and of nothing else; published sets have the photos they had."""

import logging

import numpy as np
import pytest
from PIL import Image

from flows import photos
from flows.adapt import ready_crops
from flows.preflight import check
from tasks.basics import BadInput
from tasks.params.load import load_experiment


def missing(work) -> str:
    with pytest.raises(BadInput) as caught:
        work()
    return str(caught.value)


def test_adapting_asks_for_what_adaptation_needs_and_for_no_other_method(tmp_path):
    """The experiment's table has DifFace and GFPGAN as well, and reference statistics."""
    text = missing(lambda: ready_crops(str(tmp_path), experiment="dt_bfr_codeformer"))
    for needed in ("codeformer.pth", "iddpm_ffhq512_ema500000.pth"):
        assert needed in text
    assert "ffhq_512" in missing(lambda: ready_crops(str(tmp_path), experiment="dt_bfr_swinir"))
    for other in (
        "ffhq_512",
        "GFPGANv1.3.pth",
        "swinir_restoration512_L1.pth",
        "inception_CelebA-Test-500.pth",
        "celeba_hq_3000",
    ):
        assert other not in text


@pytest.mark.parametrize(
    ("flow", "given", "needs"),
    [
        ("adapt", [], "swinir_gan_v1.pth"),
        ("restore", [], "GFPGANv1.3.pth"),
        ("personalize", ["album"], "base_256.pt"),
    ],
)
def test_a_deployment_takes_the_command_s_models_and_never_the_demo_s_unasked(tmp_path, flow, given, needs):
    Image.fromarray(np.zeros((90, 90, 3), np.uint8)).save(tmp_path / "a.png")
    photo = str(tmp_path / "a.png")
    run = getattr(photos, flow).fn
    assert f"{needs} is missing" in missing(lambda: run(*[photo] * len(given), photo))
    if flow != "restore":  # which keeps a photo without a face as it is
        said = missing(lambda: run(*[photo] * len(given), photo, method="demo", out=str(tmp_path / "out")))
        assert said.startswith("No face of 20 pixels or more")


def test_a_run_asks_for_everything_at_once():
    text = missing(lambda: check(load_experiment("dt_bfr_codeformer")))
    for needed in ("codeformer.pth", "GFPGANv1.3.pth", "inception_CelebA-Test-500.pth", "celeba_hq_3000"):
        assert needed in text
    assert text.count("celeba_hq_3000 ") == 1
    assert "The published set has 3000 photos." in text


@pytest.mark.parametrize("kind", ["folders", "real"])
def test_another_number_of_photos_than_the_published_set_is_warned_of(kind, tmp_path, caplog):
    for name in ("hq", "tuned"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name / "a.png")
    photos = str(tmp_path / "hq")
    settings = {
        "folders": {"kind": "folders", "size": 64, "hq": photos, "real": photos, "expected": 4000},
        "real": {
            "kind": "real",
            "size": 64,
            "real": photos,
            "sets": {"a": {"test": photos, "finetune": str(tmp_path / "tuned"), "expected_finetune": 970}},
        },
    }
    demo = load_experiment("demo")
    dataset = type(demo).model_validate(
        {
            "title": "t",
            "seed": 0,
            "methods": ["lq"],
            "metrics": ["sharpness"],
            "dataset": settings[kind],
            "degradations": {"eq9": {"preset": "demo128"}} if kind == "folders" else {},
        }
    )
    with caplog.at_level(logging.WARNING):
        check(dataset)
    place = (
        "hq has 1 photos, the published set 4000" if kind == "folders" else "tuned has 1 photos, the published set 970"
    )
    assert place in caplog.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"degradations": {"mine": {"preset": "raw_x2_moderate", "camera": "/dev/zero", "iso": 100}}},
            "found a folder, a",
        ),
        (
            {"degradations": {"mine": {"preset": "raw_x2_moderate", "camera": "no.json", "iso": 100}}},
            "no.json is missing",
        ),
        ({"compare": {"mine": {"images": "~nobody-at-all/x"}}}, "Write the whole path"),
    ],
)
def test_files_that_settings_name_are_looked_at_before_any_work(changes, said):
    demo = load_experiment("demo")
    assert said in missing(lambda: check(type(demo).model_validate(demo.model_dump() | changes)))
