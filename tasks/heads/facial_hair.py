"""Brows, beard and lashes as strands."""

from dataclasses import dataclass

import numpy as np

from tasks.heads.geometry import ramp, unit
from tasks.heads.mesh import EYE, Mesh
from tasks.heads.person import WHITE_HAIR, Person, pick, stream
from tasks.heads.strands import Roots, Strands, Surface, normals, plant


@dataclass(frozen=True)
class Cut:
    """A beard: regions it grows in, length (dm), share of the head's strands, width of a strand (dm)."""

    share: float
    regions: tuple[str, ...]
    length: tuple[float, float]
    strands: float
    width: float


EVERYWHERE = ("jaw", "moustache", "link", "patch")
CUTS = {
    "none": Cut(0.62, (), (0, 0), 0, 0),
    "stubble": Cut(0.15, EVERYWHERE, (0.015, 0.03), 0.8, 0.0045),
    "short": Cut(0.12, EVERYWHERE, (0.05, 0.11), 0.7, 0.007),
    "full": Cut(0.03, EVERYWHERE, (0.12, 0.28), 0.8, 0.007),
    "moustache": Cut(0.04, ("moustache",), (0.06, 0.11), 0.08, 0.008),
    "goatee": Cut(0.04, ("moustache", "link", "patch", "chin"), (0.05, 0.14), 0.18, 0.008),
}


def beard_regions(mesh: Mesh) -> dict[str, np.ndarray]:
    """Where each part of a beard grows, [V] in [0, 1]."""
    x, y, z = np.abs(mesh.base[:, 0]), mesh.base[:, 1], mesh.base[:, 2]
    cheek = 6.6 + 0.55 * np.clip((x - 0.22) / 0.48, 0, 1)
    jaw = ramp(cheek - y, -0.07, 0.09) * ramp(z, 0.55, 0.7) * ramp(y, 6.0, 6.2)
    moustache = ramp(x, 0.32, 0.24) * ramp(y, 6.65, 6.72) * ramp(y, 6.86, 6.80) * ramp(z, 1.2, 1.3)
    link = ramp(x, 0.2, 0.26) * ramp(x, 0.36, 0.29) * ramp(y, 6.3, 6.45) * ramp(y, 6.8, 6.7) * ramp(z, 1.2, 1.3)
    patch = ramp(x, 0.16, 0.05) * ramp(y, 6.38, 6.42) * ramp(y, 6.5, 6.46)
    chin = jaw * ramp(x, 0.36, 0.22) * (z > 1.2)
    lips, inside, ears = mesh.masks[:, 0], mesh.masks[:, 3], mesh.masks[:, 2]
    bare = np.clip(1 - 2.5 * lips, 0, 1) * (inside < 0.1) * (ears < 0.2)
    regions = {"jaw": jaw, "moustache": moustache, "link": link, "patch": patch, "chin": chin}
    return {name: region * bare for name, region in regions.items()}


@dataclass(frozen=True)
class Beard:
    """shadow: [V], how much shaved or short hair darkens the skin, 0..1; strands: None when shaved."""

    cut: str
    shadow: np.ndarray
    strands: Strands | None


def grow_beard(person: Person, surface: Surface, count: int) -> Beard:
    """Men from 20 years; count: strands of the head."""
    regions = beard_regions(surface.mesh)
    whole = np.max([regions[name] for name in EVERYWHERE], 0)
    if not person.is_male or person.years < 20:
        return Beard("none", 0 * whole, None)
    rng = stream(person.seed, "beard")
    name = pick(rng, {name: cut.share for name, cut in CUTS.items()})
    cut, shaved = CUTS[name], rng.uniform(0.05, 0.4)
    if name == "none":
        return Beard(name, shaved * whole, None)
    density = np.max([regions[r] for r in cut.regions], 0)
    shadow = np.maximum(0.65 * density, shaved * whole)
    roots = plant(stream(person.seed, "beard strands"), surface, density, int(count * cut.strands))
    return Beard(name, shadow, beard_strands(rng, person, cut, roots, count))


