"""Hair of the head: a style is data, its strands grow step by step along a combed direction under gravity."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from tasks.heads.geometry import ramp, unit
from tasks.heads.person import WHITE_HAIR, Person, pick, stream
from tasks.heads.strands import Roots, Skull, Strands, Surface, normals, plant, uniforms

DOWN, BACK = np.array([0, -1.0, 0]), np.array([0, 0, -1.0])
LOCKS = 260  # locks of a head: strands bend towards the middle strand of theirs


@dataclass(frozen=True)
class Style:
    """length: dm; comb: which way strands lie at the root; gravity, curl (0..1); clump: how far locks draw together.

    falls: whether strands hang down past the head; lift: dm over the skull; trimmed: how much shorter the sides are.
    """

    length: tuple[float, float]
    comb: str
    gravity: float = 0.12
    curl: tuple[float, float] = (0.04, 0.2)
    clump: tuple[float, float] = (0.3, 0.6)
    lift: tuple[float, float] = (0.0, 0.08)
    falls: bool = False
    trimmed: tuple[float, float] = (0.0, 0.0)
    density: float = 1.0


STYLES = {
    "long": Style((1.7, 3.4), "parted", 0.5, (0.01, 0.10), (0.3, 0.65), (0.01, 0.10), falls=True),
    "bob": Style((0.95, 1.6), "parted", 0.5, (0.01, 0.10), (0.3, 0.65), (0.02, 0.14), falls=True),
    "wavy": Style((1.0, 2.4), "parted", 0.45, (0.15, 0.35), (0.4, 0.75), (0.05, 0.2), falls=True),
    "curly": Style((0.6, 1.5), "parted", 0.35, (0.35, 0.6), (0.6, 0.85), (0.05, 0.2), falls=True),
    "tied": Style((1.0, 1.0), "back", 0.08, (0.01, 0.05), (0.2, 0.4), (0.01, 0.06)),
    "back": Style((0.45, 0.85), "back", 0.3, (0.04, 0.15), (0.3, 0.6), (0.04, 0.16), trimmed=(0.4, 0.8)),
    "side": Style((0.35, 0.7), "side", 0.45, (0.03, 0.15), (0.3, 0.6), (0.03, 0.14), trimmed=(0.4, 0.85)),
    "short": Style((0.22, 0.5), "forward", 0.3, (0.05, 0.25), (0.3, 0.65), trimmed=(0.3, 0.75)),
    "crop": Style((0.12, 0.22), "forward", 0.1, (0.05, 0.2), (0.2, 0.4), trimmed=(0.3, 0.7), density=1.2),
    "pixie": Style((0.3, 0.65), "side", 0.5, (0.05, 0.2), (0.35, 0.6), (0.03, 0.12), trimmed=(0.1, 0.4)),
    "buzz": Style((0.03, 0.09), "out", 0.0, (0.2, 0.3), (0.0, 0.0), density=1.3),
    "coily": Style((0.12, 0.35), "out", 0.0, (0.8, 1.0), (0.3, 0.5), density=1.3),
    "afro": Style((0.3, 0.65), "out", 0.0, (0.8, 1.0), (0.25, 0.4), density=1.3),
    "bald": Style((0.03, 0.2), "forward", 0.1, (0.1, 0.2), (0.0, 0.2), density=0.7),
}
WOMEN = {"long": 0.3, "bob": 0.24, "wavy": 0.16, "tied": 0.1, "pixie": 0.12, "curly": 0.08}
MEN = {"side": 0.28, "short": 0.24, "crop": 0.2, "back": 0.12, "buzz": 0.07, "curly": 0.03, "wavy": 0.03, "bald": 0.03}
AFRICAN_WOMEN = {"tied": 0.18, "coily": 0.24, "afro": 0.1, "bob": 0.18, "long": 0.14, "curly": 0.12}
AFRICAN_MEN = {"buzz": 0.36, "coily": 0.32, "crop": 0.12, "afro": 0.05, "bald": 0.1}


@dataclass(frozen=True)
class Hair:
    """What the rest of the head needs to know: density: [V] of the scalp, 0..1; strands: None when shaved."""

    style: str
    density: np.ndarray
    colour: np.ndarray
    strands: Strands | None


def grow_hair(person: Person, surface: Surface, count: int) -> Hair:
    """count: strands of a head of density 1; at most strands.MOST / 1.3."""
    rng = stream(person.seed, "hair")
    name = draw_style(rng, person)
    over = receded(rng, person, surface, over=surface.mesh.over_hairline(), bald=name == "bald")
    density = thinned(rng, person, surface, ramp(over, -0.02, 0.07))
    if density.max() <= 0:
        return Hair(name, density, person.hair_colour, None)
    strand_rng = stream(person.seed, "strands")
    crowded = density * (1 + 2 * ramp(over, 0.3, 0.0) * ramp(surface.mesh.base[:, 2], 0.6, 0.9))
    roots = plant(strand_rng, surface, crowded, int(count * STYLES[name].density))
    strands = grow(rng, strand_rng, person, STYLES[name], roots, Skull(surface))
    edge = ramp(roots.sample(over), -0.02, 0.10)
    return Hair(
        style=name,
        density=density,
        colour=greyed(person),
        strands=Strands("hair", strands, coloured(strand_rng, person, roots), *thickness(name, edge, count)),
    )


def draw_style(rng: np.random.Generator, person: Person) -> str:
    """A style that suits sex, age and ancestry."""
    african = rng.random() < person.ancestry[0] * 1.25 - 0.2
    if person.is_male:
        shares = dict(AFRICAN_MEN if african else MEN)
        shares["bald"] *= 1 + 7 * float(ramp(person.years, 30, 65))
    else:
        shares = dict(AFRICAN_WOMEN if african else WOMEN)
        shares["pixie"] = shares.get("pixie", 0) + 0.5 * float(ramp(person.years, 45, 80))
    if person.years < 20:
        shares.pop("bald", None)
    return pick(rng, shares)


def receded(rng: np.random.Generator, person: Person, surface: Surface, over: np.ndarray, bald: bool) -> np.ndarray:
    """Height over this person's hairline [V]: shifted at the forehead, receding at the temples of older men."""
    rest = surface.mesh.base
    low, temple = rng.normal(-0.10 if person.is_male else -0.13, 0.045), max(0, rng.normal(0.03, 0.1))
    wave = 0.03 * np.sin(rest[:, 0] * rng.uniform(6, 14) + rng.uniform(0, 6))
    old = 0.3 * float(ramp(person.years, 30, 70)) * rng.random()
    recede = (temple + old) * (person.is_male and person.years > 20)
    shift = low + wave + recede * ramp(np.abs(rest[:, 0]), 0.02, 0.45)
    over = over - shift * ramp(rest[:, 2], 0.75, 1.1)
    top = ramp(rest[:, 1], 7.5, 7.72) + ramp(rest[:, 2], 0.72, 0.9)
    return np.where(bald, over - 0.5 * top, over)


