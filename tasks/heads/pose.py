"""Pose and camera: head and chest turn by their own angles, a perspective camera, alignment to FFHQ's five points."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tasks.heads.geometry import ramp, rotation, unit
from tasks.heads.mesh import Mesh
from tasks.heads.person import Person, stream

TEMPLATE = (
    np.array(  # FFHQ's five points in a 512-pixel crop, scaled to the side 1: eyes, nose, corners of the mouth
        [
            (192.98138, 239.94708),
            (318.90277, 240.1936),
            (256.63416, 314.01935),
            (201.26117, 371.41043),
            (313.08905, 371.15118),
        ]
    )
    / 512
)
CENTRE = np.array([0.0, 7.5, 0.6])  # origin of view space: the middle of the head
NECK = np.array([0.0, 6.5, 0.3])  # the head turns about the top of the neck


@dataclass(frozen=True)
class Pose:
    """head, chest: rotations [3, 3] from rest to view; gaze: unit vector in view space; distance: of the camera, dm."""

    head: np.ndarray
    chest: np.ndarray
    gaze: np.ndarray
    lid_pitch: float
    distance: float
    misalignment: np.ndarray

    def view(self, points: np.ndarray) -> np.ndarray:
        """Rest space [..., 3] to view space: below the chin the neck passes from the head's turn to the chest's."""
        y, z = points[..., 1], points[..., 2]
        with_head = ramp(y + 0.7 * np.clip(z - 0.75, 0, 1), 5.6, 6.6)[..., None]
        arm = points - NECK
        turned = with_head * (arm @ self.head.T) + (1 - with_head) * (arm @ self.chest.T)
        return turned - self.head @ (CENTRE - NECK)

    def project(self, points: np.ndarray) -> np.ndarray:
        """View space [..., 3] to the image plane [..., 2], y down, dm at the head's middle."""
        k = self.distance / (self.distance - points[..., 2])
        return np.stack([points[..., 0] * k, -points[..., 1] * k], -1)


def draw_pose(person: Person) -> Pose:
    """Mostly frontal, as in portraits; people mostly look near the camera, so the eyes undo part of the head's turn."""
    rng = stream(person.seed, "pose")
    wide = 0.32 if rng.random() < 0.28 else 0.15
    yaw, pitch, roll = np.clip(rng.normal(0, [wide, 0.09, 0.06]), -0.75, 0.75)
    chest = rotation(
        yaw * rng.uniform(-0.2, 0.7) + 0.12 * rng.normal(), 0.04 * rng.normal(), roll + 0.06 * rng.normal()
    )
    follow = rng.uniform(0.6, 1.0) if rng.random() < 0.9 else 0.0
    side, up = rng.normal(0, 0.05), rng.normal(0, 0.03)
    gaze_yaw = np.clip(side - follow * yaw, -0.5, 0.5)
    gaze_pitch = np.clip(up + follow * pitch, -0.22, 0.22)
    head = rotation(yaw, pitch, roll)
    return Pose(
        head=head,
        chest=chest,
        gaze=head @ unit(np.array([np.sin(gaze_yaw), np.sin(gaze_pitch), 1.0])),
        lid_pitch=float(gaze_pitch),
        distance=float(np.exp(rng.uniform(np.log(8), np.log(24)))),
        misalignment=rng.normal(0, 0.003, (5, 2)),
    )


@dataclass(frozen=True)
class Crop:
    """Similarity from the image plane to the unit square that brings a head's five points nearest to the template."""

    pose: Pose
    marks: np.ndarray

    @cached_property
    def similarity(self) -> tuple[np.ndarray, np.ndarray]:
        """Matrix [2, 2] and shift [2] by least squares (Umeyama 1991, without reflection)."""
        source, target = self.pose.project(self.pose.view(self.marks)), TEMPLATE + self.pose.misalignment
        a, b = source - source.mean(0), target - target.mean(0)
        c = (a * b).sum() / (a**2).sum()
        s = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / (a**2).sum()
        matrix = np.array([[c, -s], [s, c]])
        return matrix, target.mean(0) - matrix @ source.mean(0)

    @property
    def scale(self) -> float:
        """Image sides a dm."""
        return float(np.hypot(*self.similarity[0][:, 0]))

    def screen(self, points: np.ndarray, side: int) -> np.ndarray:
        """View space [..., 3] to x, y in pixels and depth in dm, float32."""
        matrix, shift = self.similarity
        xy = (self.pose.project(points) @ matrix.T + shift) * side
        return np.concatenate([xy, self.pose.distance - points[..., 2:3]], -1).astype(np.float32)

    def landmarks(self) -> np.ndarray:
        """The head's own five points [5, 2] in the unit square: eyes (the viewer's left one first), nose, mouth."""
        matrix, shift = self.similarity
        return self.pose.project(self.pose.view(self.marks)) @ matrix.T + shift


def five_points(mesh: Mesh, vertices: np.ndarray) -> np.ndarray:
    """[5, 3] on the surface: fronts of the eyes, tip of the nose, corners of the mouth; the person's right first."""
    fronts = []
    for eye in reversed(mesh.eyes):
        low, high = vertices[eye].min(0), vertices[eye].max(0)
        fronts.append((low + high) / 2 + [0, 0, (high[1] - low[1]) / 2])
    corners = [vertices[corner].mean(0) for corner in mesh.mouth_corners]
    return np.stack([*fronts, vertices[mesh.nose_tip], *corners])
