"""Worktrees and folders of DVC's experiments share the main checkout's store."""

import subprocess
from pathlib import Path

from tasks.basics import ROOT
from tasks.running.stage import default_store
from tasks.store.place import main_checkout


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_copies_that_git_and_dvc_make_share_the_main_checkouts_store(tmp_path):
    main = tmp_path / "main"
    main.mkdir()
    (main / "params.yaml").touch()
    git(main, "init", "-q")
    git(main, "add", "-A")
    git(main, "commit", "-qm", "x")
    git(main, "worktree", "add", "-q", str(tmp_path / "other"))
    git(tmp_path, "clone", "-q", "main", "clone")
    assert main_checkout(main) == main
    assert main_checkout(tmp_path / "other") == main
    assert main_checkout(tmp_path / "clone") == tmp_path / "clone"
    for place in (".dvc/tmp/exps/tmpab12", "data/experiments/.dvc/tmp/exps/standalone/tmpab12"):
        assert main_checkout(main / place) == main
    assert main_checkout(tmp_path / "other" / ".dvc/tmp/exps/tmpab12") == main


def test_a_worktree_whose_main_checkout_is_gone_or_bare_has_its_own(tmp_path):
    (tmp_path / ".git").write_text("gitdir: /nowhere/.git/worktrees/x\n")
    assert main_checkout(tmp_path) == tmp_path


def test_the_default_store_is_the_main_checkouts(monkeypatch):
    monkeypatch.delenv("BFR_STORE")
    assert default_store().root == main_checkout(ROOT) / "data" / ".store"
