"""Light on skin, eyes, cloth and strands, in linear light before exposure."""

from dataclasses import dataclass

import cv2
import numpy as np

from tasks.heads.geometry import ramp, unit
from tasks.heads.kernels import light_view, lit_share, march_all, rasterize
from tasks.heads.light import Light, directions, mirrored
from tasks.heads.pixels import Material, Pixels
from tasks.heads.strands import CELL, ORIGIN, Strands

RADIUS = 2.3  # dm: the ball round the head that shadow maps cover
SHADOW_SIDE = 320
WRAP = np.array([0.22, 0.10, 0.06])  # how far light leaks round the terminator in skin
BLUR_MM = np.array([2.4, 1.2, 0.7])  # how far it scatters below, by channel
FILL = unit(np.array([0.0, 0.55, 0.85]))  # the surroundings' mean direction, for strands


@dataclass(frozen=True)
class Scene:
    """light; hair density in view space; the camera's distance (dm); pixels a dm."""

    light: Light
    density: np.ndarray
    distance: float
    scale: float

    def key_shadow(self, pixels: Pixels, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
        """Share [P] of the key light that mesh and hair let through."""
        key = self.light.key
        depth = rasterize(light_view(vertices, key, SHADOW_SIDE, RADIUS), triangles, SHADOW_SIDE)[0]
        seen = light_view(pixels.position + 0.02 * pixels.normal, key, SHADOW_SIDE, RADIUS)
        lit = lit_share(seen, depth, 0.03, self.light.reach)
        hair = march_all(self.density, ORIGIN, CELL, pixels.position + 0.05 * pixels.normal, key, 22, 0.8)
        return lit * np.exp(-1.6 * hair)

    def to_camera(self, positions: np.ndarray) -> np.ndarray:
        """Unit vectors [..., 3]."""
        return unit(np.array([0, 0, self.distance]) - positions)


def shade(pixels: Pixels, material: Material, scene: Scene, shadow: np.ndarray, cavity: np.ndarray) -> np.ndarray:
    """Radiance [P, 3] towards the camera. shadow: [P] of the key light; cavity: [P] light that the place lets in."""
    light, skin = scene.light, material.skin[:, None] > 0
    facing = (pixels.normal @ light.key)[:, None]
    wrap = np.where(skin, WRAP, 0.0)
    key = np.clip((facing + wrap) / (1 + wrap), 0, None) * shadow[:, None] * light.power
    main = unit(light.radiance.sum(1) @ directions())
    bent = 1 + 0.45 * ((pixels.normal - pixels.smooth_normal) @ main)
    received = (pixels.irradiance * bent[:, None] + key) * cavity[:, None]
    received = scatter(pixels, received, skin[:, 0], scene.scale)
    return material.albedo * received + reflected(pixels, material, scene, shadow, cavity)


def scatter(pixels: Pixels, received: np.ndarray, skin: np.ndarray, scale: float) -> np.ndarray:
    """Light that spreads below the skin: blurred over the picture by channel (2.4, 1.2, 0.7 mm), within the skin."""
    picture, mask = pixels.image(received), pixels.image(skin.astype(np.float32))
    for channel, blur_mm in enumerate(BLUR_MM):
        sigma = max(0.4, blur_mm * scale * 0.01)
        weight = np.maximum(cv2.GaussianBlur(mask, (0, 0), sigma), 1e-3)
        blurred = cv2.GaussianBlur(picture[..., channel] * mask, (0, 0), sigma) / weight
        picture[..., channel] += 0.6 * mask * (blurred - picture[..., channel])
    return picture[pixels.covered]


def reflected(pixels: Pixels, material: Material, scene: Scene, shadow: np.ndarray, cavity: np.ndarray) -> np.ndarray:
    """Mirror light [P, 3]: the key as two GGX lobes, the surroundings as a blurred mirror (Schlick's Fresnel)."""
    light, eye = scene.light, material.roughness < 0.2
    normal = unit(pixels.smooth_normal + 0.45 * (pixels.normal - pixels.smooth_normal))
    camera = scene.to_camera(pixels.position)
    half = unit(camera + light.key)
    nh, nv = np.clip((normal * half).sum(1), 0, 1), np.clip((normal * camera).sum(1), 0.02, 1)
    nl, vh = np.clip(normal @ light.key, 0, 1), np.clip((camera * half).sum(1), 0, 1)
    f0, rough = material.reflectance, material.roughness
    lobes = 0.75 * ggx(np.hypot(rough, light.size), nh, nl, nv)
    lobes = lobes + 0.25 * ggx(np.hypot(0.65 * rough, light.size), nh, nl, nv)
    fresnel = np.where(f0 > 0, f0 + (1 - f0) * (1 - vh) ** 5, 0)
    key = (0.75 * np.pi * fresnel * lobes * nl * shadow * cavity)[:, None] * light.power
    around = 2 * (normal * camera).sum(1, keepdims=True) * normal - camera
    mirror = np.where(eye[:, None], mirrored(light, around, 40.0), mirrored(light, around, 8.0))
    grazing = np.where(f0 > 0, f0 + np.clip(1 - rough - f0, 0, 1) * (1 - nv) ** 5, 0)
    strength = grazing * np.clip(pixels.opening, 0, 1) * cavity * np.where(eye, 0.7, 0.25)
    return key + strength[:, None] * mirror


def ggx(roughness: np.ndarray, nh: np.ndarray, nl: np.ndarray, nv: np.ndarray) -> np.ndarray:
    """Microfacet lobe D G / (4 nl nv) of Walter et al. 2007 with Schlick's G."""
    a2 = roughness**4 + 1e-5
    d = a2 / (np.pi * (nh * nh * (a2 - 1) + 1) ** 2)
    k = (roughness + 1) ** 2 / 8
    return d / (4 * (nl * (1 - k) + k) * (nv * (1 - k) + k))


# ------------------------------------------------------------------------------------------------- strands
def shade_strands(strands: Strands, scene: Scene) -> np.ndarray:
    """Radiance [N, K, 3] of strands in view space: diffuse, and the two highlights of Marschner et al. 2003."""
    light, p = scene.light, strands.points
    along = unit(np.gradient(p, axis=1))
    flat = p.reshape(-1, 3)
    thick = 1.2 if strands.kind == "hair" else 0.8
    lit = np.exp(-thick * march_all(scene.density, ORIGIN, CELL, flat, light.key, 16, 0.8)).reshape(p.shape[:2])
    open_share = np.exp(-0.5 * march_all(scene.density, ORIGIN, CELL, flat, FILL, 12, 0.9)).reshape(p.shape[:2])
    tk, tv = along @ light.key, along @ scene.to_camera(p.mean((0, 1)))
    colour = strands.colours[:, None, :] * tips(p.shape[1])[None, :, None]
    around = 0.9 * light.radiance.mean(0)
    diffuse = 0.55 * np.sqrt(np.clip(1 - tk**2, 0, 1))
    plain = 0.3 if strands.kind in ("lash", "brow") else 1.0
    white, tinted = 0.035 * cone(tk + 0.08, tv) ** 30 * plain, 1.1 * cone(tk - 0.12, tv) ** 12 * plain
    sheen = 0.03 * np.clip(1 - np.abs(along[..., 1]), 0, 1) * open_share * (strands.kind == "hair")
    key = (diffuse[..., None] * colour + white[..., None] + tinted[..., None] * np.sqrt(colour) * colour) * lit[
        ..., None
    ]
    return key * light.power + (colour * (0.18 + 0.82 * open_share[..., None]) + sheen[..., None]) * around


def cone(tl: np.ndarray, tv: np.ndarray) -> np.ndarray:
    """Cosine between the view and the cone of directions into which a fibre mirrors light, [N, K]."""
    return np.clip(np.sqrt(np.clip(1 - tl**2, 0, 1)) * np.sqrt(np.clip(1 - tv**2, 0, 1)) - tl * tv, 0, 1)


def tips(steps: int) -> np.ndarray:
    """Factor [K] of brightness along a strand: darker roots, lighter tips."""
    return 0.8 + 0.4 * ramp(np.linspace(0, 1, steps), 0.0, 1.0)
