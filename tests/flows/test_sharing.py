"""The store and DVC's cache hold one copy of a result, and nobody's change reaches it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.sharing import share, share_with_dvc
from tasks.basics import Strict
from tasks.running.stage import default_store, stage
from tasks.store.artifact import Manifest
from tasks.store.publish import publish


class Size(Strict):
    files: int


@stage
def texts(out: Path, params: Size, record: Manifest) -> None:
    for n in range(params.files):
        (out / f"{n}.txt").write_text(f"of an hour's work, {n}")


def dvc(project: Path, *words: str) -> str:
    command = [Path(sys.executable).with_name("dvc"), *words]
    return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_dvc_holds_the_files_of_the_store_and_gives_them_back(tmp_path):
    result, project = texts(Size(files=3)), tmp_path / "project"
    project.mkdir()
    dvc(project, "init", "--no-scm")
    dvc(project, "config", "cache.type", "reflink,copy")
    (project / "dvc.yaml").write_text("stages: {lq: {cmd: 'true', outs: [lq]}}")
    publish(result.root, project / "lq")
    dvc(project, "commit", "--force", "lq")
    share_with_dvc([result.root], project)
    cached = {path.stat().st_ino for path in (project / ".dvc" / "cache").rglob("*") if path.is_file()}
    assert {path.stat().st_ino for path in result.root.glob("*.txt")} <= cached
    (project / "lq" / "0.txt").write_text("a user's change")  # in place
    assert default_store().verify() == []
    shutil.rmtree(project / "lq")
    dvc(project, "checkout")
    assert (project / "lq" / "0.txt").read_text() == "of an hour's work, 0"
    assert "up to date" in dvc(project, "status")
    dvc(project, "gc", "--workspace", "--force")
    shutil.rmtree(default_store().root)
    shutil.rmtree(project / "lq")
    dvc(project, "checkout")
    assert (project / "lq" / "2.txt").read_text() == "of an hour's work, 2"


def test_only_the_same_bytes_are_shared_and_a_link_stays(tmp_path):
    ours, same, other, linked = (tmp_path / name for name in ("ours", "same", "other", "linked"))
    for path, text in ((ours, "a"), (same, "a"), (other, "b"), (linked, "a")):
        path.write_text(text)
    (tmp_path / "its_link").hardlink_to(linked)
    for path in (same, other, linked):
        share(ours, path)
    assert same.samefile(ours)
    assert other.read_text() == "b"
    assert not linked.samefile(ours)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["its_link", "linked", "other", "ours", "same"]


def test_a_cache_that_is_not_there_is_no_error(tmp_path):
    share_with_dvc([texts(Size(files=1)).root], tmp_path)
    assert list(tmp_path.iterdir()) == [default_store().root]
