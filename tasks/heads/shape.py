"""The person's head as target weights: macro targets, local shape within plausible limits, and the expression."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from tasks.heads.mesh import ANCESTRIES, Mesh, phenotype
from tasks.heads.person import Person, pick, stream

PLUS = ("-incr", "-out", "-up", "-forward", "-convex", "-uncompress")
MINUS = ("-decr", "-in", "-down", "-backward", "-concave", "-compress")
LEFT_OUT = ("trans-in", "head-trans", "head-angle", "neck-trans", "measure", "head-age", "-scale-vert")
OUTLINES = ("diamond", "invertedtriangular", "oval", "rectangular", "round", "square", "triangular")
SPREADS = {"eyes": 0.55, "ears": 0.7, "head": 0.55, "asym": 0.35, "neck": 0.35, "mouth": 0.6, "nose": 0.85}
FARTHEST = 0.095  # dm: what 95 % of the face's points may move by local targets, all together
TYPICAL = {  # added to all: the mesh's mouths are narrower and its noses longer than FFHQ's mean face (pose.TEMPLATE)
    "mouth/mouth-scale-horiz-incr": 0.3,
    "mouth/mouth-trans-up": 0.3,
    "head/head-scale-vert-decr": 0.14,
    "head/head-fat-incr": 0.12,
    "chin/chin-height-incr": 0.12,
    "nose/nose-point-up": 0.5,
    "nose/nose-scale-vert-decr": 0.5,
}
UNITS = tuple(f"unit-{ancestry}/" for ancestry in ANCESTRIES)


@dataclass(frozen=True)
class Expression:
    """share: how often; actions: face targets and the range of their weight; `*` stands for Left and Right.

    units: targets of whole expressions, drawn for each ancestry by its share.
    """

    share: float
    actions: dict[str, tuple[float, float]]
    units: dict[str, tuple[float, float]]


EXPRESSIONS = {
    "neutral": Expression(0.18, {}, {}),
    "faint smile": Expression(0.12, {"mouthSmile*": (0.15, 0.45), "cheekSquint*": (0.0, 0.2)}, {}),
    "smile": Expression(
        0.14, {"cheekSquint*": (0.2, 0.45), "eyeSquint*": (0.1, 0.3)}, {"mouth-corner-puller": (0.3, 0.75)}
    ),
    "grin": Expression(
        0.38,
        {"mouthSmile*": (0.0, 0.25), "cheekSquint*": (0.25, 0.6), "eyeSquint*": (0.15, 0.45)},
        {"mouth-corner-puller": (0.35, 0.65), "mouth-part-later": (0.3, 0.7)},
    ),
    "broad smile": Expression(
        0.06,
        {"cheekSquint*": (0.3, 0.5), "eyeSquint*": (0.15, 0.3)},
        {"mouth-corner-puller": (0.4, 0.65), "mouth-upward-retraction": (0.3, 0.6), "mouth-part-later": (0.1, 0.3)},
    ),
    "laugh": Expression(
        0.03,
        {"cheekSquint*": (0.4, 0.65), "eyeSquint*": (0.2, 0.4), "jawOpen": (0.1, 0.22)},
        {"mouth-corner-puller": (0.45, 0.7), "mouth-part-later": (0.5, 0.75)},
    ),
    "talk": Expression(
        0.04,
        {"jawOpen": (0.05, 0.18), "mouthFunnel": (0.0, 0.2), "mouthPucker": (0.0, 0.15), "mouthUpperUp*": (0.0, 0.3)},
        {},
    ),
    "stern": Expression(0.03, {"browDown*": (0.2, 0.5), "mouthFrown*": (0.1, 0.3), "mouthPress*": (0.1, 0.3)}, {}),
    "surprise": Expression(
        0.02,
        {"eyeWide*": (0.2, 0.4), "browOuterUp*": (0.2, 0.5), "browInnerUp": (0.2, 0.5), "jawOpen": (0.05, 0.2)},
        {},
    ),
}


def draw_shape(mesh: Mesh, person: Person) -> dict[str, float]:
    """Target weights of the face at rest, without expression."""
    macro = phenotype(person.age, person.male, person.ancestry, person.muscle, person.weight)
    known = {name: w for name, w in macro.items() if name in mesh.targets}
    local = within_limits(mesh, draw_local(mesh, stream(person.seed, "shape")))
    return known | local | {name: w + local.get(name, 0.0) for name, w in TYPICAL.items()}


def draw_local(mesh: Mesh, rng: np.random.Generator) -> dict[str, float]:
    """Weights of the local targets: opposite targets share one draw, left and right one too (with a little between)."""
    weights = {}
    for key, names in local_groups(tuple(mesh.targets)).items():
        amount, between, one_side = np.clip(rng.normal(0, 0.3), -0.7, 0.7), rng.normal(0, 0.05), rng.random()
        scale = SPREADS.get(key.partition("/")[0], 0.7)
        for name in names:
            weight = side_weight(name, amount + (between if "/l-" in name else -between), one_side)
            weights[name] = scale * weight
    outline = rng.choice(OUTLINES)
    weights |= {f"head/head-{o}": 0.5 * rng.random() * (o == outline) for o in OUTLINES}
    return {name: float(w) for name, w in weights.items() if w > 0}


def side_weight(name: str, amount: float, one_side: float) -> float:
    """The part of a signed amount that falls to this target, 0..1."""
    if name.endswith(PLUS):
        return max(0, amount)
    if name.endswith(MINUS):
        return max(0, -amount)
    return abs(amount) * (one_side < 0.5) if name.startswith("asym") else max(0, amount)


@cache
def local_groups(names: tuple[str, ...]) -> dict[str, list[str]]:
    """Targets that describe one measure: -incr and -decr, left and right."""
    groups: dict[str, list[str]] = {}
    for name in names:
        if "/" not in name or name.startswith(("unit-", "face/")) or any(part in name for part in LEFT_OUT):
            continue
        if name.removeprefix("head/head-") in OUTLINES:
            continue
        ending = next((e for e in PLUS + MINUS if name.endswith(e)), "")
        key = name.removesuffix(ending).replace("/l-", "/*-").replace("/r-", "/*-")
        groups.setdefault(key, []).append(name)
    return dict(sorted(groups.items()))


def within_limits(mesh: Mesh, weights: dict[str, float]) -> dict[str, float]:
    """All weights scaled down together where their sum moves the face too far (each is drawn on its own)."""
    moved = mesh.vertices(weights) - mesh.base
    on_face = mesh.masks[:, 4] > 0.5
    farthest = np.quantile(np.linalg.norm(moved[on_face], axis=1), 0.95)
    shrink = min(1.0, FARTHEST / farthest)
    return {name: w * shrink for name, w in weights.items()}


def draw_expression(person: Person) -> tuple[str, dict[str, float]]:
    """The expression's name and its target weights; brows and lids vary in every expression."""
    rng = stream(person.seed, "expression")
    name = pick(rng, {name: e.share for name, e in EXPRESSIONS.items()})
    expression = EXPRESSIONS[name]
    strength = rng.uniform(0, 1)
    actions = {action: low + strength * (high - low) for action, (low, high) in expression.actions.items()}
    for action, most in (
        ("eyeWide*", 0.1),
        ("eyeBlink*", 0.22),
        ("browOuterUp*", 0.2),
        ("browInnerUp", 0.3),
        ("browDown*", 0.06),
    ):
        actions[action] = actions.get(action, 0.0) + most * rng.beta(1, 2)
    weights: dict[str, float] = {}
    for action, weight in actions.items():
        sides = ("Left", "Right") if action.endswith("*") else ("",)
        weights |= {f"face/{action.rstrip('*')}{s}": weight * (1 + 0.1 * rng.normal()) for s in sides}
    for unit, (low, high) in expression.units.items():
        weight = low + strength * (high - low)
        weights |= {ours + unit: share * weight for ours, share in zip(UNITS, person.ancestry, strict=True)}
    return name, {n: float(np.clip(w, 0, 1.1)) for n, w in weights.items()}


def lid_weights(pitch: float) -> dict[str, float]:
    """Lids that follow the eyes up (pitch > 0) or down, radians."""
    action = "eyeLookUp" if pitch > 0 else "eyeLookDown"
    return {f"face/{action}{side}": float(np.clip(1.5 * abs(pitch), 0, 1)) for side in ("Left", "Right")}
