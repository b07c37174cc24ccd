"""Eyes and mouth: iris, pupil and white on the eyeballs, shade of the lids, teeth."""

from dataclasses import dataclass

import numpy as np

from tasks.heads.geometry import mix, ramp, unit
from tasks.heads.mesh import EYE_LEFT, EYE_RIGHT, SKIN, TEETH, TONGUE, Mesh
from tasks.heads.person import Person, stream
from tasks.heads.pixels import Material, Noise, Pixels
from tasks.heads.pose import Pose
from tasks.heads.skin import TONGUE_AND_GUMS

IRIS = np.array(  # linear albedo: dark brown, brown, hazel, green, blue, grey
    [(0.030, 0.014, 0.008), (0.065, 0.033, 0.014), (0.105, 0.072, 0.028)]
    + [(0.085, 0.100, 0.055), (0.085, 0.125, 0.155), (0.125, 0.140, 0.150)]
)
IRIS_RADIUS = 0.44  # radians on the eyeball
ENAMEL = np.array([0.84, 0.74, 0.62])
WHITE = np.array([0.50, 0.455, 0.43])
GAPS = np.array([0.0, 0.08, 0.145, 0.2, 0.25])  # dm from the middle: between the upper teeth


@dataclass(frozen=True)
class Eyeball:
    """centre: [3] in rest pose; radius: dm."""

    part: int
    centre: np.ndarray
    radius: float


def eyeballs(mesh: Mesh, vertices: np.ndarray) -> tuple[Eyeball, Eyeball]:
    """Left and right; they may differ."""
    balls = []
    for part, ids in zip((EYE_LEFT, EYE_RIGHT), mesh.eyes, strict=True):
        low, high = vertices[ids].min(0), vertices[ids].max(0)
        balls.append(Eyeball(part, (low + high) / 2, float(high[1] - low[1]) / 2))
    return balls[0], balls[1]


@dataclass(frozen=True)
class Iris:
    """colour: [3] linear; pupil: radians."""

    colour: np.ndarray
    pupil: float


def draw_iris(person: Person) -> Iris:
    """Light eyes go with mostly European ancestry and less with dark hair."""
    rng = stream(person.seed, "eyes")
    light = float(ramp(person.ancestry[2], 0.4, 0.85)) * (0.35 if person.hair_colour.mean() < 0.025 else 1.0)
    shares = np.array([0.5, 0.5, 0.3 * light, 0.25 * light, 0.6 * light, 0.2 * light])
    colour = IRIS[rng.choice(6, p=shares / shares.sum())] * np.exp(0.2 * rng.normal())
    return Iris(colour, rng.uniform(0.11, 0.19))


def paint_eyes(
    pixels: Pixels, material: Material, person: Person, pose: Pose, balls: tuple[Eyeball, Eyeball], noise: Noise
) -> None:
    """Paint both eyeballs in place: colour, the cornea's normals, the lids' shade."""
    iris = draw_iris(person)
    for ball in balls:
        at = pixels.part == ball.part
        arm = unit(pixels.position[at] - pose.view(ball.centre))
        radius = np.arccos(np.clip(arm @ pose.gaze, -1, 1)) / IRIS_RADIUS
        inside = ramp(radius, 1.08, 0.92)
        white = sclera(pixels.rest[at], arm @ pose.head[:, 0], person, noise)
        material.albedo[at] = mix(white, iris_colour(iris, arm, pose.gaze, radius), inside)
        cornea = unit(pixels.position[at] - pose.view(ball.centre) - pose.gaze * 0.42 * ball.radius)
        pixels.normal[at] = np.where(inside[:, None] > 0.5, cornea, arm)
        height = arm @ pose.head[:, 1]
        pixels.irradiance[at] *= 0.9 * (0.4 + 0.6 * ramp(height, 0.7, -0.05))[:, None]
        material.albedo[at] *= (0.45 + 0.55 * ramp(height, 0.55, 0.15))[:, None]
        material.roughness[at], material.reflectance[at] = 0.1, 0.03
    eyes = (pixels.part == EYE_LEFT) | (pixels.part == EYE_RIGHT)
    pixels.smooth_normal = np.where(eyes[:, None], pixels.normal, pixels.smooth_normal)


def sclera(rest: np.ndarray, aside: np.ndarray, person: Person, noise: Noise) -> np.ndarray:
    """The white [N, 3]: redder towards the corners, veins, yellower with age."""
    veins = 1 - 0.04 * noise(rest, (25.0, 50.0), 90.0)
    corners = ramp(np.abs(aside), 0.45, 0.95)
    absorbed = corners[:, None] * [0.05, 0.22, 0.24] + person.wrinkled * np.array([0.05, 0.08, 0.16])
    return WHITE * (0.65 + 0.35 * ramp(person.tone, 0.05, 0.3)) * veins[:, None] * np.exp(-absorbed)


def iris_colour(iris: Iris, arm: np.ndarray, gaze: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Iris and pupil [N, 3]: radial fibres, lighter inside, a dark rim. radius: 1 at the iris' edge."""
    right = unit(np.cross(gaze, [0, 1, 0.01]))
    angle = np.arctan2(arm @ np.cross(gaze, right), arm @ right)
    fibres = 1 + 0.18 * np.sin(23 * angle + 3 * np.sin(7 * angle)) + 0.12 * np.sin(41 * angle)
    shade = fibres * (0.7 + 0.8 * ramp(radius, 0.9, 0.35)) * (1 - 0.85 * ramp(radius, 0.78, 1.0))
    pupil = iris.pupil / IRIS_RADIUS
    return mix(iris.colour * shade[:, None], 0.002, ramp(radius, pupil + 0.06, pupil - 0.04))


def paint_mouth(pixels: Pixels, material: Material, person: Person, shadow: np.ndarray) -> np.ndarray:
    """Paint teeth and tongue in place; returns the light [P] that the open mouth lets in, 1 outside.

    Lips are translucent, so teeth lie less in the dark than the mesh says: irradiance and key light (shadow [P]).
    """
    rng = stream(person.seed, "teeth")
    teeth, tongue = pixels.part == TEETH, pixels.part == TONGUE
    gap = np.exp(-((np.abs(np.abs(pixels.rest[teeth, 0])[:, None] - GAPS).min(1) / 0.007) ** 2))
    colour = ENAMEL * rng.uniform(0.75, 1.02) * np.exp(-0.25 * person.wrinkled * np.array([0.2, 0.5, 1]))
    colour *= 0.75 + 0.25 * ramp(person.tone, 0.05, 0.3)  # exposure for dark skin would burn them out
    material.albedo[teeth] = colour * (1 - 0.12 * gap)[:, None]
    material.albedo[tongue] = TONGUE_AND_GUMS * 1.2
    material.roughness[teeth | tongue] = 0.3
    skin = pixels.part == SKIN
    shadow[teeth] = np.maximum(shadow[teeth], 0.45)
    if teeth.any() and skin.any():
        pixels.irradiance[teeth] = np.maximum(pixels.irradiance[teeth], 0.75 * np.median(pixels.irradiance[skin], 0))
    deep = ramp(1.5 - pixels.rest[:, 2], 0.0, 0.45)
    return np.where(teeth | tongue | (pixels.inside > 0.5), 0.85 * (1 - 0.85 * deep), 1.0)
