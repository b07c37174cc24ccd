"""Round values for the axes of the page's charts."""

import math
from dataclasses import dataclass

from tasks.report.text import number

MOST = 5  # on one axis


@dataclass(frozen=True)
class Tick:
    """A round value on an axis: its place, in the plot's units, and its text."""

    place: float
    text: str


def ticks(low: float, high: float, start: float, end: float, sign: int = 1, prefix: str = "") -> tuple[Tick, ...]:
    """The multiples of 1, 2 or 5 times a power of ten in [low, high]; `low` lies at `start`, `high` at `end`.

    sign: -1 where the axis shows its values negated, so that they run the other way. One value alone is its own tick.
    """
    if not low < high:
        return (Tick(start, prefix + f"{sign * low:.4g}".replace("-", "−")),)
    least = (high - low) / MOST
    power = math.floor(math.log10(least))
    step = next(factor * 10.0**power for factor in (1, 2, 5, 10) if factor * 10.0**power >= least * (1 - 1e-9))
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    values = [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    at = (end - start) / (high - low)
    return tuple(Tick(start + (value - low) * at, prefix + number(sign * value, digits)) for value in values)
