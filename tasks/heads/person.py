"""Who a seed is: age, sex, ancestry, build, pigments. Everything else (hair, light ...) draws on its own stream.

A topic's stream is `stream(seed, topic)`, so that a change in hair moves neither eyes nor light, and no draw depends on
the picture's size.
"""

from dataclasses import dataclass

import numpy as np

from tasks.heads.geometry import ramp
from tasks.noise import numpy_stream

BLACK, DARK_BROWN, BROWN, LIGHT_BROWN, DARK_BLOND, BLOND, RED = np.array(
    [(0.013, 0.011, 0.010), (0.030, 0.019, 0.012), (0.062, 0.037, 0.021), (0.115, 0.070, 0.039)]
    + [(0.185, 0.130, 0.082), (0.320, 0.248, 0.160), (0.160, 0.058, 0.020)]
)
WHITE_HAIR = np.array([0.46, 0.45, 0.44])
HAIR_COLOURS = np.array([BLACK, DARK_BROWN, BROWN, LIGHT_BROWN, DARK_BLOND, BLOND, RED])
HAIR_SHARES = np.array(  # by ancestry, in the order of mesh.ANCESTRIES; dyed hair included
    [
        (0.40, 0.36, 0.15, 0.04, 0.02, 0.02, 0.01),
        (0.28, 0.40, 0.20, 0.08, 0.02, 0.01, 0.01),
        (0.03, 0.15, 0.25, 0.22, 0.17, 0.13, 0.05),
    ]
)


@dataclass(frozen=True)
class Person:
    """ancestry: shares of mesh.ANCESTRIES; male, muscle, weight: 0..1; melanin: 0.15 pale to 2 dark; blood: 0.4..0.9.

    age: the mesh's scale (1 = 11 years, 2 = 25, 3 = 90); wrinkled, grey: 0..1; hair_colour: linear RGB before greying.
    """

    seed: int
    ancestry: np.ndarray
    years: float
    male: float
    muscle: float
    weight: float
    melanin: float
    blood: float
    wrinkled: float
    hair_colour: np.ndarray
    grey: float

    @property
    def age(self) -> float:
        return float(np.interp(self.years, [1, 11, 25, 90], [0, 1, 2, 3]))

    @property
    def is_male(self) -> bool:
        return self.male > 0.5

    @property
    def tone(self) -> float:
        """Luminance of the bare skin's albedo, 0..1."""
        return float(skin_colour(self.melanin, self.blood) @ [0.2126, 0.7152, 0.0722])


def stream(seed: int, topic: str) -> np.random.Generator:
    """The generator of one topic of one head."""
    return numpy_stream(seed, "heads", topic)


def pick(rng: np.random.Generator, shares: dict[str, float]) -> str:
    """One of the names, as often as their shares (of any sum) say."""
    p = np.array(list(shares.values()))
    return str(rng.choice(list(shares), p=p / p.sum()))


def draw_person(seed: int) -> Person:
    """The person of a seed: one in ten is a child of 7 to 17, the others are 18 to 88."""
    rng = stream(seed, "person")
    ancestry = rng.dirichlet([0.4, 0.4, 0.55])
    years = float(rng.uniform(7, 17) if rng.random() < 0.1 else 18 + 70 * rng.beta(1.1, 1.5))
    male = float(np.clip(rng.choice([0.06, 0.94]) + 0.1 * rng.normal(), 0, 1))
    muscle, weight = rng.uniform(0.3, 0.75), np.clip(rng.normal(0.52, 0.17), 0.15, 0.95)
    melanin = ancestry @ [1.55, 0.50, 0.28] * np.exp(0.25 * rng.normal())
    return Person(
        seed=seed,
        ancestry=ancestry,
        years=years,
        male=male,
        muscle=float(muscle),
        weight=float(weight),
        melanin=float(np.clip(melanin, 0.16, 2.1)),
        blood=float(rng.uniform(0.45, 0.85)),
        wrinkled=float(np.clip((years - 28) / 50 + 0.1 * rng.normal(), 0, 1)),
        hair_colour=draw_hair_colour(rng, ancestry),
        grey=draw_grey(rng, years, male > 0.5),
    )


def draw_hair_colour(rng: np.random.Generator, ancestry: np.ndarray) -> np.ndarray:
    """Linear RGB before greying; shades between the named colours."""
    shares = ancestry @ HAIR_SHARES
    colour = HAIR_COLOURS[rng.choice(len(shares), p=shares / shares.sum())]
    return colour * np.exp(0.2 * rng.normal()) * np.exp(0.06 * rng.normal(size=3))


def draw_grey(rng: np.random.Generator, years: float, is_male: bool) -> float:
    """Share of white hair; many women dye it."""
    onset, full, dyes = rng.normal(46, 8), rng.uniform(12, 35), rng.random() < (0.12 if is_male else 0.55)
    return float((0.1 if dyes else 1.0) * ramp(years, onset, onset + full))


def skin_colour(melanin: np.ndarray | float, blood: np.ndarray | float) -> np.ndarray:
    """Linear albedo [..., 3] of skin: a pale base, absorbed by melanin and blood (exponents set by eye)."""
    melanin, blood = np.asarray(melanin)[..., None], np.asarray(blood)[..., None]
    absorbed = melanin * np.array([0.85, 1.08, 1.22]) + blood * np.array([0.04, 0.40, 0.40])
    return np.array([0.78, 0.67, 0.60]) * np.exp(-absorbed)
