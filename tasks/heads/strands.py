"""Strands: how they root in the skin, stay outside the skull and fill space. Hair, brows, beard and lashes are strands.

Draws come in rows of MOST strands, of which a picture uses the first ones: more strands at a larger size add to the
same hair.
"""

from dataclasses import dataclass, replace

import numpy as np

from tasks.heads.geometry import unit
from tasks.heads.kernels import splat
from tasks.heads.mesh import Mesh
from tasks.heads.pose import Pose

MOST = 24000
GRID, CELL, ORIGIN = 64, 5.0 / 64, np.array([-2.5, -3.2, -2.5])  # hair density: cells, dm a cell, corner in view space


@dataclass(frozen=True)
class Strands:
    """points: [N, K, 3] from root to tip; colours: [N, 3] linear albedo; widths: [N] dm; opacity: [N] in [0, 1].

    kind: "hair", "beard", "brow", "lash". shades: whether they count in the density that shadows skin and hair.
    """

    kind: str
    points: np.ndarray
    colours: np.ndarray
    widths: np.ndarray
    opacity: np.ndarray

    @property
    def shades(self) -> bool:
        return self.kind in ("hair", "beard")

    def posed(self, pose: Pose) -> "Strands":
        """The same strands in view space."""
        return replace(self, points=pose.view(self.points))


@dataclass(frozen=True)
class Surface:
    """The head at rest pose as hair needs it: vertices and normals [V, 3] of the base mesh."""

    mesh: Mesh
    vertices: np.ndarray
    normals: np.ndarray


@dataclass(frozen=True)
class Roots:
    """points, normals: [N, 3]; rest: [N, 3], the same points on the rest mesh, where regions are described."""

    points: np.ndarray
    normals: np.ndarray
    rest: np.ndarray
    corners: np.ndarray
    weights: np.ndarray

    def sample(self, values: np.ndarray) -> np.ndarray:
        """Values [V] of the vertices at the roots, [N]."""
        return (values[self.corners] * self.weights).sum(1)

    def where(self, keep: np.ndarray) -> "Roots":
        return Roots(*(getattr(self, name)[keep] for name in ("points", "normals", "rest", "corners", "weights")))


def normals(rng: np.random.Generator, count: int, *shape: int) -> np.ndarray:
    """Standard normal [count, *shape], whose rows do not depend on count."""
    return rng.standard_normal((MOST, *shape), dtype=np.float32)[:count].astype(np.float64)


def uniforms(rng: np.random.Generator, count: int) -> np.ndarray:
    """Uniform [count] in [0, 1), whose values do not depend on count."""
    return rng.random(MOST)[:count]


def plant(rng: np.random.Generator, surface: Surface, density: np.ndarray, count: int) -> Roots:
    """Random roots on the skin, as dense as `density` [V] (relative) says; density must not be 0 everywhere."""
    triangles, v = surface.mesh.skin_triangles, surface.vertices
    a, b, c = (v[triangles[:, k]] for k in range(3))
    share = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1) * density[triangles].mean(1))
    pick = np.searchsorted(share / share[-1], uniforms(rng, count)).clip(0, len(triangles) - 1)
    s, t = uniforms(rng, count), uniforms(rng, count)
    flip = s + t > 1
    s, t = np.where(flip, 1 - s, s), np.where(flip, 1 - t, t)
    weights = np.stack([1 - s - t, s, t], 1)
    corners = triangles[pick]

    def at(values: np.ndarray) -> np.ndarray:
        return (values[corners] * weights[..., None]).sum(1)

    return Roots(at(v), unit(at(surface.normals)), at(surface.mesh.base), corners, weights)


class Skull:
    """Ellipsoid round the cranium, a cylinder below it, that keeps strands outside the head."""

    def __init__(self, surface: Surface) -> None:
        rest = surface.mesh.base
        top = surface.vertices[(surface.mesh.over_hairline() > 0.05) & (rest[:, 1] > 7.4)]
        self.centre = np.array([0, top[:, 1].max() - 0.98, (top[:, 2].max() + top[:, 2].min()) / 2])
        arm = top - self.centre
        radii = np.array([np.abs(arm[:, 0]).max(), arm[:, 1].max(), np.abs(arm[:, 2]).max()])
        self.radii = radii * np.median(np.sqrt(((arm / radii) ** 2).sum(1)))

    def outward(self, points: np.ndarray) -> np.ndarray:
        """Unit directions [N, 3] away from the surface."""
        return unit((points - self.centre) / self.radii**2)

    def push(self, points: np.ndarray, lift: np.ndarray) -> np.ndarray:
        """Points [N, 3] moved out until they are `lift` [N] dm above the surface."""
        q = (points - self.centre) / self.radii
        q[:, 1] *= np.where(q[:, 1] < 0, 0.45, 1)
        distance = np.linalg.norm(q, axis=1)
        needed = 1 + lift / self.radii.mean()
        q *= np.where(distance < needed, needed / np.maximum(distance, 0.2), 1)[:, None]
        q[:, 1] /= np.where(q[:, 1] < 0, 0.45, 1)
        return q * self.radii + self.centre


def density_grid(strands: list[Strands]) -> np.ndarray:
    """Cross-section of hair per volume (1 / dm) in view space, [GRID, GRID, GRID], slightly smoothed."""
    density: np.ndarray = np.zeros((GRID,) * 3, np.float32)
    for s in strands:
        if s.shades:
            length = np.linalg.norm(np.diff(s.points, axis=1), axis=2)
            middle = (s.points[:, 1:] + s.points[:, :-1]) / 2
            amount = (length * (s.widths * s.opacity)[:, None]).reshape(-1)
            density += splat(middle.reshape(-1, 3), amount.astype(np.float32), ORIGIN, CELL, GRID)
    for axis in range(3):
        density = (np.roll(density, 1, axis) + 2 * density + np.roll(density, -1, axis)) / 4
    return density / np.float32(CELL**3)
