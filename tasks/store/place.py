"""Which checkout's store a checkout uses: its own, but for copies that git and DVC make of a checkout."""

from functools import cache
from pathlib import Path

EXPERIMENTS = (".dvc", "tmp", "exps")  # where `dvc exp run --queue` and `--temp` put their copies


@cache
def main_checkout(root: Path) -> Path:
    """The checkout that a git worktree belongs to, or of which a folder of DVC's experiments is a copy; else itself."""
    for folder in root.parents:
        if folder.parts[-3:] == EXPERIMENTS:
            above = folder.parents[2:]
            return main_checkout(next((parent for parent in above if (parent / "params.yaml").exists()), root))
    return _main_worktree(root) or root


def _main_worktree(root: Path) -> Path | None:
    """Of a linked git worktree, whose .git is a file that names a folder in that of the main one."""
    link = root / ".git"
    if not link.is_file():
        return None
    folder = root / link.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
    try:
        git = (folder / (folder / "commondir").read_text(encoding="utf-8").strip()).resolve()
    except OSError:  # a submodule, or a main checkout that is gone
        return None
    return git.parent if git.name == ".git" else None
