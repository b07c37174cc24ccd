"""The parametric head: vertices = base + sum of weights x targets (MakeHuman / MPFB2, CC0; see NOTICE.txt).

`head.npz` holds the mesh and its 602 targets, `rig.npz` what follows from the mesh alone: one Catmull-Clark level as a
sparse matrix, triangles, masks of regions. `extract.py` makes both. "Rest" means the mesh before any target: a fixed
map of the face, on which regions are described.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy import sparse

from tasks.basics import BadInput as BadInput  # the one place of this room that knows where it lives

FILES = Path(__file__).parent
SKIN, EYE_LEFT, EYE_RIGHT, LASHES, TEETH, TONGUE = range(6)
COLLAR = 8
ANCESTRIES = ("african", "asian", "caucasian")
AGES = ("baby", "child", "young", "old")
MUSCLES = ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHTS = ("minweight", "averageweight", "maxweight")
EYE = np.array([0.3077, 7.284, 1.2446])  # centre of the left eye at rest
HAIRLINE = np.array(  # z, y at rest: where hair begins, from the nape over the ear to the forehead
    [(-0.4, 6.75), (-0.1, 6.8), (0.15, 6.95), (0.35, 7.12), (0.5, 7.3), (0.62, 7.3), (0.72, 7.15), (0.95, 7.5)]
    + [(1.15, 7.78), (1.3, 7.92), (1.42, 8.02), (1.6, 8.3)]
)


@dataclass(frozen=True)
class Mesh:
    """base: [V, 3] rest vertices (dm); triangles, parts: of the base; fine_*: of the subdivided mesh, drawn.

    masks: [V, 5] in [0, 1]: lips, eyelids, ears, inside of the mouth, face. targets: name -> (vertices, offsets).
    """

    base: np.ndarray
    triangles: np.ndarray
    parts: np.ndarray
    targets: dict[str, tuple[np.ndarray, np.ndarray]]
    masks: np.ndarray
    lashes: np.ndarray
    eyes: tuple[np.ndarray, np.ndarray]
    nose_tip: int
    mouth_corners: tuple[np.ndarray, np.ndarray]
    subdivision: sparse.csr_matrix
    fine_triangles: np.ndarray
    fine_parts: np.ndarray

    def vertices(self, weights: dict[str, float]) -> np.ndarray:
        """[V, 3] in dm; a name that is no target is an error."""
        vertices = self.base.astype(np.float64)
        for name, weight in weights.items():
            ids, offsets = self.targets[name]
            vertices[ids] += weight * offsets  # ids are unique inside a target
        return vertices

    @property
    def skin_triangles(self) -> np.ndarray:
        return self.triangles[self.parts == SKIN]

    def over_hairline(self) -> np.ndarray:
        """Height [V] over the hairline in dm at rest; -1 where no hair grows (ears, face, body)."""
        line = np.interp(self.base[:, 2], *HAIRLINE.T)
        scalp = (self.base[:, 1] > 6.6) & (self.masks[:, 2] < 0.3)
        return np.where(scalp, self.base[:, 1] - line, -1.0)


def phenotype(age: float, male: float, ancestry: np.ndarray, muscle: float, weight: float) -> dict[str, float]:
    """Weights of the macro targets.

    age: 0 baby, 1 child of 11, 2 adult of 25, 3 old of 90; male, muscle, weight: 0..1; ancestry: three shares.
    """
    shares = {
        f"{r}-{s}-{a}": ws * wa * wr
        for s, ws in (("female", 1 - male), ("male", male))
        for a, wa in zip(AGES, hats(age, 4), strict=True)
        for r, wr in zip(ANCESTRIES, ancestry, strict=True)
    }
    bodies = {
        f"universal-{s}-{a}-{m}-{g}": ws * wa * wm * wg
        for s, ws in (("female", 1 - male), ("male", male))
        for a, wa in zip(AGES, hats(age, 4), strict=True)
        for m, wm in zip(MUSCLES, hats(2 * muscle, 3), strict=True)
        for g, wg in zip(WEIGHTS, hats(2 * weight, 3), strict=True)
    }
    return {name: float(w) for name, w in (shares | bodies).items() if w > 0}


def hats(at: float, n: int) -> np.ndarray:
    """Linear interpolation between n key shapes: weights [n], at most two are not 0, their sum is 1."""
    return np.maximum(0, 1 - np.abs(np.arange(n) - np.clip(at, 0, n - 1)))


@cache
def load_mesh() -> Mesh:
    """The head of this package; read once per process."""
    head, rig = (np.load(found(FILES / name)) for name in ("head.npz", "rig.npz"))
    rows, cols, vals = head["rows"], head["cols"].astype(int), head["vals"].astype(np.float32)
    starts = np.searchsorted(rows, np.arange(len(head["names"]) + 1))
    spans = zip(head["names"], starts[:-1], starts[1:], strict=True)
    return Mesh(
        base=head["base"],
        triangles=np.ascontiguousarray(rig["triangles"]),
        parts=rig["parts"],
        targets={str(name): (cols[a:b], vals[a:b]) for name, a, b in spans},
        masks=rig["masks"],
        lashes=rig["lashes"],
        eyes=(rig["eye_left"], rig["eye_right"]),
        nose_tip=int(rig["nose_tip"]),
        mouth_corners=mouth_corners(head["base"], rig["masks"][:, 0]),
        subdivision=sparse.csr_matrix((rig["s_data"], rig["s_indices"], rig["s_indptr"]), shape=rig["s_shape"]),
        fine_triangles=rig["fine_triangles"],
        fine_parts=rig["fine_parts"],
    )


def found(path: Path) -> Path:
    """The same path; BadInput where the file is missing."""
    if not path.is_file():
        raise BadInput(f"{path} is missing. Make it with: python -m tasks.heads.extract WHEEL (see its docstring)")
    return path


def mouth_corners(base: np.ndarray, lips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices at the right and the left corner of the mouth (the person's right is at x < 0)."""
    ends = np.where((lips > 0.5) & (np.abs(base[:, 0]) > 0.248) & (base[:, 2] > 1.3))[0]
    return ends[base[ends, 0] < 0], ends[base[ends, 0] > 0]
