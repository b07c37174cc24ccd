"""Light of a picture: surroundings as radiance over the sphere, and one key light with a shadow."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from tasks.heads.geometry import ramp, unit
from tasks.heads.person import pick, stream

DIRECTIONS = 48
LUMA = np.array([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True)
class Setting:
    """share: how often; key: power of the key light; warmth: its mean tint (< 0 warm); reach: softness of its shadow
    in pixels of the shadow map; size: width of its highlight (roughness); surround: brightness around."""

    share: float
    key: float
    warmth: float
    reach: int
    size: float
    surround: float


SETTINGS = {
    "window": Setting(0.26, 1.3, 0.05, 5, 0.22, 1.0),
    "studio": Setting(0.3, 1.1, 0.0, 4, 0.24, 1.0),
    "sun": Setting(0.12, 2.2, -0.3, 1, 0.04, 1.1),
    "overcast": Setting(0.2, 0.4, 0.05, 6, 0.4, 1.3),
    "evening": Setting(0.06, 1.2, -0.5, 2, 0.12, 0.6),
    "flash": Setting(0.06, 1.5, 0.05, 2, 0.12, 0.7),
}


@dataclass(frozen=True)
class Light:
    """radiance: [DIRECTIONS, 3] of the surroundings; key: unit vector towards the key light; power: [3] of it."""

    setting: str
    radiance: np.ndarray
    key: np.ndarray
    power: np.ndarray

    @property
    def reach(self) -> int:
        return SETTINGS[self.setting].reach

    @property
    def size(self) -> float:
        return SETTINGS[self.setting].size

    @property
    def cast(self) -> np.ndarray:
        """Mean colour [3] of all light, luminance 1."""
        mean = self.radiance.mean(0) + 0.4 * self.power
        return mean / (mean @ LUMA)


@cache
def directions() -> np.ndarray:
    """[DIRECTIONS, 3] unit vectors spread evenly (golden spiral)."""
    k = np.arange(DIRECTIONS) + 0.5
    phi, y = k * np.pi * (3 - 5**0.5), 1 - 2 * k / DIRECTIONS
    return np.stack([np.cos(phi) * np.sqrt(1 - y * y), y, np.sin(phi) * np.sqrt(1 - y * y)], 1)


def tint(warmth: np.ndarray | float) -> np.ndarray:
    """Factor [3] of a light: below 0 warm, above 0 cool."""
    return np.exp(0.7 * warmth * np.array([-0.32, 0.0, 0.42]))


def draw_hue(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Factor [3] mostly along the axis from warm to cool, as light and paint vary."""
    warm, green = rng.normal(), rng.normal()
    return np.exp(spread * warm * np.array([-1.0, 0.0, 1.2]) + 0.25 * spread * green * np.array([1.0, -1.0, 1.0]))


def draw_light(seed: int) -> Light:
    """The light of a seed."""
    rng = stream(seed, "light")
    name = pick(rng, {name: s.share for name, s in SETTINGS.items()})
    setting = SETTINGS[name]
    radiance = setting.surround * (draw_sky(rng, name) + draw_lamps(rng))
    azimuth, height = (0.12 * rng.normal(), 0.1) if name == "flash" else (0.75 * rng.normal(), rng.uniform(0.1, 0.9))
    key = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    power = setting.key * rng.uniform(0.6, 1.7) * tint(setting.warmth + 0.2 * rng.normal())
    return Light(name, radiance, key, power)


def draw_sky(rng: np.random.Generator, name: str) -> np.ndarray:
    """Radiance [DIRECTIONS, 3] from above and below."""
    up = directions()[:, 1]
    above = ramp(up, -0.5, 0.6)[:, None]
    sky, ground = tint(rng.normal(0.15, 0.3)), tint(rng.normal(-0.35, 0.25)) * rng.uniform(0.35, 0.9)
    overcast = 0.8 * (name == "overcast") * ramp(up, 0.0, 0.9)[:, None]
    return rng.uniform(0.2, 0.55) * (above * sky + (1 - above) * ground) + overcast


def draw_lamps(rng: np.random.Generator) -> np.ndarray:
    """Radiance [DIRECTIONS, 3] of one to three broad lights: windows, lamps, bright walls."""
    total = np.zeros((DIRECTIONS, 3))
    for _ in range(rng.integers(1, 4)):
        centre = unit(rng.normal(size=3) * [1, 0.6, 0.8] + [0, 0.3, 0.4])
        shape = np.exp((directions() @ centre - 1) * rng.uniform(3, 12))
        total += rng.uniform(0.2, 1.3) * shape[:, None] * tint(0.4 * rng.normal())
    return total


@cache
def sphere_grid() -> np.ndarray:
    """[64, 128, 3] unit vectors: rows from the zenith down, columns round from behind."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, 64), np.linspace(-np.pi, np.pi, 128), indexing="ij")
    return np.stack([np.sin(phi) * np.sin(theta), np.cos(theta), np.cos(phi) * np.sin(theta)], -1)


def mirrored(light: Light, reflected: np.ndarray, sharpness: float) -> np.ndarray:
    """Radiance [N, 3] of the surroundings along reflected [N, 3], blurred by a lobe exp(sharpness (cos - 1))."""
    lobe = np.exp((sphere_grid() @ directions().T - 1) * sharpness)
    table = (lobe @ light.radiance) / lobe.sum(-1, keepdims=True)
    column = np.round((np.arctan2(reflected[:, 0], reflected[:, 2]) / (2 * np.pi) + 0.5) * 127).astype(int)
    row = np.round(np.arccos(np.clip(reflected[:, 1], -1, 1)) / np.pi * 63).astype(int)
    return table[row, column]
