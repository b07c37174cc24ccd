"""`python -m benchmarks.gpu` on the CPU and without the packages that a bare box lacks."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from benchmarks import gpu
from benchmarks.on_gpu import chain, golden, training
from benchmarks.on_gpu.report import Report
from tasks.basics import ROOT

BARE = """
import sys
from importlib.machinery import PathFinder

LACKING = {"prefect", "dvc", "dvclive", "lpips", "pyiqa", "pytorch_fid", "numba", "pandas", "pyarrow", "cyclopts",
    "fastapi", "facexlib", "hypothesis", "timm", "spandrel_extra_arches"}
own = PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, path=None, target=None: None if name.split(".")[0] in LACKING else own(name, path, target)
)
import runpy

runpy.run_module("benchmarks.gpu", run_name="__main__", alter_sys=True)
"""


def test_the_command_runs_on_a_bare_box(tmp_path):
    words = ["--quick", "--device", "cpu", "--out", tmp_path, "--parts", "device,methods,chain,kernels"]
    command = [sys.executable, "-c", BARE, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(found["tables"]) == 6
    assert all(is_good for is_good, _ in found["checks"])
    assert done.stdout.endswith((tmp_path / "gpu.md").read_text() + "\n")


@pytest.mark.parametrize("name", ["golden", "stage"])
def test_a_part_that_measures_the_tests_or_a_stage_runs_on_the_cpu(name, tmp_path):
    report = Report(tmp_path)
    gpu.run_part(name, report, torch.device("cpu"), True, 0)
    assert report.checks
    assert not report.failed


def test_a_part_that_fails_or_lacks_a_package_is_named_and_the_next_one_goes_on(tmp_path, monkeypatch):
    report = Report(tmp_path)
    monkeypatch.setitem(gpu.PARTS, "failing", gpu.Part("device", 1, "nothing_of_that_name"))
    monkeypatch.setitem(gpu.PARTS, "lacking", gpu.Part("no_such_module", 1))
    for name in ("failing", "lacking"):
        gpu.run_part(name, report, torch.device("cpu"), True, 100)
    assert report.failed == ["failing: AttributeError: module 'benchmarks.on_gpu.device' has no attribute "
        "'nothing_of_that_name'"]  # fmt: skip
    assert report.notes == ["Left out: lacking, for the package benchmarks.on_gpu.no_such_module is not here."]


def test_a_part_for_which_no_time_is_left_is_named(tmp_path):
    report = Report(tmp_path)
    gpu.run_part("kernels", report, torch.device("cpu"), False, 3)
    assert report.notes == ["Left out: kernels, which takes about 5 s, 3 s were left."]
    assert not report.checks


def test_a_chain_whose_images_are_not_finite_fails_its_check(tmp_path, monkeypatch):
    """In whichever image, though the first alone is compared with float32."""
    images = torch.zeros(2, 3, 4, 4)
    monkeypatch.setattr(chain, "chain", lambda *given: (images, 1.0, 1.0))
    report, way = Report(tmp_path), chain.Way("way", torch.nn.Identity(), "bf16", 2, 2)
    images[1, 0, 0, 0] = torch.nan
    chain.measure(report, way, torch.device("cpu"), True)
    assert report.failed == ["Algorithm 1, way: 1 numbers are not finite"]


def test_a_training_whose_later_losses_are_not_numbers_fails_its_check(tmp_path, monkeypatch):
    given = iter([[1.0, 2.0, 3.0], [1.0, 2.0, float("nan")], [1.0, float("nan"), 3.0]])
    monkeypatch.setattr(training, "losses_of", lambda *given_: next(given))
    report = Report(tmp_path)
    training.near(report, torch.device("cpu"), "prior")
    assert len(report.failed) == 2


def test_in_lower_precisions_a_chain_that_enlarges_errors_is_not_judged(tmp_path):
    report, tests, device = Report(tmp_path), golden.golden_tests(), torch.device("cpu")
    with golden.on_device(tests, device):
        golden.check(report, device, "bf16", "test_ddim", tests.test_ddim)
    (rows,) = report.tables.values()
    assert not report.failed
    assert float(rows[0]["rms_error"]) < 2e-2


def test_every_part_is_a_function_of_its_module():
    for part in gpu.PARTS.values():
        assert find_spec(f"benchmarks.on_gpu.{part.module}")
