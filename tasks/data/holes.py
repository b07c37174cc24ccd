"""Holes of photos that are to be filled: their truly black pixels."""

from tasks.store.artifact import ImageFolder


def hole_shares(photos: ImageFolder) -> dict[str, float]:
    """The share of each photo that is hole, 0 to 1, by image id."""
    return {image_id: float((photos.read(image_id) == 0).all(axis=2).mean()) for image_id in photos.ids}
