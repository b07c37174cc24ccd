"""The geometry of a seed before light: who it is, its shape and expression, pose, clothes, and what grows on it."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tasks.heads.clothes import Collar, Outfit, draw_outfit, make_collar
from tasks.heads.eyes import Eyeball, eyeballs
from tasks.heads.facial_hair import Beard, grow_beard, grow_brows, grow_lashes
from tasks.heads.geometry import vertex_normals
from tasks.heads.glasses import Glasses, draw_glasses
from tasks.heads.hair import Hair, grow_hair
from tasks.heads.mesh import TEETH, TONGUE, Mesh, load_mesh
from tasks.heads.person import Person, draw_person
from tasks.heads.pose import Crop, Pose, draw_pose, five_points
from tasks.heads.shape import draw_expression, draw_shape, lid_weights
from tasks.heads.strands import Strands, Surface


@dataclass(frozen=True)
class Head:
    """vertices: [V, 3] dm in rest pose, with the expression; smile: 0..1."""

    mesh: Mesh
    person: Person
    expression: str
    smile: float
    pose: Pose
    crop: Crop
    vertices: np.ndarray
    balls: tuple[Eyeball, Eyeball]
    outfit: Outfit
    collar: Collar | None
    glasses: Glasses | None


@lru_cache(maxsize=2)
def build_head(seed: int) -> Head:
    """The head of a seed; the last two are kept."""
    mesh, person = load_mesh(), draw_person(seed)
    pose, shape = draw_pose(person), draw_shape(mesh, person)
    expression, actions = draw_expression(person)
    vertices = set_teeth(mesh, mesh.vertices(shape | actions | lid_weights(pose.lid_pitch)))
    balls, outfit = eyeballs(mesh, vertices), draw_outfit(person)
    return Head(
        mesh=mesh,
        person=person,
        expression=expression,
        smile=smile_of(actions),
        pose=pose,
        crop=Crop(pose, five_points(mesh, vertices)),
        vertices=vertices,
        balls=balls,
        outfit=outfit,
        collar=make_collar(mesh, mesh.vertices(shape), outfit),
        glasses=draw_glasses(person, balls, top_of_ear(mesh, vertices)),
    )


def set_teeth(mesh: Mesh, vertices: np.ndarray) -> np.ndarray:
    """Teeth and tongue moved down: the mesh's upper teeth end at the closed lips, so smiles would show the lower."""
    moved = vertices.copy()
    teeth, tongue = (np.unique(mesh.triangles[mesh.parts == part]) for part in (TEETH, TONGUE))
    moved[teeth] -= [0, 0.065, 0]
    moved[tongue] -= [0, 0.06, 0.1]
    return moved


def top_of_ear(mesh: Mesh, vertices: np.ndarray) -> np.ndarray:
    """[3]: where the left ear meets the head, at the height of the eyes."""
    ear = np.where((mesh.masks[:, 2] > 0.5) & (mesh.base[:, 0] > 0))[0]
    front = ear[np.argsort(mesh.base[ear, 2] + 0.5 * mesh.base[ear, 1])[-8:]]
    return vertices[front].mean(0)


def smile_of(actions: dict[str, float]) -> float:
    """How far the mouth's corners are drawn up, 0..1."""
    pulled = sum(w for name, w in actions.items() if name.endswith("mouth-corner-puller"))
    return float(min(1.0, actions.get("face/mouthSmileLeft", 0.0) + pulled))


@dataclass(frozen=True)
class Growth:
    """Hair of a head, and all strands (hair, beard, brows, lashes) in rest pose."""

    hair: Hair
    beard: Beard
    strands: list[Strands]


def grow_all(head: Head, count: int) -> Growth:
    """count: strands of a head of density 1."""
    surface = Surface(head.mesh, head.vertices, vertex_normals(head.vertices, head.mesh.triangles))
    hair, beard = grow_hair(head.person, surface, count), grow_beard(head.person, surface, count)
    grown = [s for s in (hair.strands, beard.strands) if s is not None]
    return Growth(hair, beard, [*grown, grow_brows(head.person, surface), grow_lashes(head.person, surface)])