def beard_strands(rng: np.random.Generator, person: Person, cut: Cut, roots: Roots, count: int) -> Strands:
    """Strands that grow out and down, away from the middle under the nose."""
    strand_rng = stream(person.seed, "beard growth")
    n, length = len(roots.points), rng.uniform(*cut.length)
    p = roots.points
    aside = np.sign(p[:, 0]) * 0.35 * ((np.abs(p[:, 0]) < 0.3) & (roots.rest[:, 1] > 6.6))
    direction = unit(
        (0.55 - 0.25 * (length > 0.1)) * roots.normals
        + [0, -0.7, 0]
        + aside[:, None] * [1, 0, 0]
        + 0.3 * normals(strand_rng, n, 3)
    )
    steps = 3 if length < 0.06 else 6
    step = length * np.exp(0.25 * normals(strand_rng, n, 1)) / (steps - 1)
    points = [p]
    for _ in range(1, steps):
        direction = unit(direction + [0, -0.12, 0] + (0.1 + 0.2 * (length > 0.1)) * normals(strand_rng, n, 3))
        points.append(points[-1] + direction * step)
    white = np.clip(1.1 * person.grey + 0.15 * normals(strand_rng, n) * (person.grey > 0.02), 0, 1)
    colours = grey_mix(0.85 * person.hair_colour, white) * np.exp(0.2 * normals(strand_rng, n, 1))
    width = np.full(n, cut.width * np.sqrt(10000 / count))
    return Strands("beard", np.stack(points, 1), colours, width, np.full(n, 0.45 if length < 0.04 else 0.7))


