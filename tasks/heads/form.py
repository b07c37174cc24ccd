"""The mesh to be drawn, in view space: head and collars, lit by the surroundings vertex by vertex."""

from dataclasses import dataclass

import numpy as np

from tasks.heads.clothes import Collar
from tasks.heads.geometry import vertex_normals
from tasks.heads.head import Growth, Head
from tasks.heads.kernels import irradiance, rasterize
from tasks.heads.light import directions
from tasks.heads.mesh import COLLAR
from tasks.heads.pixels import Pixels, gather
from tasks.heads.shading import RADIUS, Scene
from tasks.heads.strands import CELL, ORIGIN

NO_COLLAR = Collar(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3), np.int64), np.zeros((0, 3)))


@dataclass(frozen=True)
class Form:
    """vertices: [F, 3] in view space; triangles, parts: of them; table: [F, A] attributes as pixels.ATTRIBUTES."""

    vertices: np.ndarray
    triangles: np.ndarray
    parts: np.ndarray
    table: np.ndarray

    def seen(self, head: Head, side: int) -> Pixels:
        """What a picture of side x side pixels shows of it."""
        depth, index, weights = rasterize(head.crop.screen(self.vertices, side), self.triangles, side)
        return gather(depth, index, weights, self.triangles, self.parts, self.table)


def make_form(head: Head, growth: Growth, scene: Scene) -> Form:
    """Pose, subdivide and light a head."""
    mesh, collar = head.mesh, head.collar or NO_COLLAR
    coarse, cloth = head.pose.view(head.vertices), head.pose.view(collar.vertices)
    light = surroundings(head, scene, coarse, cloth, collar)
    grown = np.stack([growth.hair.density, growth.beard.shadow], 1)
    on_head = [mesh.base, coarse, mesh.masks, grown, light[: len(coarse)]]
    rest, position, masks, grown, received = split(mesh.subdivision @ np.concatenate(on_head, 1), 3, 3, 5, 2, 4)
    normals = vertex_normals(position, mesh.fine_triangles)
    cloth_normals, none = vertex_normals(cloth, collar.triangles), np.zeros((len(cloth), 7))
    body = [rest, position, normals, masks, grown, np.zeros((len(rest), 3)), received]
    clothes = [collar.rest, cloth, cloth_normals, none, collar.colours, light[len(coarse) :]]
    return Form(
        vertices=np.concatenate([position, cloth]),
        triangles=np.concatenate([mesh.fine_triangles, collar.triangles + len(position)]).astype(np.int32),
        parts=np.concatenate([mesh.fine_parts, np.full(len(collar.triangles), COLLAR, np.int8)]),
        table=np.concatenate([np.concatenate(body, 1), np.concatenate(clothes, 1)]).astype(np.float32),
    )


def surroundings(head: Head, scene: Scene, coarse: np.ndarray, cloth: np.ndarray, collar: Collar) -> np.ndarray:
    """Light of the surroundings [V + C, 4] on the base mesh and the collars: RGB and the open share."""
    points = np.concatenate([coarse, cloth])
    triangles = np.concatenate([head.mesh.triangles, collar.triangles + len(coarse)]).astype(np.int32)
    normals = np.concatenate([vertex_normals(coarse, head.mesh.triangles), vertex_normals(cloth, collar.triangles)])
    received, opening = irradiance(
        points, normals, triangles, directions(), scene.light.radiance, RADIUS, scene.density, ORIGIN, CELL
    )
    contact = 0.55 + 0.45 * np.clip(opening, 0, 1)[:, None]  # 48 directions miss part of the shade in corners
    return np.concatenate([received * contact, opening[:, None]], 1)


def split(table: np.ndarray, *widths: int) -> list[np.ndarray]:
    """Columns of a table in groups."""
    return np.split(table, np.cumsum(widths)[:-1], axis=1)
