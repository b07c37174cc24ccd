"""Procedural faces: seeded, varied, one picture at any size, with fine detail to restore."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from tasks.data.portraits import MAX_SIZE, MIN_SIZE, portrait
from tasks.noise import stream_seed
from tasks.stages.photos import portraits


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**128 - 1), st.sampled_from([16, 33, 64, 100, 256]))
def test_every_seed_and_size_gives_a_picture_always_the_same(seed, size):
    image = portrait(seed, size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert image.std() > 10
    assert np.array_equal(image, portrait(seed, size))


def test_the_pixels_stay_the_same_for_ever():
    """The demo's weights were trained on these faces; a change here would spoil them."""
    means = [portrait(stream_seed(1, "portraits", f"train_{n:05d}"), 64).mean() for n in range(3)]
    assert means == pytest.approx([100.106, 158.726, 119.42], abs=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_a_seed_is_one_picture_at_any_size(seed):
    large, small = (portrait(seed, size).astype(float) for size in (256, 64))
    averaged = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(averaged - small).mean() < 8
    assert np.corrcoef(averaged.ravel(), small.ravel())[0, 1] > 0.97


def test_faces_differ_and_skin_and_backgrounds_vary():
    faces = np.stack([portrait(seed, 64) for seed in range(24)]).astype(float)
    flat = faces.reshape(24, -1)
    distances = np.abs(flat[:, None] - flat[None]).mean(-1)[np.triu_indices(24, 1)]
    assert distances.min() > 8
    cheeks, corners = faces[:, 38:42, 24:28].mean((1, 2, 3)), faces[:, :4, :4].mean((1, 2, 3))
    assert cheeks.std() > 15
    assert corners.std() > 15


def test_there_is_fine_detail_to_restore():
    """What a 2x downsampling loses is well above what 8 bits and a smooth drawing would leave."""
    faces = np.stack([portrait(seed, 64) for seed in range(12)]).astype(float)
    coarse = faces.reshape(12, 32, 2, 32, 2, 3).mean((2, 4)).repeat(2, 1).repeat(2, 2)
    assert np.sqrt(((faces - coarse) ** 2).mean()) > 6


def test_splits_are_other_people():
    (_, train), (_, test) = (next(iter(portraits(5, split, 1, 32))) for split in ("train", "test"))
    assert not np.array_equal(train, test)


@pytest.mark.parametrize("size", [0, -1, MIN_SIZE - 1, MAX_SIZE + 1])
def test_an_impossible_size_is_refused(size):
    with pytest.raises(ValueError, match="size"):
        portrait(1, size)
