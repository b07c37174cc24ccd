"""Photos and a fine-tuning that are as small as they can be, for tests of how work is run."""

from pathlib import Path

import numpy as np

from tasks.data.ingest import PhotoFolder
from tasks.stages.ingest import IngestParams, ingest
from tasks.store.artifact import ImageFolder
from tasks.store.files import write_png
from tasks.training.swinir_gan import FineTune

FINE_TUNE = FineTune(
    iterations=2,
    batch=2,
    micro_batch=2,
    lr=1e-4,
    lr_min=1e-5,
    lambda_lpips=0.1,
    lambda_gan=0.1,
    perceptual="lpips_seeded",
    discriminator_width=8,
)


def blocks(folder: Path, count: int) -> ImageFolder:
    """Photos of coloured squares, 32 x 32, taken in."""
    folder.mkdir()
    for n in range(count):
        colour = np.random.default_rng(n).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        write_png(folder / f"{n:02d}.png", colour.repeat(4, 0).repeat(4, 1))
    return ingest(IngestParams(size=32, fit="crop"), folder=PhotoFolder(folder))
