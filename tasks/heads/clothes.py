"""Clothes: collars as meshes of rings round the neck, the rest painted on the body below a neckline."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from tasks.heads.geometry import ramp
from tasks.heads.light import draw_hue
from tasks.heads.mesh import Mesh
from tasks.heads.person import Person, pick, stream
from tasks.heads.pixels import Material, Noise, Pixels

COLUMNS = 72
AXIS_Z = 0.22  # dm: the neck's middle at rest
Rings = tuple[tuple[float, float], ...]  # height over the base of the neck and distance from the skin, dm
SHIRT: Rings = ((-0.1, 0.03), (0.1, 0.05), (0.27, 0.07), (0.33, 0.10), (0.27, 0.13), (0.1, 0.17), (-0.08, 0.21))
JACKET: Rings = ((-0.3, 0.10), (0.0, 0.16), (0.2, 0.20), (0.24, 0.23), (0.15, 0.26), (-0.1, 0.30), (-0.3, 0.33))
CREW: Rings = ((0.04, 0.01), (0.03, 0.045), (-0.02, 0.055), (-0.08, 0.05), (-0.14, 0.01))
ROLL: Rings = ((-0.15, 0.04), (0.2, 0.07), (0.48, 0.08), (0.56, 0.11), (0.48, 0.15), (0.2, 0.17), (-0.05, 0.19))
HOOD: Rings = ((0.0, 0.05), (0.1, 0.12), (0.16, 0.25), (0.1, 0.32), (-0.05, 0.22), (-0.25, 0.05))


@dataclass(frozen=True)
class Layer:
    """A collar. gap: half the opening in front, radians; points: how far its front corners hang down, dm."""

    rings: Rings
    colour: np.ndarray
    gap: float = 0.0
    points: float = 0.0
    lower: float = 0.0


@dataclass(frozen=True)
class Outfit:
    """line: height of the neckline at rest (dm); v: how much deeper in front; jacket, tie: None where not worn."""

    kind: str
    line: float
    cloth: np.ndarray
    v: float = 0.0
    jacket: np.ndarray | None = None
    tie: np.ndarray | None = None
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Collar:
    """vertices, rest: [C, 3]; triangles: [T, 3] of them; colours: [C, 3]."""

    vertices: np.ndarray
    rest: np.ndarray
    triangles: np.ndarray
    colours: np.ndarray


MEN = {"suit": 0.4, "shirt": 0.2, "tee": 0.22, "jumper": 0.1, "hoodie": 0.08}
WOMEN = {"suit": 0.12, "jacket": 0.2, "shirt": 0.12, "tee": 0.2, "vneck": 0.22, "jumper": 0.1, "hoodie": 0.04}


def draw_outfit(person: Person) -> Outfit:
    """The clothes of a seed."""
    rng = stream(person.seed, "clothes")
    kind = pick(rng, MEN if person.is_male else WOMEN)
    cloth, pale, lower = draw_dye(rng), draw_pale(rng), rng.uniform(0, 0.12)
    dark, tie = np.clip(np.exp(rng.normal(-3.4, 0.7)) * draw_hue(rng, 0.25), 0.006, 0.3), draw_dye(rng)
    coin, opening = rng.random(), rng.uniform(0.2, 0.4)
    match kind:
        case "suit" if person.is_male and coin < 0.75:
            return Outfit(kind, 5.78, pale, jacket=dark, tie=tie, layers=suit_collars(pale, dark, 0.10))
        case "suit":
            return Outfit(kind, 5.78, pale, v=0.35, jacket=dark, layers=suit_collars(pale, dark, 0.3))
        case "jacket":
            collar = Layer(JACKET, tie * 1.1, 0.7, 0.1)
            return Outfit(kind, 5.7 - lower, cloth, v=2 * opening - 0.2, jacket=tie, layers=(collar,))
        case "shirt":
            shirt = pale if coin < 0.5 else cloth
            return Outfit(kind, 5.78, shirt, v=0.5, layers=(Layer(SHIRT, shirt * 1.05, opening, 0.16),))
        case "jumper":
            return Outfit(kind, 5.78, cloth, layers=(Layer(ROLL if coin < 0.4 else CREW, cloth),))
        case "hoodie":
            return Outfit(kind, 5.75, cloth, v=0.1, layers=(Layer(HOOD, cloth, lower=0.05),))
        case "vneck":
            return Outfit(kind, 5.72 - 2 * lower, cloth, v=3.5 * opening - 0.3)
    return Outfit(kind, 5.76 - lower, cloth, layers=(Layer(CREW, cloth * 0.92, lower=lower),))


def suit_collars(shirt: np.ndarray, jacket: np.ndarray, gap: float) -> tuple[Layer, Layer]:
    """The shirt's collar and the jacket's over it."""
    return Layer(SHIRT, shirt, gap, 0.16), Layer(JACKET, jacket * 1.1, 0.65, 0.1)


def draw_dye(rng: np.random.Generator) -> np.ndarray:
    """Albedo [3] of cloth: mostly muted."""
    colour = np.exp(rng.normal(-1.9, 1.0)) * draw_hue(rng, 0.2) * np.exp(rng.choice([0.06, 0.5]) * rng.normal(size=3))
    return np.clip(colour, 0.008, 0.72)


def draw_pale(rng: np.random.Generator) -> np.ndarray:
    """Albedo [3] of a shirt: white or a light colour."""
    white = np.array([0.66, 0.67, 0.70]) * rng.uniform(0.8, 1.05)
    return white * np.exp(0.12 * (rng.random() < 0.4) * rng.normal(size=3))


# ------------------------------------------------------------------------------------------------- collars
def base_line(theta: np.ndarray) -> np.ndarray:
    """Height of the neck's base at rest; theta: 0 in front, pi behind."""
    return np.interp(np.abs(theta), [0, 0.5, 0.9, 1.6, np.pi], [5.66, 5.74, 5.88, 6.0, 6.06])


