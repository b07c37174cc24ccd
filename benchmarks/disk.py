"""What the results of an experiment take on disk, and how long publishing and recording them takes.

    python -m benchmarks.disk [--images 1000 10000] [--side 64]

For each number of images: one result in the store, published into a DVC project, `dvc commit`, `dvc status`, and the
sharing of DVC's cache with the store that a flow does at its end. Copies: what all three take on the disk, where a file
with several names counts once, against what the result alone takes. Seconds in brackets are the processor's: on a busy
machine they say more than the clock's.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.orchestration import Size, copies, source
from flows.sharing import share_with_dvc
from tasks.store.publish import publish

DVC = [str(Path(sys.executable).with_name("dvc"))]


def disk(*folders: Path) -> int:
    """Bytes that folders take together on their disk; a file with several names counts once."""
    found = {}
    for path in (path for folder in folders for path in folder.rglob("*")):
        status = path.lstat()
        if path.is_file():
            found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(found.values())


def seconds(work: Callable[[], object]) -> str:
    """Of the clock and, in brackets, of the processor."""
    started, before = time.perf_counter(), os.times()
    work()
    took, after = time.perf_counter() - started, os.times()
    return f"{took:.1f} ({sum(after[:4]) - sum(before[:4]):.1f})"


def dvc(project: Path, *words: str) -> str:
    done = subprocess.run([*DVC, *words], cwd=project, check=True, capture_output=True, text=True)
    return done.stdout


def measure(images: int, side: int, folder: Path) -> str:
    os.environ["BFR_STORE"] = str(folder / "store")
    params, project = Size(images=images, side=side, shard=500), folder / "project"
    result = copies(params, images=source(params))
    project.mkdir()
    dvc(project, "init", "--quiet", "--no-scm")
    dvc(project, "config", "cache.type", "reflink,copy")
    (project / "dvc.yaml").write_text("stages: {lq: {cmd: 'true', outs: [lq: {persist: true}]}}\n")
    alone = disk(result.root)
    took = [
        seconds(lambda: publish(result.root, project / "lq")),
        seconds(lambda: dvc(project, "commit", "--quiet", "--force", "lq")),
        seconds(lambda: dvc(project, "status")),
    ]
    places = folder / "store" / "copies", folder / "store" / "copies.shard", project / "lq", project / ".dvc" / "cache"
    before = disk(*places) / alone
    took.append(seconds(lambda: share_with_dvc([result.root], project)))
    took.append(seconds(lambda: share_with_dvc([result.root], project)))
    after, status = disk(*places) / alone, dvc(project, "status").strip()
    return f"| {images:,} | {alone / 2**20:.0f} | {' | '.join(took)} | {before:.2f} | {after:.2f} | {status} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: where temporary files go")
    given = parser.parse_args()
    print(
        "| images | MiB | publish, s | commit, s | status, s | share, s | again, s | copies before | after | status |"
    )
    for images in given.images:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            print(measure(images, given.side, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