def grey_mix(colour: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Colours [N, 3] between a colour and white hair."""
    return colour + (0.85 * WHITE_HAIR - colour) * share[:, None]


@dataclass(frozen=True)
class BrowShape:
    """Lengths in dm on the rest face: where a brow begins and ends, its height, arch and half its thickness."""

    inner: float
    outer: float
    height: float
    arch: float
    thickness: float

    def along(self, rest: np.ndarray) -> np.ndarray:
        """0 at the inner end, 1 at the outer one, [N]."""
        return (np.abs(rest[:, 0]) - self.inner) / (self.outer - self.inner)

    def across(self, rest: np.ndarray) -> np.ndarray:
        """Height over the brow's line in units of its half thickness, [N]."""
        u = self.along(rest)
        line = (
            self.height
            + self.arch * np.sin(np.pi * np.clip(u, 0, 1) ** 1.25)
            + 0.012 * (1 - u)
            - 0.03 * np.clip(u - 0.6, 0, 1)
        )
        return (rest[:, 1] - line) / (self.thickness * np.interp(u, [0, 0.15, 0.6, 1], [0.75, 1.0, 0.85, 0.25]))


def grow_brows(person: Person, surface: Surface) -> Strands:
    """Both brows."""
    rng = stream(person.seed, "brows")
    shape = BrowShape(
        inner=rng.uniform(0.08, 0.13),
        outer=rng.uniform(0.5, 0.57),
        height=7.46 + 0.012 * rng.normal(),
        arch=rng.uniform(0.02, 0.065),
        thickness=rng.uniform(0.032, 0.052) if person.is_male else rng.uniform(0.024, 0.038),
    )
    full, fade = rng.uniform(0.6, 1.3), rng.uniform(0.4, 0.7)
    roots = brow_roots(surface, shape, stream(person.seed, "brow strands"), int(900 * full))
    n = len(roots.points)
    directions = brow_directions(rng, shape, roots)
    length = (0.04 + 0.03 * rng.random(n)) * (1.2 if person.is_male else 1.0)
    k = np.linspace(0, 1, 4)[None, :, None]
    points = roots.points[:, None] + directions[:, None] * length[:, None, None] * k
    points = points - roots.normals[:, None] * 0.02 * k * k
    white = (rng.random(n) < 0.5 * person.grey).astype(float)
    base = np.maximum(person.hair_colour * (0.5 if person.hair_colour.mean() > 0.08 else 0.9), 0.016)
    colours = grey_mix(base, white) * np.exp(0.2 * rng.normal(size=(n, 1)))
    return Strands("brow", points, colours, np.full(n, 0.006), np.full(n, fade))


def brow_roots(surface: Surface, shape: BrowShape, rng: np.random.Generator, count: int) -> Roots:
    """Roots near the brows, kept by the brow's exact place on the rest face."""
    rest = surface.mesh.base
    near = (np.abs(rest[:, 1] - 7.48) < 0.2) & (np.abs(rest[:, 0]) < 0.7) & (rest[:, 2] > 0.9)
    roots = plant(rng, surface, near.astype(float), 12 * count)
    u, e = shape.along(roots.rest), np.abs(shape.across(roots.rest))
    chance = np.exp(-(e**3)) * np.interp(u, [-0.03, 0.15, 0.7, 1.02], [0.1, 0.9, 1.0, 0.5])
    keep = (u > -0.03) & (u < 1.02) & (rng.random(len(u)) < chance)
    return roots.where(np.where(keep)[0][: 2 * count])


def brow_directions(rng: np.random.Generator, shape: BrowShape, roots: Roots) -> np.ndarray:
    """Hairs rise at the inner end and lie outwards and down at the outer one, close to the skin."""
    u, e = shape.along(roots.rest), shape.across(roots.rest)
    out = np.sign(roots.rest[:, 0]) * np.interp(u, [0, 0.3, 1], [0.25, 0.9, 1])
    up = np.interp(u, [0, 0.3, 0.7, 1], [0.9, 0.45, -0.1, -0.4]) - 0.35 * e * (u > 0.2)
    d = unit(np.stack([out, up, 0 * u], 1))
    d = unit(d + 0.22 * rng.normal(size=d.shape))
    return unit(d - (d * roots.normals).sum(1, keepdims=True) * roots.normals + 0.15 * roots.normals)


def grow_lashes(person: Person, surface: Surface) -> Strands:
    """Lashes on the mesh's helper strips, whose quads reach from the lid's edge outwards."""
    rng = stream(person.seed, "lashes")
    rest, quads = surface.mesh.base, surface.mesh.lashes
    ordered = np.array([root_first(rest, quad) for quad in quads])
    upper = rest[quads].mean(1)[:, 1] > EYE[1] + 0.01
    strips = np.repeat(ordered, np.where(upper, 5, 1), 0)
    s, bend = rng.random((len(strips), 1)), 0.2 * rng.normal(size=(len(strips), 1))
    v = surface.vertices[strips]
    root, tip = v[:, 0] * (1 - s) + v[:, 1] * s, v[:, 3] * (1 - s) + v[:, 2] * s
    reach = (0.3 if person.is_male else rng.uniform(0.4, 0.7)) * np.exp(0.25 * rng.normal(size=(len(strips), 1)))
    tip = root + (tip - root) * reach + (v[:, 1] - v[:, 0]) * bend
    points = np.stack([root, root * 0.45 + tip * 0.55, tip], 1)
    n = len(points)
    dark = np.maximum(0.25 * person.hair_colour, 0.010)
    return Strands(
        "lash", points, np.tile(dark, (n, 1)), np.full(n, 0.006), np.full(n, 0.4 if person.is_male else 0.55)
    )


def root_first(rest: np.ndarray, quad: np.ndarray) -> np.ndarray:
    """A quad's corners as root, root, tip, tip in order round it; roots are the side nearest to the eye."""
    eye = EYE * [np.sign(rest[quad, 0].mean()), 1, 1]
    distance = np.linalg.norm(rest[quad] - eye, axis=1)
    start = int(np.argmin(distance + np.roll(distance, -1)))
    return np.roll(quad, -start)
