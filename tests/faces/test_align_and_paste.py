"""Faces cut out of photos and pasted back, on rendered heads of any turn, scale, place and number."""

import math

import cv2
import numpy as np
import pytest
from faces.drawn import Head, draw
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tasks.faces.align import cut_out, inverse, moved, scale_of, similarity, template
from tasks.faces.paste import Restored, masks, paste, soft_square
from tasks.heads.pose import TEMPLATE

HEADS = st.builds(
    Head,
    seed=st.sampled_from([3, 5, 8]),
    side=st.floats(30, 400),
    x=st.floats(-40, 260),
    y=st.floats(-40, 220),
    turn=st.floats(-180, 180),
)


def brighter(crop: np.ndarray) -> np.ndarray:
    return crop + 20


def smoother(crop: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(crop, (0, 0), 2)


def restored(photo: np.ndarray, points: np.ndarray, size: int, method=lambda crop: crop) -> list[Restored]:
    faces = []
    for five in points:
        matrix = similarity(five, size)
        crop = cut_out(photo, matrix, size).astype(np.float32)
        faces.append(Restored(matrix, crop, method(crop.copy())))
    return faces


def covered(photo: np.ndarray, faces: list[Restored]) -> np.ndarray:
    """Where a mask is, bool [H, W]."""
    height, width = photo.shape[:2]
    return np.any([masks(face, 0, 0, width, height)[0][..., 0] > 0 for face in faces], axis=0)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def test_the_template_is_ffhqs():
    np.testing.assert_allclose((template(512) - TEMPLATE * 512), 0, atol=1e-9)
    np.testing.assert_allclose(template(128) + 0.5, (template(512) + 0.5) / 4)


@given(turn=st.floats(-180, 180), scale=st.floats(0.05, 20), x=st.floats(-500, 500), y=st.floats(-500, 500))
def test_a_similarity_of_the_template_is_found_again(turn, scale, x, y):
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    to_photo = np.array([[scale * cos, -scale * sin, x], [scale * sin, scale * cos, y]])
    found = similarity(moved(template(512), to_photo), 512)
    np.testing.assert_allclose(inverse(found), to_photo, atol=1e-6)
    assert scale_of(found) == pytest.approx(1 / scale)


def test_points_that_coincide_are_no_face():
    with pytest.raises(ValueError, match="coincide"):
        similarity(np.ones((5, 2)), 512)


@pytest.mark.parametrize("side", [96.0, 384.0])
@pytest.mark.parametrize("turn", [0.0, 40.0, 180.0])
def test_a_crop_shows_the_head_as_it_was_rendered(side, turn):
    """At half and at twice the crop's size."""
    photo, points = draw([Head(3, side, 250, 240, turn)], 500, 480)
    upright, at = draw([Head(3, 192, 250, 240)], 500, 480)
    crop = cut_out(photo, similarity(points[0], 192), 192)
    wanted = cut_out(upright, similarity(at[0], 192), 192)
    assert psnr(crop[20:-20, 20:-20], wanted[20:-20, 20:-20]) > (26 if side < 192 else 33)


def test_shrinking_does_not_alias():
    stripes = np.tile(np.array([0, 255], np.uint8), (1200, 600))[..., None].repeat(3, 2)
    crop = cut_out(stripes, np.array([[0.11, 0, 0], [0, 0.11, 0]]), 128)
    assert np.abs(crop.astype(int) - 127).max() < 30


def test_beyond_the_frame_a_crop_is_the_photo_mirrored():
    photo, _ = draw([Head()])
    crop = cut_out(photo, np.array([[1.0, 0, 50], [0, 1, 20]]), 128)
    np.testing.assert_array_equal(crop[20:, 50:], photo[:108, :78])
    np.testing.assert_array_equal(crop[20:, :50], photo[:108, 1:51][:, ::-1])
    assert cut_out(photo, np.array([[1.0, 0, 900], [0, 1, -700]]), 64).shape == (64, 64, 3)


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(heads=st.lists(HEADS, max_size=3), size=st.sampled_from([64, 128]), wide=st.booleans())
def test_faces_that_were_not_changed_come_back_equal_at_any_turn_scale_place_and_number(heads, size, wide):
    photo, points = draw(heads)
    if wide:
        photo = photo.astype(np.uint16) * 257 - photo // 3
    eight = (photo // 257).astype(np.uint8) if wide else photo
    np.testing.assert_array_equal(paste(photo, restored(eight, points, size)), photo)


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(heads=st.lists(HEADS, min_size=1, max_size=3), method=st.sampled_from([brighter, smoother]))
def test_outside_of_the_masks_nothing_changes(heads, method):
    photo, points = draw(heads)
    faces = restored(photo, points, 96, method)
    outside = ~covered(photo, faces)
    np.testing.assert_array_equal(paste(photo, faces)[outside], photo[outside])


@pytest.mark.parametrize("side", [60.0, 128.0, 300.0])
@pytest.mark.parametrize("turn", [0.0, 33.0, -120.0])
def test_a_restoration_that_is_the_photo_itself_comes_back_where_it_was(side, turn):
    """Fine detail aside: the crop is rendered anew, so the paste replaces, at 45 dB where the photo is that coarse."""
    photo, points = draw([Head(3, side, 250, 240, turn)], 500, 480)
    photo = cv2.GaussianBlur(photo, (0, 0), max(1.5, 1.5 * side / 60))
    faces = restored(photo, points, 128, lambda crop: crop + np.random.default_rng(0).normal(0, 1, crop.shape))
    inside = covered(photo, faces)
    assert psnr(paste(photo, faces)[inside], photo[inside]) > 45


def test_a_turned_photo_gives_the_turned_result():
    photo, points = draw([Head(3, 110, 80, 100, 15), Head(5, 90, 160, 90, -20)])
    turned, at = np.rot90(photo).copy(), np.stack([points[..., 1], photo.shape[1] - 1 - points[..., 0]], -1)
    ours = paste(photo, restored(photo, points, 128, smoother))
    theirs = paste(turned, restored(turned, at, 128, smoother))
    assert np.abs(np.rot90(ours).astype(int) - theirs).max() <= 3
    assert psnr(np.rot90(ours), theirs) > 50


def test_the_order_of_the_faces_does_not_matter():
    photo, points = draw([Head(3, 110, 80, 100), Head(5, 90, 140, 90)])
    faces = restored(photo, points, 128, brighter)
    difference = paste(photo, faces).astype(int) - paste(photo, faces[::-1])
    assert np.abs(difference).max() <= 1


def test_where_faces_overlap_each_centre_is_its_own():
    photo, points = draw([Head(3, 130, 80, 90), Head(5, 130, 140, 90)])
    faces = restored(photo, points, 128)
    faces[0] = Restored(faces[0].matrix, faces[0].before, faces[0].before + [40, 0, 0])
    faces[1] = Restored(faces[1].matrix, faces[1].before, faces[1].before + [0, 40, 0])
    change = paste(photo, faces).astype(int) - photo
    noses = points[:, 2].round().astype(int)
    first, second = (change[y - 3 : y + 4, x - 3 : x + 4].mean((0, 1)) for x, y in noses)
    assert first[0] > 30 > 10 > first[1]
    assert second[1] > 30 > 10 > second[0]


def test_another_colour_of_the_whole_crop_leaves_no_seam():
    photo = np.full((200, 240, 3), 120, np.uint8)
    points = moved(template(128), np.array([[1.0, 0, 60], [0, 1.0, 40]]))[None]
    change = paste(photo, restored(photo, points, 128, brighter)).astype(int) - photo
    assert change[104, 124].max() >= 15, "the face itself is as it was restored"
    steps = max(np.abs(np.diff(change[..., 0], axis=axis)).max() for axis in (0, 1))
    assert steps <= 1, "no pixel differs from the next by more than a level"


def test_the_strength_mixes_with_the_photo():
    photo, points = draw([Head()])
    faces = restored(photo, points, 128, smoother)
    none, half, full = (paste(photo, faces, strength).astype(float) for strength in (0, 0.5, 1))
    np.testing.assert_array_equal(none, photo)
    assert np.abs(half - (photo + full) / 2).max() <= 1


def test_noise_finer_than_the_crop_goes_where_the_restoration_differs():
    photo, points = draw([Head(3, 360, 190, 190)], 380, 380)
    clean = cv2.GaussianBlur(photo, (0, 0), 3)
    noisy = (clean + np.random.default_rng(0).normal(0, 25, clean.shape)).round().clip(0, 255).astype(np.uint8)
    matrix = similarity(points[0], 96)
    better = cut_out(clean, matrix, 96).astype(np.float32)
    result = paste(noisy, [Restored(matrix, cut_out(noisy, matrix, 96).astype(np.float32), better)])
    inner = masks(Restored(matrix, better, better), 0, 0, 380, 380)[0][..., 0] == 1
    assert psnr(result[inner], clean[inner]) > psnr(noisy[inner], clean[inner]) + 8


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_gray_photos_and_transparency_are_pasted_alike(channels):
    photo, points = draw([Head()])
    other = np.concatenate([photo, photo[..., :1]], 2)[..., :channels]
    faces = restored(np.ascontiguousarray(other), points, 64, brighter)
    assert paste(other, faces).shape == other.shape


def test_the_mask_is_whole_in_the_middle_and_nothing_at_the_edge():
    assert soft_square(np.array([[0.5, 0.5], [0.3, 0.7]])).min() == 1
    assert soft_square(np.array([[0.0, 0.5], [0.02, 0.02], [0.99, 0.4]])).max() == 0