def thinned(rng: np.random.Generator, person: Person, surface: Surface, density: np.ndarray) -> np.ndarray:
    """A thin crown for some older men."""
    rest = surface.mesh.base
    crown, thin = rng.uniform(-0.3, 0.5), rng.random() < 0.35 * float(ramp(person.years, 35, 65)) * person.is_male
    spot = np.exp(-((rest[:, 2] - crown) ** 2 + rest[:, 0] ** 2) / 0.15) * (rest[:, 1] > 7.9)
    return density * (1 - 0.85 * thin * spot)


def greyed(person: Person) -> np.ndarray:
    """The mean colour of the hair, linear RGB."""
    return person.hair_colour + (WHITE_HAIR - person.hair_colour) * person.grey


def coloured(rng: np.random.Generator, person: Person, roots: Roots) -> np.ndarray:
    """Colours [N, 3]: grey hair is a mixture of white and old-coloured strands, first at the temples."""
    n = len(roots.points)
    sides = ramp(roots.rest[:, 1], 7.95, 7.3)
    share = np.clip(person.grey * (0.75 + 0.5 * sides) + 0.18 * normals(rng, n) * (0.02 < person.grey < 0.98), 0, 1)
    return (person.hair_colour + (WHITE_HAIR - person.hair_colour) * share[:, None]) * np.exp(0.10 * normals(rng, n, 1))


