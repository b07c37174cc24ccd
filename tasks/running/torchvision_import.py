"""torchvision without torch's compiler, which takes as long to import as torch itself."""

import importlib
import sys
import threading
from contextlib import suppress
from types import ModuleType

COMPILER = "torch._dynamo"
ASKED = f"{COMPILER}.utils"  # torchvision asks it one question, where regions are pooled: nobody does that here
_one_at_a_time = threading.Lock()


def import_torchvision() -> None:
    """Import torchvision in a tenth of the time: for what comes next and needs it (spandrel, lpips, pytorch-fid, …).

    Torch's compiler is imported once it is asked. A torchvision that wants more of it gets it at once, as ever.
    """
    with _one_at_a_time:
        if "torchvision" in sys.modules or COMPILER in sys.modules:
            return
        sys.modules[ASKED] = _stand_in()
        try:
            with suppress(ImportError):
                importlib.import_module("torchvision")
        finally:
            del sys.modules[ASKED]


def import_compiler() -> None:
    """Import torch's compiler, as an optimiser would by itself: not while another thread imports torchvision."""
    with _one_at_a_time:
        importlib.import_module(COMPILER)


def _stand_in() -> ModuleType:
    def is_compile_supported(device_type: str) -> bool:
        return bool(importlib.import_module(ASKED).is_compile_supported(device_type))

    stand_in = ModuleType(ASKED)
    stand_in.is_compile_supported = is_compile_supported  # type: ignore[attr-defined]
    return stand_in
