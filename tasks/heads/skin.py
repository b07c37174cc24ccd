"""Skin: melanin and blood vary over the face; lips, lids, freckles, moles, make-up, shadow of the beard."""

from dataclasses import dataclass

import numpy as np

from tasks.heads.geometry import blob, mix, ramp
from tasks.heads.person import Person, skin_colour, stream
from tasks.heads.pixels import Material, Noise, Pixels

TONGUE_AND_GUMS = np.array([0.30, 0.09, 0.075])


@dataclass(frozen=True)
class Pigment:
    """Absorption by melanin and by blood at each pixel, [P] both."""

    melanin: np.ndarray
    blood: np.ndarray


def paint_skin(pixels: Pixels, person: Person, noise: Noise, hair_colour: np.ndarray) -> Material:
    """The material of all pixels, as if all were skin; clothes, eyes and mouth are painted over it afterwards."""
    rng = stream(person.seed, "skin")
    pigment = draw_pigment(rng, pixels, person, noise)
    albedo = skin_colour(pigment.melanin, pigment.blood)
    albedo = beard_shadow(pixels, albedo, person.hair_colour)
    albedo = mix(albedo, 0.3 * hair_colour + 0.04 * albedo, 0.95 * pixels.scalp)
    albedo = paint_lips(rng, pixels, person, noise, albedo)
    albedo = np.where((pixels.inside > 0.5)[:, None], TONGUE_AND_GUMS, albedo)
    oily = blob(pixels.rest, (0, 7.2, 1.55), (0.12, 0.6, 0.3)) + ramp(pixels.lips, 0.3, 0.8)
    dull = ramp(person.tone, 0.35, 0.08)  # exposure for dark skin would lift its shine too far
    roughness = rng.uniform(0.46, 0.62) + 0.04 * dull - 0.07 * oily + 0.02 * noise(pixels.rest, (8.0, 20.0), 70.0)
    reflectance = rng.uniform(0.016, 0.026) * (1 - 0.45 * dull) * (1 - ramp(pixels.scalp, 0.1, 0.6))
    skin = pixels.is_skin.astype(np.float32)
    return Material(albedo, roughness.astype(np.float32), reflectance.astype(np.float32), skin)


def draw_pigment(rng: np.random.Generator, pixels: Pixels, person: Person, noise: Noise) -> Pigment:
    """Blotches at all scales, flushed cheeks and nose, dark rings, lids."""
    rest = pixels.rest
    coarse, fine = noise(rest, (3.0, 6.0)), noise(rest, (12.0, 24.0, 48.0, 100.0), 7.0)
    uneven = 1 + 0.6 * person.wrinkled
    melanin = person.melanin * np.exp(0.035 * coarse + rng.uniform(0.01, 0.026) * uneven * fine)
    blood = person.blood * np.exp(0.06 * noise(rest, (3.5, 7.0), 13.0) + 0.03 * noise(rest, (14.0, 28.0, 60.0), 17.0))
    blood += flush(rest, pixels.ears) * rng.uniform(0.1, 0.55) * (1 + 0.25 * coarse)
    rings = blob(rest, (0.29, 7.13, 1.38), (0.14, 0.06, 0.2))
    sockets = blob(rest, (0.27, 7.36, 1.35), (0.17, 0.07, 0.2))
    dark = (rng.uniform(0.04, 0.22) * rings + rng.uniform(0.02, 0.12) * sockets + 0.08 * pixels.lids) * (
        0.35 + person.melanin
    )
    melanin = melanin + dark + freckles(rng, pixels, person, noise) + moles(rng, rest)
    blood = blood + rng.uniform(0.03, 0.2) * rings + 0.1 * pixels.lids + 0.04 * sockets
    forehead = blob(rest, (0, 7.8, 1.4), (0.4, 0.25, 0.3))
    return Pigment(melanin * (1 + rng.uniform(-0.08, 0.06) * forehead), blood)


def flush(rest: np.ndarray, ears: np.ndarray) -> np.ndarray:
    """Where blood shows [P]: cheeks, tip and wings of the nose, chin, ears."""
    cheeks = blob(rest, (0.42, 6.98, 1.25), (0.17, 0.15, 0.3))
    nose = blob(rest, (0, 6.92, 1.65), (0.13, 0.1, 0.15)) + 0.5 * blob(rest, (0.14, 6.86, 1.45), (0.06, 0.06, 0.12))
    return cheeks + 0.8 * nose + 0.3 * blob(rest, (0, 6.33, 1.5), (0.2, 0.12, 0.2)) + 0.6 * ears


def freckles(rng: np.random.Generator, pixels: Pixels, person: Person, noise: Noise) -> np.ndarray:
    """Extra melanin [P] of freckles (pale skin) or age spots."""
    has = rng.random() < 0.22 * ramp(person.melanin, 0.8, 0.3) + 0.2 * person.wrinkled
    amount, size = rng.uniform(0.06, 0.25), rng.uniform(16, 24)
    spots = ramp(noise(pixels.rest, (size,), 31.0), 0.8, 2.0) * ramp(noise(pixels.rest, (3.0,), 33.0), -1, 1)
    return has * amount * spots * ramp(pixels.rest[:, 2], 0.8, 1.3)


def moles(rng: np.random.Generator, rest: np.ndarray) -> np.ndarray:
    """Extra melanin [P] of up to three moles."""
    extra = np.zeros(len(rest))
    for _ in range(rng.integers(0, 4)):
        x, y, size, amount = (
            rng.uniform(-0.55, 0.55),
            rng.uniform(6.3, 7.9),
            rng.uniform(0.007, 0.014),
            rng.uniform(0.3, 1),
        )
        d2 = (rest[:, 0] - x) ** 2 + (rest[:, 1] - y) ** 2
        extra += amount * np.exp(-d2 / (2 * size**2)) * (rest[:, 2] > 0.9)
    return extra


def beard_shadow(pixels: Pixels, albedo: np.ndarray, hair_colour: np.ndarray) -> np.ndarray:
    """Shaved or short hair under and in the skin: darker, a little blue."""
    under = 0.45 * albedo * [0.85, 0.97, 1.08] + 0.35 * hair_colour
    return mix(albedo, under, np.clip(pixels.shadow, 0, 0.9))


def paint_lips(
    rng: np.random.Generator, pixels: Pixels, person: Person, noise: Noise, albedo: np.ndarray
) -> np.ndarray:
    """Lips, with make-up for about half of the women; eye shadow goes with it."""
    made_up = not person.is_male and person.years > 18 and rng.random() < 0.55
    red, lipstick, shade = rng.uniform(0.55, 1.1), rng.uniform(0.1, 0.8), rng.uniform(0, 0.4)
    lipstick_tint, shadow_tint = 0.15 * rng.normal(size=3), np.exp(0.3 * rng.normal(size=3))
    colour = skin_colour(0.85 * person.melanin + 0.04, person.blood + red)
    if made_up:
        colour = colour * np.exp(lipstick * np.array([0.1, -0.9, -0.5]) + lipstick_tint) * 0.9
        albedo = albedo * np.exp(-shade * pixels.lids[:, None] * shadow_tint)
    striped = np.exp(0.08 * noise(pixels.rest * np.array([2.5, 0.6, 1], np.float32), (10.0, 22.0), 80.0))
    edge = ramp(pixels.lips + 0.06 * noise(pixels.rest, (9.0, 18.0), 85.0), 0.2, 0.85)
    return mix(albedo, colour * striped[:, None], (0.9 if made_up else 0.75) * edge)