def thickness(style: str, edge: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Widths in dm and opacity [N]: the fewer strands, the more hairs one stands for; finer at the hairline."""
    short = style in ("buzz", "coily", "bald", "crop")
    width = (0.011 if short else 0.0155) * np.sqrt(10000 / count)
    return width * (0.45 + 0.55 * edge), 0.3 + 0.55 * edge


# ------------------------------------------------------------------------------------------------- growth
def grow(
    rng: np.random.Generator, strand_rng: np.random.Generator, person: Person, style: Style, roots: Roots, skull: Skull
) -> np.ndarray:
    """Strands [N, K, 3] in dm from the roots; the style's choices on `rng`, each strand's on `strand_rng`."""
    n = len(roots.points)
    length, lift, curl, clump, trim = (
        rng.uniform(*r) for r in (style.length, style.lift, style.curl, style.clump, style.trimmed)
    )
    fringe = rng.random() < (0.45 if style.comb in ("parted", "forward") else 0.0)
    comb = combed(rng, style, roots, fringe)
    lock = cKDTree(roots.points[:LOCKS]).query(roots.points)[1]
    jitter = normals(strand_rng, LOCKS, 4)[lock]
    lengths = length * np.exp(0.10 * normals(strand_rng, n) + 0.10 * jitter[:, 3])
    lengths *= 1 - trim * ramp(roots.points[:, 1], 7.95, 7.45)
    lengths = cut_fringe(rng, lengths, roots) if fringe and style.falls else lengths
    steps = 5 if length < 0.25 else 9 if length < 0.9 else 15
    walk = Walk(
        comb=unit(comb + 0.10 * jitter[:, :3]),
        step=lengths / (steps - 1),
        lift=(lift + 0.02) * (0.25 + 0.75 * uniforms(strand_rng, n)) * (style.comb != "out"),
        curl=curl,
        tuck=float(rng.uniform(0, 1)),
        fringe=fringe * ramp(roots.rest[:, 2], 0.85, 1.2),
    )
    points = walk.go(strand_rng, style, roots, skull, steps)
    points += waves(rng, strand_rng, style, lock, steps)
    pull = clump * ramp(np.linspace(0, 1, steps), 0.05, 1.0)[None, :, None]
    return points[lock] * pull + points * (1 - pull)


def combed(rng: np.random.Generator, style: Style, roots: Roots, fringe: bool) -> np.ndarray:
    """Directions [N, 3] in which hair lies at the roots."""
    p, normal = roots.points, roots.normals
    front, top = ramp(p[:, 2], 0.7, 1.25)[:, None], ramp(p[:, 1], 7.6, 7.98)[:, None]
    parting = rng.choice([-1, 1]) * rng.uniform(0.0, 0.35)
    away = np.stack([np.tanh((p[:, 0] - parting) / 0.04), 0 * p[:, 0], 0 * p[:, 0]], 1)
    sweep, forward, turn = rng.uniform(0.3, 1.2), rng.uniform(-0.5, 1.0), rng.normal(0, 0.6)
    spread = rng.uniform(0.0, 0.8)
    match style.comb:
        case "parted":
            comb = 0.65 * away + 1.1 * DOWN + sweep * (0.5 + 0.3 * front) * BACK
            hanging = -0.6 * BACK + DOWN + spread * away
            return comb * (1 - front) + hanging * front if fringe else comb
        case "back":
            return BACK + 0.15 * DOWN + [0, 0.35, 0] + 0.25 * normal
        case "side":
            over = np.array([np.sign(parting + 1e-9), 0.1, -0.3]) * (0.6 + 0.5 * front)
            return over * top + (0.8 * DOWN + 0.5 * BACK) * (1 - top) + 0.3 * normal
        case "forward":
            over = np.array([turn, 0.2, forward])
            return over * top + (0.9 * DOWN + 0.3 * BACK) * (1 - top) + 0.5 * normal
    return normal


def cut_fringe(rng: np.random.Generator, lengths: np.ndarray, roots: Roots) -> np.ndarray:
    """Strands of the forehead cut to a fringe's length."""
    front = ramp(roots.rest[:, 2], 0.75, 1.05)
    return lengths * (1 - front) + front * np.minimum(lengths, rng.uniform(0.36, 0.56))


@dataclass(frozen=True)
class Walk:
    """How strands go step by step. comb: [N, 3]; step, lift, fringe: [N]; tuck: 0 frames the face, 1 lies behind."""

    comb: np.ndarray
    step: np.ndarray
    lift: np.ndarray
    curl: float
    tuck: float
    fringe: np.ndarray

    def go(self, rng: np.random.Generator, style: Style, roots: Roots, skull: Skull, steps: int) -> np.ndarray:
        """Points [N, steps, 3]."""
        n = len(roots.points)
        p, wander = roots.points, normals(rng, n, 3)
        rise = {"back": 0.4, "parted": 0.3, "side": 0.5}.get(style.comb, 0.8)
        direction = unit(rise * roots.normals + 0.8 * self.comb)
        points = [p - 0.01 * roots.normals]
        for k in range(1, steps):
            wander = 0.6 * wander + 0.8 * normals(rng, n, 3)
            direction = self.turn(direction, wander, style, skull.outward(p), k / steps)
            p = skull.push(p + direction * self.step[:, None], self.lift * min(1, 2.5 * k / steps))
            if style.falls:
                p = self.off_the_face(p)
            points.append(p)
        return np.stack(points, 1)

    def turn(
        self, direction: np.ndarray, wander: np.ndarray, style: Style, outward: np.ndarray, at: float
    ) -> np.ndarray:
        """The next direction: along the skull as combed, down by gravity, sideways by curl."""
        flat = self.comb
        if style.comb != "out":
            flat = flat - 0.95 * (flat * outward).sum(1, keepdims=True) * outward
        turned = unit(0.55 * direction + 0.45 * flat + style.gravity * at * DOWN + 0.35 * self.curl * wander)
        return unit(turned + 0.9 * ramp(at, 0.2, 0.5) * DOWN) if style.falls else turned

    def off_the_face(self, p: np.ndarray) -> np.ndarray:
        """Below the temples hair moves beside the face (an ellipse seen from above), and back when tucked."""
        low = ramp(7.7 - p[:, 1], 0, 0.3) * (p[:, 2] > 0.45) * (1 - self.fringe * (p[:, 1] > 7.42))
        beside = 0.82 * np.sqrt(np.clip(1 - ((p[:, 2] - 0.45) / 1.15) ** 2, 0.05, 1))
        gap = np.clip(beside - np.abs(p[:, 0]), 0, None) * low
        rate = np.minimum(1, 5 * self.step)
        moved = p.copy()
        moved[:, 0] += np.sign(p[:, 0]) * gap * rate
        moved[:, 2] -= low * rate * (0.05 + 0.4 * self.tuck) + 0.6 * gap * rate
        return moved


def waves(
    rng: np.random.Generator, strand_rng: np.random.Generator, style: Style, lock: np.ndarray, steps: int
) -> np.ndarray:
    """Offsets [N, steps, 3] of hair that falls in waves; neighbours in a lock wave together."""
    amount = rng.uniform(0.0, 0.045) if style.curl[0] < 0.1 else rng.uniform(0.03, 0.08)
    turns = rng.uniform(3, 8) * (1.6 if style.curl[0] > 0.3 else 1)
    s = np.linspace(0, 1, steps)
    phase = (
        6.3 * uniforms(strand_rng, LOCKS)[lock][:, None]
        + turns * s * np.exp(0.15 * normals(strand_rng, LOCKS)[lock])[:, None]
    )
    size = amount * style.falls * ramp(s, 0.1, 0.5)
    return np.stack([size * np.sin(phase), 0 * phase, size * np.cos(phase)], -1)
