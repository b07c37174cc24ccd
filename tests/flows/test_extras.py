"""What is for non-commercial use, or large, is optional: photos and the demo do without it, and messages say what to
install."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from faces.drawn import Head, draw
from PIL import Image

from tasks.basics import ROOT

NON_COMMERCIAL = ("pyiqa", "spandrel_extra_arches")
WITHOUT = f"""
import importlib.metadata, sys
GONE = {(*NON_COMMERCIAL, "facexlib", "gradio", "prefect_dask")}
sys.modules.update(dict.fromkeys(GONE))
found = importlib.metadata.Distribution.from_name
def from_name(name):
    if name.replace("-", "_") in GONE:
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)
importlib.metadata.Distribution.from_name = from_name
"""
"""Before a program: makes these packages missing, for imports and for who asks for their versions."""


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(needs: list[str]) -> set[str]:
    return {re.split(r"[<>=,\[ ]", need)[0].replace("-", "_") for need in needs}


def test_what_make_demo_installs_has_no_package_for_non_commercial_use():
    extras = project()["optional-dependencies"]
    installed = re.search(r"-e '\.\[([\w,]+)\]'", (ROOT / "Makefile").read_text())[1].split(",")
    assert not names([*project()["dependencies"], *(need for name in installed for need in extras[name])]) & {
        *NON_COMMERCIAL
    }
    assert names(extras["metrics"]) | names(extras["codeformer"]) == {*NON_COMMERCIAL}
    assert set().union(*(names(extras[name]) for name in ("metrics", "codeformer", "app", "dask", "heic"))) <= names(
        extras["dev"]
    )


def test_every_extra_that_a_message_names_is_there():
    texts = [path.read_text() for folder in ("tasks", "flows", "docs") for path in (ROOT / folder).rglob("*.[pm][yd]")]
    named = set(re.findall(r"bfr\[(\w+)\]", "\n".join([*texts, (ROOT / "README.md").read_text()])))
    assert {"metrics", "codeformer", "app", "dask", "faces", "heic"} <= named
    assert named <= project()["optional-dependencies"].keys()


def test_photos_are_restored_and_the_demo_has_all_it_needs_without_the_optional_packages(tmp_path: Path):
    photo = tmp_path / "one.png"
    Image.fromarray(draw([Head(5, 140, 100, 90, -8)], 220, 190)[0]).save(photo)
    program = """
from flows import adapt, benchmark, personalize, photos, steps
from flows.cli import call
from flows.preflight import check
from tasks.metrics.registry import find
from tasks.params.load import load_experiment
from tasks.stages.report import environment
assert call(sys.argv[1:]) == 0
check(load_experiment("demo"))
print(environment()["pyiqa"], find("musiq").protocol)
"""
    words = ["restore", str(photo), "-o", str(tmp_path / "out"), "--method", "demo", "-q"]
    command = [sys.executable, "-c", WITHOUT + program, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    restored, rest = done.stdout.splitlines()
    assert restored.startswith("1 photo restored, 1 face →")
    assert rest.startswith("not installed KonIQ")
    assert rest.endswith("pyiqa (not installed)")
