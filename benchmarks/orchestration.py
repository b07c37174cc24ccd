"""What the store and its shards cost beside the work itself: seconds for each shard, against a plain loop.

    python -m benchmarks.orchestration [--images 256] [--side 512] [--shard 32]

Both read and write the same PNGs, in as many threads; the plain loop writes them into one folder, and nothing else. The
store adds locks, digests of all files, manifests, links and renames.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tasks.basics import Strict
from tasks.noise import numpy_stream
from tasks.running.shards import WRITERS, build_in_shards
from tasks.running.stage import stage
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import write_png


class Size(Strict):
    images: int
    side: int
    shard: int


@stage
def source(out: Path, params: Size, record: Manifest) -> None:
    for n in range(params.images):
        write_png(out / f"{n:05}.png", pixels(n, params.side))


@stage
def copies(out: Path, params: Size, record: Manifest, images: ImageFolder) -> None:
    def shard(ids: list[str]) -> Iterator[tuple[str, np.ndarray]]:
        for image_id in ids:
            yield image_id, images.read(image_id)

    build_in_shards(out, record, images, params.shard, shard)


def pixels(n: int, side: int) -> np.ndarray:
    """Smooth noise: compresses like a photo."""
    small = numpy_stream(0, "pixels", str(n)).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    grain = numpy_stream(0, "grain", str(n)).integers(0, 8, (side, side, 3), dtype=np.uint8)
    return small.repeat(8, 0).repeat(8, 1) // 2 + grain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--shard", type=int, default=32)
    given = parser.parse_args()
    params = Size(images=given.images, side=given.side, shard=given.shard)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BFR_STORE"] = f"{folder}/store"
        images = source(params)
        Path(folder, "plain").mkdir()
        started = time.perf_counter()
        with ThreadPoolExecutor(WRITERS) as pool:
            for image_id in images.ids:
                pool.submit(write_png, Path(folder, "plain", f"{image_id}.png"), images.read(image_id))
        plain = time.perf_counter() - started
        started = time.perf_counter()
        copies(params, images=images)
        stored = time.perf_counter() - started
        started = time.perf_counter()
        copies(params, images=images)
        again = time.perf_counter() - started
    shards = -(-given.images // given.shard)
    print(f"{given.images} images of {given.side} x {given.side}, {shards} shards of {given.shard}")
    print(f"plain loop {plain:.2f} s, store {stored:.2f} s ({(stored - plain) / shards * 1000:+.0f} ms a shard)")
    print(f"found in the store: {again * 1000:.0f} ms")


if __name__ == "__main__":
    main()
