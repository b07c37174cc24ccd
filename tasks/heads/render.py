"""A rendered head: `render(seed, size)`. Photo-like, aligned like FFHQ, of nobody who exists.

A seed is one person in one pose and light at any size; more pixels bring finer relief, more strands and other grain.
On one machine a picture is exact: it does not depend on what else is rendered, in which order, process or thread.
Another processor may round the last bit of a float otherwise (BLAS, vectorised exp and sin of numpy, OpenCV), which
moves single pixels by a level, and more where a strand or an edge just hides another.
"""

import numpy as np

from tasks.heads.backdrop import draw_backdrop
from tasks.heads.clothes import paint_clothes
from tasks.heads.creases import carve, draw_creases
from tasks.heads.eyes import paint_eyes, paint_mouth
from tasks.heads.form import Form, make_form
from tasks.heads.glasses import Glasses, lay_lenses
from tasks.heads.head import Growth, Head, build_head, grow_all
from tasks.heads.kernels import draw_segments
from tasks.heads.light import LUMA, draw_light
from tasks.heads.mesh import BadInput
from tasks.heads.photo import develop, draw_camera, face_exposure
from tasks.heads.pixels import Noise, Pixels
from tasks.heads.shading import Scene, shade, shade_strands
from tasks.heads.skin import paint_skin
from tasks.heads.strands import Strands, density_grid

MIN_SIZE, MAX_SIZE = 16, 1024
SUPERSAMPLING = 2
FEW, MANY = 10000, 18000  # strands of a head in pictures of up to 128 pixels, and of more


def render(seed: int, size: int) -> np.ndarray:
    """The head of a seed: uint8 RGB [size, size, 3].

    Eyes, nose and mouth lie near FFHQ's five points (`pose.TEMPLATE` x size); `landmarks` says where exactly.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise BadInput(f"Heads are rendered at {MIN_SIZE} to {MAX_SIZE} pixels, not {size}.")
    head, side = build_head(seed), size * SUPERSAMPLING
    growth = grow_all(head, FEW if size <= 128 else MANY)
    strands = [s.posed(head.pose) for s in growth.strands]
    light, camera = draw_light(seed), draw_camera(seed)
    scene = Scene(light, density_grid(strands), head.pose.distance, head.crop.scale * side)
    form = make_form(head, growth, scene)
    pixels = form.seen(head, side)
    colours = paint_and_shade(head, growth, pixels, form, scene)
    exposure = face_exposure(pixels.image(colours @ LUMA), pixels.covered, head.person, camera)
    picture = draw_backdrop(seed, side, light) * np.float32(0.35 / exposure)
    picture[pixels.covered] = colours
    if head.glasses is not None:
        lay_lenses(picture, head.glasses, head.crop, light)
    picture = draw_strands(picture, head, strands, scene, pixels.depth)
    return develop(picture * np.float32(exposure), size, camera, light, seed)


def landmarks(seed: int, size: int) -> np.ndarray:
    """Eyes, tip of the nose, corners of the mouth (the viewer's left first) in pixels: float64 [5, 2]."""
    return build_head(seed).crop.landmarks() * size


def paint_and_shade(head: Head, growth: Growth, pixels: Pixels, form: Form, scene: Scene) -> np.ndarray:
    """Radiance [P, 3] of the mesh's pixels."""
    person = head.person
    noise = Noise(person.seed, finest=0.5 * scene.scale / SUPERSAMPLING)
    shadow = scene.key_shadow(pixels, form.vertices, form.triangles)
    carve(pixels, head.pose, draw_creases(person, head.smile), noise, person)
    material = paint_skin(pixels, person, noise, growth.hair.colour)
    edge = paint_clothes(pixels, material, person, head.outfit, noise)
    paint_eyes(pixels, material, person, head.pose, head.balls, noise)
    cavity = paint_mouth(pixels, material, person, shadow) * edge
    return shade(pixels, material, scene, shadow, cavity)


def draw_strands(
    picture: np.ndarray, head: Head, strands: list[Strands], scene: Scene, depth: np.ndarray
) -> np.ndarray:
    """The picture [S, S, 3] with all strands and the frame of the glasses over it, far ones first."""
    side = len(picture)
    groups = [segments_of(s, shade_strands(s, scene), head, scene, side) for s in strands]
    if head.glasses is not None:
        groups += frame_segments(head, head.glasses, scene, side)
    start, end, colour0, colour1, width, alpha = (
        np.concatenate(column).astype(np.float32) for column in zip(*groups, strict=True)
    )
    order = np.argsort(-(start[:, 2] + end[:, 2]), kind="stable")
    canvas = np.zeros((side, side, 4), np.float32)
    draw_segments(start, end, colour0, colour1, width, alpha, order, depth, np.float32(0.03), canvas)
    return canvas[..., :3] + picture * (1 - canvas[..., 3:])


def segments_of(strands: Strands, colours: np.ndarray, head: Head, scene: Scene, side: int) -> tuple[np.ndarray, ...]:
    """Start, end, their colours, width and opacity of all segments [N (K - 1), ...]; strands taper to their tips."""
    steps = strands.points.shape[1]
    at = head.crop.screen(strands.points, side)
    taper = np.linspace(1, 0.6 if strands.kind == "hair" else 0.35, steps - 1)
    width = strands.widths[:, None] * taper * scene.scale
    alpha = np.repeat(strands.opacity[:, None], steps - 1, 1)
    ends = (v.reshape(-1, 3) for v in (at[:, :-1], at[:, 1:], colours[:, :-1], colours[:, 1:]))
    return *ends, width.reshape(-1), alpha.reshape(-1)


def frame_segments(head: Head, glasses: Glasses, scene: Scene, side: int) -> list[tuple[np.ndarray, ...]]:
    """The frame's lines as segments, lit from above."""
    light = scene.light
    groups: list[tuple[np.ndarray, ...]] = []
    lit = 0.9 * light.radiance.mean(0) + 0.6 * light.power * max(0.0, float(light.key @ [0, 0.6, 0.8]))
    for line in (*glasses.rims, *glasses.bars):
        at = head.crop.screen(head.pose.view(line), side)
        n = len(line) - 1
        shine = 0.04 * light.power * np.abs(np.sin(0.4 * np.arange(n + 1)))[:, None] ** 8
        colours = glasses.colour * lit + shine
        width, alpha = np.full(n, glasses.thickness * scene.scale), np.full(n, 0.97)
        groups.append((at[:-1], at[1:], colours[:-1], colours[1:], width, alpha))
    return groups