def make_collar(mesh: Mesh, vertices: np.ndarray, outfit: Outfit) -> Collar | None:
    """All collars of an outfit as one mesh on this person's neck."""
    if not outfit.layers:
        return None
    skin = np.unique(mesh.skin_triangles)
    near = skin[(mesh.base[skin, 1] < 6.5) & (mesh.base[skin, 1] > 5.2) & (np.hypot(*mesh.base[skin][:, ::2].T) < 1.9)]
    neck = Neck(mesh.base[near], vertices[near] - mesh.base[near])
    meshes = [ring_mesh(neck, layer) for layer in outfit.layers]
    starts = np.cumsum([0] + [len(rest) for rest, _, _ in meshes[:-1]])
    rest = np.concatenate([rest for rest, _, _ in meshes])
    return Collar(
        vertices=rest + neck.displacement(rest),
        rest=rest,
        triangles=np.concatenate([t + s for (_, t, _), s in zip(meshes, starts, strict=True)]),
        colours=np.concatenate([c for _, _, c in meshes]),
    )


class Neck:
    """Radius and displacement of the skin of the neck, looked up by direction and height of the rest mesh."""

    def __init__(self, rest: np.ndarray, displacement: np.ndarray) -> None:
        self.radius = np.hypot(rest[:, 0], rest[:, 2] - AXIS_Z)
        self.moved = displacement
        self.tree = cKDTree(self.key(np.arctan2(rest[:, 0], rest[:, 2] - AXIS_Z), rest[:, 1]))

    @staticmethod
    def key(theta: np.ndarray, height: np.ndarray) -> np.ndarray:
        return np.stack([0.5 * np.cos(theta), 0.5 * np.sin(theta), height], -1)

    def look_up(self, values: np.ndarray, theta: np.ndarray, height: np.ndarray) -> np.ndarray:
        """Mean of the six nearest vertices, near ones count more."""
        distance, ids = self.tree.query(self.key(theta, height), k=6)
        weight = 1 / (distance + 0.03) ** 2
        weight /= weight.sum(-1, keepdims=True)
        return (values[ids] * weight.reshape(weight.shape + (1,) * (values.ndim - 1))).sum(weight.ndim - 1)

    def displacement(self, rest: np.ndarray) -> np.ndarray:
        """How far this person's neck is from the rest mesh near points [N, 3]."""
        return self.look_up(self.moved, np.arctan2(rest[:, 0], rest[:, 2] - AXIS_Z), rest[:, 1])


