"""bfloat16 where the settings ask for it, and a word where the processor is slower by it."""

import logging
from functools import cache

import torch

UNITS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}


def half_precision(device: torch.device, is_on: bool) -> torch.autocast:
    """Autocast to bfloat16 for networks on the device; float32 unless `is_on`.

    The setting alone decides: a result never depends on what the processor is good at. Where it has no units for
    bfloat16, that is said once.
    """
    if is_on and device.type == "cpu":
        warn_if_slow()
    return torch.autocast(device.type, torch.bfloat16, enabled=is_on)


@cache
def warn_if_slow() -> None:
    if units() == []:
        logging.getLogger(__name__).warning(
            "bf16: true, but this processor computes bfloat16 without units of its own (%s): it takes longer than "
            "float32. The results are those of bf16; for speed here, set bf16: false, which has other keys.",
            " or ".join(UNITS.values()),
        )


def units() -> list[str] | None:
    """The units for bfloat16 of an x86 processor; None where torch (an older one) or another processor does not say."""
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if known.get("architecture") != "x86_64":
        return None
    return [name for flag, name in UNITS.items() if known.get(flag)]
