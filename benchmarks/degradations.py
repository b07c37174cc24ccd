"""Images per second and core of the degradations against a straightforward version of the same work, in one run.

    python -m benchmarks.degradations [--images 200] [--size 512]

One thread. The two take turns, three times all images each, with equal parameters and noise; first their results are
compared. Reading and writing PNG files, equal for both, is left out.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks import reference
from tasks.degradation import blur_jpeg, raw
from tasks.degradation.presets import PRESETS
from tasks.heads.render import render
from tasks.noise import numpy_stream


def cases(size: int, preset: str, images: int) -> list[tuple[Any, Any, Any]]:
    """(photo, parameters, noise) of each image."""
    photos = [render(seed, size) for seed in range(4)]
    made = []
    for i in range(images):
        rng = numpy_stream(0, preset, str(i))
        settings: Any = PRESETS[preset]
        if preset.startswith("raw"):
            params: Any = raw.draw(rng, settings)
            noise: Any = rng.standard_normal(raw.sensor_size((size, size), params.scale))
        else:
            params = blur_jpeg.draw(rng, settings)
            noise = rng.standard_normal((*blur_jpeg.low_size((size, size), params.scale), 3), dtype=np.float32)
        made.append((photos[i % len(photos)], params, noise))
    return made


def compare(name: str, ours: Callable[..., Any], theirs: Callable[..., Any], work: list[tuple[Any, Any, Any]]) -> str:
    """One row of the table."""
    off = [np.abs(ours(*case).astype(int) - theirs(*case)) for case in work[:8]]
    if np.mean([(difference > 1).mean() for difference in off]) > 0.02:
        raise SystemExit(f"{name}: the two versions disagree; a comparison of their speeds would mean nothing.")
    spent = {ours: 0.0, theirs: 0.0}
    for _ in range(3):
        for run in (theirs, ours):
            start = time.perf_counter()
            for case in work:
                run(*case)
            spent[run] += (time.perf_counter() - start) / 3
    rates = [len(work) / spent[run] for run in (theirs, ours)]
    return f"| {name} | {rates[0]:.1f} | {rates[1]:.1f} | {rates[1] / rates[0]:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, default=512)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print("| Degradation | straightforward, images/s | bfr, images/s | ratio |\n|---|---:|---:|---:|")
    for preset in ("difface", "gfpgan", "codeformer_large"):
        work = cases(given.size, preset, given.images)
        plain = [(photo, params, noise) for photo, params, noise in work if params.photometric is None]
        plain = [case for case in plain if case[1].channel_shift is None and not case[1].is_gray]
        print(compare(f"Eq. 9, `{preset}`", ours_blur_jpeg, reference.blur_jpeg, plain), flush=True)
    for preset in ("raw_x4_moderate", "raw_x8_moderate"):
        work = cases(given.size, preset, given.images)
        print(compare(f"Eq. 10, `{preset}`", raw.apply, reference.raw, work), flush=True)


def ours_blur_jpeg(hq: Any, params: Any, noise: Any) -> Any:
    return blur_jpeg.apply(blur_jpeg.to_float(hq), params, noise)


if __name__ == "__main__":
    main()
