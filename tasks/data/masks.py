"""Reading a user's mask: what an editor saves, as the hole that a photo is to be filled in.

A mask is white on black, or a layer: painted in one colour, transparent elsewhere.
"""

from pathlib import Path

import numpy as np

from tasks.basics import BadInput
from tasks.data.photo import MAX_MEGAPIXELS, decode, explained, to_srgb

FAINTEST = 16  # of 255: where a resized mask is gray, the photo below it is mixed with what was masked
ONE_COLOUR = 24  # of 255: what lossy formats and the soft edges of a brush change a colour by
LARGEST_HOLE = 0.95  # more leaves nothing to restore from, and is most often an inverted mask


def read_mask(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> np.ndarray:
    """How much of each pixel is hole, uint8 [H, W], upright.

    Without transparency the mean of the channels: white is hole, black is not. A layer in one colour is hole where it
    was painted, whatever the colour: its alpha. A layer of grays is hole where it is white and was painted. Raises
    BadInput as `read_photo` does, and for a layer of several colours: that is a picture.
    """
    with explained(path, max_megapixels):
        image = decode(path, max_megapixels)
        alpha: np.ndarray = (
            np.asarray(image.convert("RGBA").getchannel("A")) if image.has_transparency_data else np.full(1, 255)
        )
        if alpha.min() == alpha.max() != 0:  # opaque, or evenly so
            return _gray(np.asarray(to_srgb(image.convert("RGB"))))
        return _painted(np.asarray(image.convert("RGBA"))[..., :3], alpha)


def _gray(colours: np.ndarray) -> np.ndarray:
    return np.rint(colours.mean(axis=2)).astype(np.uint8)


def _painted(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    seen = colours[alpha >= FAINTEST].astype(int)
    if not len(seen) or np.ptp(seen, axis=0).max() <= ONE_COLOUR:
        return alpha
    if np.ptp(seen, axis=1).max() <= ONE_COLOUR:
        return np.rint(_gray(colours) * (alpha / 255)).astype(np.uint8)
    raise BadInput(
        "a picture with transparent parts, not a mask: save white (to be filled) on black,"
        " or a layer that is painted in one colour and transparent elsewhere"
    )


def hole_of(mask: np.ndarray) -> np.ndarray:
    """Where a mask (uint8 [H, W]) is hole, bool [H, W]. Raises BadInput if that is nowhere, or nearly everywhere."""
    hole = mask >= FAINTEST
    share = float(hole.mean())
    if not share:
        raise BadInput(
            f"the hole is of nothing (its lightest level is {mask.max()} of 255): paint white what is to be filled, or"
            " take the photo without a mask"
        )
    if share > LARGEST_HOLE:
        raise BadInput(
            f"the hole covers {share:.1%} of the photo, at most {LARGEST_HOLE:.0%} can be filled."
            " White is what is to be filled: is the mask inverted?"
        )
    return hole


def refuse_black(photo: np.ndarray) -> None:
    """Raises BadInput for an LQ photo, uint8 [H, W, 3], that is black nearly everywhere: there it is a hole."""
    share = float((photo == 0).all(axis=2).mean())
    if share > LARGEST_HOLE:
        raise BadInput(
            f"truly black in {share:.1%} of it, which is a hole: at most {LARGEST_HOLE:.0%} can be filled, and there is"
            " nothing to restore from. Export the photo again."
        )
