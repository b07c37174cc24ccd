"""Small geometry: ramps, unit vectors, blobs, normals, rotations. Lengths in decimetres (dm), y up, z to the front."""

import numpy as np


def ramp(x: np.ndarray | float, start: float, end: float) -> np.ndarray:
    """Smoothstep: 0 at `start`, 1 at `end` (which may be the smaller), flat outside."""
    t = np.clip((np.asarray(x) - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def unit(x: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] at length 1; the zero vector stays."""
    return x / np.maximum(np.sqrt(np.einsum("...i,...i->...", x, x)), 1e-9)[..., None]


def blob(points: np.ndarray, centre: tuple[float, float, float], spread: tuple[float, float, float]) -> np.ndarray:
    """Gaussian bump [N] on both halves of the face: points [N, 3] are taken at |x|; 1 at the centre."""
    mirrored = np.stack([np.abs(points[:, 0]), points[:, 1], points[:, 2]], 1)
    q = (mirrored - np.array(centre, np.float32)) / np.array(spread, np.float32)
    return np.exp(-0.5 * (q * q).sum(1))


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3], each the mean of its triangles' weighted by their area."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        for axis in range(3):
            normals[:, axis] += np.bincount(triangles[:, corner], face[:, axis], len(vertices))
    return unit(normals)


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """[3, 3]: turn about y (yaw), then nod about x (pitch), then tilt about z (roll); radians."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return tilt @ nod @ turn


def mix(a: np.ndarray, b: np.ndarray | float, share: np.ndarray) -> np.ndarray:
    """Rows of a [N, C] turned into b by share [N] in [0, 1]."""
    return a + (b - a) * share[:, None]
