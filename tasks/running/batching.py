"""How many images at once: as many as fit the free memory, fewer where the device says that it was too much."""

import gc
import logging
import math
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from tasks.basics import BadInput
from tasks.running.memory import free_memory, is_too_little_memory
from tasks.running.read_ahead import read_ahead

Batch = TypeVar("Batch")
Result = TypeVar("Result")
MOST = {"cuda": 64, "cpu": 16}  # more images at once are no faster
SHARE = 0.5  # of the free memory
EVALUATED = 6_000  # bytes for each pixel that a network takes, at most: measured, ADM U-Nets 2,000 to 6,000
DIFFERENTIATED = 40_000  # the same with gradients


def batch_size(device: torch.device, side: int, bytes_per_pixel: int = EVALUATED, shard: int | None = None) -> int:
    """Images of side x side pixels that half of the device's free memory holds; BFR_BATCH, where it is set.

    bytes_per_pixel: what one image takes at the peak, for each of its pixels. shard: on CUDA, so many images are
    one batch, or equal ones if that is too many.
    """
    if asked := asked_number("BFR_BATCH"):
        return asked
    fitting = int(SHARE * free_memory(device) / (side * side * bytes_per_pixel))
    most = max(1, min(MOST.get(device.type, 16), fitting))
    if shard is None or device.type != "cuda":
        return most
    return math.ceil(shard / math.ceil(shard / most))


def asked_number(variable: str) -> int | None:
    """An environment variable's whole number; None where it is not set. Raises BadInput for anything but 1, 2, ..."""
    text = os.environ.get(variable, "")
    if text and not (text.isdecimal() and int(text) > 0):
        raise BadInput(f"{variable}: expected a whole number from 1 on, found {text!r}.")
    return int(text) if text else None


def in_batches(
    ids: list[str], size: int, load: Callable[[list[str]], Batch], work: Callable[[Batch, list[str]], Result]
) -> Iterator[tuple[list[str], Result]]:
    """(some ids, work(load(some), some)) over all ids, `size` at once; the next batches are loaded meanwhile.

    When the device runs out of memory, its batch and all later ones are halved. Raises BadInput when one image alone
    is too much.
    """
    waiting = list(ids)
    while waiting:
        for some, result in _while_it_fits(waiting, size, load, work):
            yield some, result
            waiting = waiting[len(some) :]
        if waiting:
            size = max(1, min(size, len(waiting)) // 2)
            logging.getLogger(__name__).warning("out of device memory: %d images at once from here on", size)
            give_back()  # here: the batch and the error, whose traceback held what the network had computed, are gone


def _while_it_fits(
    ids: list[str], size: int, load: Callable[[list[str]], Batch], work: Callable[[Batch, list[str]], Result]
) -> Iterator[tuple[list[str], Result]]:
    """The same until the memory is too little; of all ids where it is not."""
    parts = [ids[first : first + size] for first in range(0, len(ids), size)]
    for some, batch in zip(parts, read_ahead(load, parts), strict=True):
        try:
            result = work(batch, some)
        except (RuntimeError, MemoryError) as error:
            if not is_too_little_memory(error):
                raise
            if size == 1:
                raise BadInput(
                    f"{some[0]}: the device has too little memory for one image ({first_line(error)}). "
                    "Free it of other programs, or use smaller images."
                ) from error
            return
        yield some, result


def give_back() -> None:
    """Give memory that nothing uses back to the device."""
    gc.collect()
    torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def first_line(error: Exception) -> str:
    """What an error says, or its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
