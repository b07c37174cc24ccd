"""The golden tests run unchanged on another folder of the same layout, as its files are: some hold less, some more."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.conftest import DATA
from golden.test_degradation import LegacyStream

from tasks.basics import ROOT
from tasks.degradation import masks
from tasks.diffusion.lowpass import low_pass, resize

SEED = 7  # of the other folder's masks


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder whose DDIM file ends early, whose fine-tuning has a manifest of its own, and with oblong photos."""
    root = tmp_path_factory.mktemp("golden")
    for place in ("diffusion/manifest_tiny.json", "diffusion/gen2res_finetune.npz"):
        (root / place).parent.mkdir(exist_ok=True)
        shutil.copy(DATA / place, root / place)
    part_of_a_chain(root / "diffusion" / "ddim.npz")
    own = json.loads((DATA / "diffusion" / "manifest_tiny_gen2res.json").read_text())
    (root / "diffusion" / "manifest_tiny_gen2res_finetune.json").write_text(json.dumps(own))
    oblong(root / "diffusion" / "lowpass_oblong.npz")
    (root / "degradation").mkdir()
    seeded_masks(root / "degradation" / "masks.npz")
    return root


def part_of_a_chain(path: Path) -> None:
    file = dict(np.load(DATA / "diffusion" / "ddim.npz"))
    for key in ("noise", "model_t", *(key for key in file if "/" in key)):
        file[key] = file[key][:4]
    np.savez(path, **file)


def oblong(path: Path) -> None:
    x = torch.randn((1, 3, 64, 32), generator=torch.Generator().manual_seed(0))
    np.savez(path, x=x, **{"N8/low": resize(x, 8, 4), "N8/out": low_pass(x, 8)})


def seeded_masks(path: Path) -> None:
    file, stream = dict(np.load(DATA / "degradation" / "masks.npz")), LegacyStream(SEED)
    for name in ("box", "irregular"):
        drawn = []
        for _ in range(8):
            stream.state.choice(1, p=[1.0])
            drawn.append(masks.MASKS[name](256, stream))
        file[f"testseq_{name}"] = np.stack(drawn)
        file[f"testseq_{name}_coverage"] = np.array([mask.mean() for mask in drawn])
    np.savez(path, **file, testseq_seed=SEED)


@pytest.mark.slow
def test_the_golden_tests_pass_on_another_folder(folder):
    files = [f"tests/golden/{name}" for name in ("test_diffusion.py", "test_degradation.py")]
    command = [sys.executable, "-m", "pytest", *files, "-n", "0", "--golden", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
