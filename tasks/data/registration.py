"""Whether an LQ photo and its HQ photo or mask belong together: pairs that do not would be scored as if they did."""

import math
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from tasks.basics import BadInput

SIDE, SIGMA = 64, 2.0  # pixels: where degradations leave the picture as it is
LEAST_CORRELATION = 0.86
LEAST_KNOWN = 0.1  # of the photo; less says nothing
EVEN = 0.5  # of 255: the deviation that rounding leaves in a picture without contents
CLEARLY = 0.02  # of correlation: what a symmetric face gains by chance when it is mirrored

TURNED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored": lambda picture: picture[:, ::-1],
    "upside down": lambda picture: picture[::-1],
    "turned by 180 degrees": lambda picture: picture[::-1, ::-1],
    "turned clockwise by 90 degrees": lambda picture: np.rot90(picture),
    "turned counter-clockwise by 90 degrees": lambda picture: np.rot90(picture, 3),
    "transposed": lambda picture: picture.swapaxes(0, 1),
}


def check_aspects(lq: np.ndarray, second: np.ndarray, role: str) -> None:
    """Raises BadInput if two pictures differ in aspect by more than the rounding of their sides when one was shrunk."""
    (height, width), (other_height, other_width) = lq.shape[:2], second.shape[:2]
    rounding = max(height + width, other_height + other_width) / 2
    if abs(width * other_height - height * other_width) > rounding:
        raise BadInput(
            f"the LQ photo has {width} x {height} pixels, its {role} {other_width} x {other_height}: expected the same"
            " aspect (another size is resized). Take the same cut of both."
        )


def check_registered(lq: np.ndarray, hq: np.ndarray) -> None:
    """Raises BadInput if two photos, uint8 [H, W, 3] of one size, cannot be the same picture in the same place.

    Measured with every preset at 512 pixels on 40 real faces and 40 drawn ones, and on 60 drawn ones of 64 pixels: a
    photo and its LQ photo correlate by 0.866 at least (drawn faces by the hardest rows of celeba_test, 13 pixels wide
    before they are enlarged; real faces so 0.938), with gfpgan's changes of colour by 0.916, with the others by 0.94.
    Two people reach 0.86 in 0.2 % of the real pairs and 1.1 % of the drawn ones; a photo's central 75 % gets 0.83 at
    most. A mirrored or turned HQ photo correlates less than the upright one by 0.03 at least. What this does not see:
    a shift by a few percent, most central 90 % (0.81 to 0.96), another photo of a person in the same pose. What it
    refuses wrongly: faces of 4 pixels (bicubic_x16 of 64: 0.77), smaller than any file that the intake takes.
    """
    found = correlation(lq, hq)
    turned = {how: correlation(lq, np.ascontiguousarray(turn(hq))) for how, turn in TURNED.items()}
    how = max(turned, key=lambda name: turned[name])
    if turned[how] >= LEAST_CORRELATION and turned[how] > found + CLEARLY:
        raise BadInput(f"the HQ photo is {how} (correlation {turned[how]:.2f}, as it is {found:.2f}): turn it back")
    if found < LEAST_CORRELATION:
        raise BadInput(
            f"the LQ photo does not show what its HQ photo shows (correlation {found:.2f}, at least"
            f" {LEAST_CORRELATION} is expected): another person, or another cut of the same photo?"
        )


def correlation(lq: np.ndarray, hq: np.ndarray) -> float:
    """Normalised cross-correlation, -1 to 1, of two photos in gray, 64 pixels wide and blurred, where `lq` is no hole.

    Black pixels of `lq` are holes. 1 for two even areas, 0 for one, 1 where less than a tenth is known.
    """
    is_known: np.ndarray = lq.max(axis=2) > 0
    known = _small(is_known)
    if known.mean() < LEAST_KNOWN:
        return 1.0
    first, second = (_centred(_small(_gray(photo) * is_known) / np.maximum(known, 1e-3), known) for photo in (lq, hq))
    spreads = [math.sqrt(np.average(levels**2, weights=known)) for levels in (first, second)]
    if min(spreads) < EVEN:
        return float(max(spreads) < EVEN)
    return float(np.average(first * second, weights=known)) / (spreads[0] * spreads[1])


def _centred(levels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return levels - float(np.average(levels, weights=weights))


def _gray(photo: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(photo).convert("L"), dtype=np.float32)


def _small(levels: np.ndarray) -> np.ndarray:
    box = Image.fromarray(levels.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BOX)
    return cv2.GaussianBlur(np.asarray(box), (0, 0), SIGMA)