def ring_mesh(neck: Neck, layer: Layer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rest vertices, triangles and colours of one collar: rings of COLUMNS points, open in front by the gap."""
    turn = np.linspace(layer.gap, 2 * np.pi - layer.gap, COLUMNS)
    theta = np.where(turn > np.pi, turn - 2 * np.pi, turn)
    inner = neck.look_up(neck.radius, theta, base_line(theta) + 0.1)
    rings = []
    for k, (_, distance) in enumerate(layer.rings):
        y = ring_height(layer, k, theta)
        radius = np.minimum(neck.look_up(neck.radius, theta, y), inner + 0.3) + distance
        rings.append(np.stack([radius * np.sin(theta), y, AXIS_Z + radius * np.cos(theta)], 1))
    n, first = len(rings), np.arange(COLUMNS - 1)
    corner = np.concatenate([first + k * COLUMNS for k in range(n - 1)])
    quads = np.stack([corner, corner + 1, corner + COLUMNS + 1, corner + COLUMNS], 1)
    triangles = np.concatenate([quads[:, [0, 2, 1]], quads[:, [0, 3, 2]]])
    return np.concatenate(rings), triangles, np.tile(layer.colour, (n * COLUMNS, 1))


def ring_height(layer: Layer, k: int, theta: np.ndarray) -> np.ndarray:
    """Height of ring k at rest: lower in front, and the folded part hangs in points beside the gap."""
    front, folded = ramp(np.abs(theta), 0.75, layer.gap), ramp(k, 2.5, len(layer.rings) - 1)
    lower = layer.lower * (0.5 + 0.5 * np.cos(theta)) + layer.points * front * folded
    return base_line(theta) + layer.rings[k][0] - lower


# ------------------------------------------------------------------------------------------------- painted cloth
def paint_clothes(pixels: Pixels, material: Material, person: Person, outfit: Outfit, noise: Noise) -> np.ndarray:
    """Paint body and collars in place; returns the shade [P] that the cloth's edge throws on the skin, 1 elsewhere."""
    x, y, z = np.abs(pixels.rest[:, 0]), pixels.rest[:, 1], pixels.rest[:, 2]
    chest = ramp(z, 0.2, 0.45)
    below = outfit.line + 0.25 * ramp(z, 0.5, -0.2) - outfit.v * np.clip(1 - x / 0.55, 0, 1) * chest
    below = below + 0.16 * ramp(x, 0.4, 1.0)
    wavy = 0.01 * noise(pixels.rest, (4.0,), 95.0)
    worn = pixels.is_collar | (pixels.is_skin & (y < below + wavy))
    paint = np.where(pixels.is_collar[:, None], pixels.paint, body_paint(outfit, x, y, chest))
    edge = np.exp(-((((below - y) - 0.03) / 0.02) ** 2)) * ~pixels.is_collar * (not outfit.layers)
    paint = paint * (1 - 0.3 * edge)[:, None] * fabric(stream(person.seed, "fabric"), pixels, noise)[:, None]
    material.albedo[worn] = np.clip(paint, 0.004, 0.85)[worn]
    material.reflectance[worn], material.skin[worn] = 0.0, 0.0
    folds = 0.10 * noise.vectors(pixels.rest, (1.5, 3.0), 96.0) + 0.05 * noise.vectors(pixels.rest, (8.0, 20.0), 97.0)
    pixels.normal[worn] = (pixels.normal + folds)[worn]
    pixels.normal[worn] /= np.linalg.norm(pixels.normal[worn], axis=1, keepdims=True)
    return np.where(worn, 1.0, 1 - 0.45 * np.exp(-np.clip(y - below, 0, 9) / 0.05) * (y < 6.3))


def body_paint(outfit: Outfit, x: np.ndarray, y: np.ndarray, chest: np.ndarray) -> np.ndarray:
    """Cloth [P, 3]: a jacket open in a V over shirt and tie."""
    paint = np.tile(outfit.cloth, (len(x), 1))
    if outfit.jacket is not None:
        half = np.clip((y - 4.6) / 1.2, 0, 1.2) * 0.42
        jacket = (x > half) | (chest < 0.5)
        paint[jacket] = outfit.jacket
        lapel = (np.abs(x - half - 0.2) < 0.015) | (np.abs(x - half) < 0.02)
        paint[lapel & (chest > 0.5) & jacket] *= 0.5
    if outfit.tie is not None:
        knot = 0.085 * (y > 5.5) + (0.06 + 0.05 * ramp(5.5 - y, 0, 0.7)) * (y <= 5.5)
        paint[(x < knot) & (chest > 0.5)] = outfit.tie
    return paint


def fabric(rng: np.random.Generator, pixels: Pixels, noise: Noise) -> np.ndarray:
    """Factor [P] of the cloth's brightness: wear, weave, for some stripes or checks."""
    x, y = pixels.rest[:, 0], pixels.rest[:, 1]
    weave = np.exp(
        0.05 * noise(pixels.rest, (4.0, 9.0), 98.0) + rng.uniform(0.01, 0.07) * noise(pixels.rest, (22.0, 45.0), 99.0)
    )
    pattern, pitch, contrast = rng.random(), rng.uniform(12, 40), rng.uniform(0.1, 0.5)
    if pattern < 0.06:
        weave = weave * (1 + contrast * np.tanh(3 * np.sin(y * pitch)))
    elif pattern < 0.12:
        weave = weave * (1 + 0.5 * contrast * (np.tanh(3 * np.sin(y * pitch)) + np.tanh(3 * np.sin(x * pitch))))
    return weave
