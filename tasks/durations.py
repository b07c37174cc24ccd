"""Durations as people say them."""

import math


def duration(seconds: float) -> str:
    """To a tenth below ten seconds: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min"; "–" when unknown."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds * 1000:.0f} ms"
    return whole_duration(seconds)


def whole_duration(seconds: float) -> str:
    """In whole seconds: "5 s", "2 min 5 s", "1 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
