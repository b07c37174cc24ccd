"""The detector on rendered heads: how near its points are, and what it leaves out."""

import numpy as np
import pytest
import torch
from golden.conftest import DATA
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import nms as torchvision_nms

from tasks.basics import BadInput
from tasks.faces import extract
from tasks.faces.mtcnn import Mtcnn, nms
from tasks.heads.render import landmarks, render


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.load(DATA / "faces" / "mtcnn.npz")["three.photo"]


@pytest.mark.parametrize("seed", [3, 5, 8])
def test_the_points_of_a_head_lie_where_they_were_rendered(seed):
    faces, truth = Mtcnn().detect(render(seed, 128)), landmarks(seed, 128)
    assert len(faces) == 1
    away = np.linalg.norm(faces.points[0] - truth, axis=1) / np.linalg.norm(truth[1] - truth[0])
    assert np.median(away) < 0.1


def test_faces_smaller_than_asked_are_not_searched(photo):
    assert len(Mtcnn().detect(photo, 20)) == 3
    assert (Mtcnn().detect(photo, 80).sizes > 60).all()


def test_the_largest_face_comes_first(photo):
    sizes = Mtcnn().detect(photo).sizes
    assert (np.diff(sizes) <= 0).all()
    assert len(Mtcnn().detect(photo).some(sizes > 50)) == 2


@pytest.mark.parametrize("shape", [(16, 16), (19, 300), (300, 40)])
def test_photos_of_any_shape_can_be_searched(shape):
    faces = Mtcnn().detect(np.full((*shape, 3), 128, np.uint8))
    assert faces.boxes.shape == (0, 4)
    assert faces.points.shape == (0, 5, 2)


def test_the_faces_do_not_depend_on_the_number_of_threads(photo):
    threads, first = torch.get_num_threads(), Mtcnn().detect(photo)
    try:
        torch.set_num_threads(2)
        second = Mtcnn().detect(photo)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(first.points, second.points, atol=0.01)


def test_only_the_pinned_wheel_is_taken(tmp_path):
    (tmp_path / "other.whl").write_bytes(b"another release")
    with pytest.raises(BadInput, match=r"not facenet-pytorch 2\.6\.0"):
        extract.check_wheel(tmp_path / "other.whl")
    with pytest.raises(BadInput, match="pip download"):
        extract.check_wheel(tmp_path / "missing.whl")


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.7]))
def test_of_overlapping_boxes_the_same_stay_as_torchvision_keeps(seed, most):
    random = torch.Generator().manual_seed(seed)
    corner, size = 60 * torch.rand(80, 2, generator=random), 5 + 40 * torch.rand(80, 2, generator=random)
    boxes, scores = torch.cat([corner, corner + size], 1).floor(), (torch.rand(80, generator=random) * 9).round() / 9
    assert nms(boxes, scores, most).tolist() == torchvision_nms(boxes, scores, most).tolist()


def test_no_box_stays_of_none():
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
