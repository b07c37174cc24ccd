"""A contact sheet: `python -m tasks.heads.sheet FIRST COUNT SIZE OUT.png`."""

import sys

import cv2
import numpy as np

from tasks.heads.render import render


def sheet(seeds: range, size: int, columns: int) -> np.ndarray:
    """The heads of seeds in rows, uint8 RGB; missing ones at the end are black."""
    heads = [render(seed, size) for seed in seeds]
    heads += [np.zeros((size, size, 3), np.uint8)] * (-len(heads) % columns)
    return np.vstack([np.hstack(heads[i : i + columns]) for i in range(0, len(heads), columns)])


if __name__ == "__main__":
    first, count, size = (int(arg) for arg in sys.argv[1:4])
    picture = sheet(range(first, first + count), size, columns=max(1, 1536 // size))
    cv2.imwrite(sys.argv[4], picture[..., ::-1])
