"""Stages on the second of two pretended GPUs, whose first is taken, and on Apple's."""

import fcntl

import numpy as np
import pytest
from pydantic import TypeAdapter

from tasks.basics import WEIGHTS
from tasks.data.ingest import PhotoFolder
from tasks.methods.dt_bfr import PseudoTargets
from tasks.models.table import AnyTraining
from tasks.running import device
from tasks.running.stage import default_store
from tasks.stages import train as train_stage
from tasks.stages.evaluate import EvaluateParams, evaluate
from tasks.stages.finetune import FineTuneParams, finetune
from tasks.stages.generate import GenerateParams, generate
from tasks.stages.ingest import IngestParams, ingest
from tasks.stages.personalize import PersonalizeParams, personalize
from tasks.stages.pseudo_targets import PseudoTargetParams, pseudo_targets
from tasks.stages.reference import ReferenceParams, reference
from tasks.stages.restore import RestoreParams, restore
from tasks.stages.train import TrainParams, train
from tasks.store.files import read_json, write_png
from tasks.training.swinir_gan import FineTune

DEMO = WEIGHTS / "demo"
PRIOR, SWINIR = DEMO / "prior.safetensors", DEMO / "swinir.safetensors"
STEPS = {"iterations": 2, "batch": 2, "lr": 1e-4}
TARGETS = PseudoTargets(respacing="5", start_t=300, stop_t=100, factor=4, bf16=True)
GAN = FineTune(
    **STEPS,
    micro_batch=1,
    lr_min=1e-5,
    lambda_lpips=0.1,
    lambda_gan=0.1,
    perceptual="lpips_seeded",
    discriminator_width=8,
)
TRAINING = {"kind": "prior", "arch": "demo128", "seed": 0, "lr_min": 1e-5, "ema": 0.9} | STEPS
DIFFACE = {"kind": "difface", "respacing": "5", "start_t": 400, "eta": 0.5}
SETS = ("fid_seeded", "precision_seeded")


def evaluated(photos):
    known = reference(ReferenceParams(label="x", metrics=SETS), images=photos)
    return evaluate(EvaluateParams(metrics=("psnr", "lpips_seeded", *SETS)), images=photos, hq=photos, default=known)


STAGES = {
    "pseudo_targets": lambda photos: pseudo_targets(
        PseudoTargetParams(seed=1, arch="demo128", settings=TARGETS), restored=photos, weights=PRIOR
    ),
    "restore": lambda photos: restore(
        RestoreParams(method=DIFFACE, prior="demo128", estimator={"arch": "swinir"}, seed=1),
        lq=photos,
        weights=PRIOR,
        estimator=SWINIR,
    ),
    "generate": lambda photos: generate(
        GenerateParams(seed=0, arch="demo128", respacing="2", count=2, size=32), weights=PRIOR
    ),
    "personalize": lambda photos: personalize(
        PersonalizeParams(arch="demo128", seed=0, **STEPS), album=photos, weights=PRIOR
    ),
    "finetune": lambda photos: finetune(
        FineTuneParams(seed=1, arch="swinir", settings=GAN), lq=photos, targets=photos, real=photos, weights=SWINIR
    ),
    "train": lambda photos: train(
        TrainParams(training=TypeAdapter(AnyTraining).validate_python(TRAINING)), photos=photos
    ),
    "evaluate": evaluated,
}


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for n in range(5):
        colour = np.random.default_rng(n).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        write_png(tmp_path / "photos" / f"{n}.png", colour.repeat(4, 0).repeat(4, 1))
    return ingest(IngestParams(size=32, fit="crop"), folder=PhotoFolder(tmp_path / "photos"))


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_stage_computes_on_the_device_that_it_holds(pretend, photos, monkeypatch, kind, name):
    monkeypatch.setattr(train_stage, "HELD_OUT", 2)
    its = pretend(kind)
    device.LOCKS.mkdir()
    with (device.LOCKS / "gpu-0").open("w") as lock, its.devices():
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = STAGES[name](photos)
    assert its.seen == {"cuda": {"cuda:1"}, "mps": {"mps:0"}}[kind]
    if kind == "cuda":
        assert read_json(default_store().root / "timings" / f"{made.manifest.key}.json")["device"] == "pretended 1"
