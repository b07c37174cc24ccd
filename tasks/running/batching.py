"""How many images at once: as many as fit the free memory, fewer where the device says that it was too much."""

import logging
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import psutil
import torch

from tasks.basics import BadInput
from tasks.running.read_ahead import read_ahead

Batch = TypeVar("Batch")
Result = TypeVar("Result")
MOST = {"cuda": 64, "cpu": 16}  # more images at once are no faster
SHARE = 0.5  # of the free memory
EVALUATED = 6_000  # bytes for each pixel that a network takes, at most: measured, ADM U-Nets 2,000 to 6,000
DIFFERENTIATED = 40_000  # the same with gradients


def batch_size(device: torch.device, side: int, bytes_per_pixel: int = EVALUATED) -> int:
    """Images of side x side pixels that half of the device's free memory holds; BFR_BATCH, where it is set.

    bytes_per_pixel: what one image takes at the peak, for each of its pixels.
    """
    if asked := asked_number("BFR_BATCH"):
        return asked
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return max(1, min(MOST.get(device.type, 16), int(SHARE * free / (side * side * bytes_per_pixel))))


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
        parts = [waiting[first : first + size] for first in range(0, len(waiting), size)]
        for some, batch in zip(parts, read_ahead(load, parts), strict=True):
            try:
                result = work(batch, some)
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise BadInput(
                        f"{some[0]}: the device has too little memory for one image ({str(error).splitlines()[0]}). "
                        "Free it of other programs, or use smaller images."
                    ) from error
                size = max(1, len(some) // 2)
                logging.getLogger(__name__).warning("out of device memory: %d images at once from here on", size)
                torch.cuda.empty_cache()
                break
            yield some, result
            waiting = waiting[len(some) :]
