"""Identity: the angle between ArcFace embeddings, as VQFR and DifFace report it (IDS, "Deg")."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from tasks.metrics import arcface
from tasks.metrics.full_reference import levels
from tasks.metrics.remembering import Remembering
from tasks.weights.file import Unavailable
from tasks.weights.official import ARCFACE18

SIDE = 128
BATCH = 64  # faces of a pass
LIBPNG_WEIGHTS = np.array([9797, 19234, 3737])  # of R, G, B; their sum is 2^15


def ids(weights_dir: Path, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """(restored, reference), both [N, 3, H, W] in [0, 1], to degrees [N]. Raises MissingWeights."""
    network = arcface.load(ARCFACE18.find(weights_dir, "IDS")).to(device)

    def embedding(images: Tensor) -> Tensor:
        found: Tensor = network(gray_faces(images).to(device))
        return found

    of_reference = Remembering(embedding)
    return lambda restored, reference: arcface.angles(embedding(restored), of_reference(reference))


def id_cosine(weights_dir: Path, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """The cosine of `ids`' angle, as IDM and gen2res report it: 1 is the same face. Raises MissingWeights."""
    angle = ids(weights_dir, device)
    return lambda restored, reference: torch.cos(torch.deg2rad(angle(restored, reference)))


def album_cosine(weights_dir: Path, device: torch.device, album: Tensor) -> Callable[[Tensor], Tensor]:
    """restored [N, 3, H, W] in [0, 1] to [N]: the mean cosine of its embedding with those of an album's photos
    [M, 3, H, W], which is our reading of gen2res' identity score. Raises MissingWeights."""
    network = arcface.load(ARCFACE18.find(weights_dir, "ID to the album")).to(device)

    def directions(images: Tensor) -> Tensor:
        embeddings = torch.cat([network(gray_faces(some).to(device)) for some in images.split(BATCH)]).double()
        return torch.nn.functional.normalize(embeddings)

    known = directions(album)
    return lambda restored: (directions(restored) @ known.T).mean(dim=1)


def no_album(weights_dir: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    """For tables without an album. Raises Unavailable (MissingWeights)."""
    ARCFACE18.find(weights_dir, "ID")
    raise Unavailable("compares with an album of the person: `bfr personalize` has one")


def gray_faces(images: Tensor) -> Tensor:
    """[N, 3, H, W] in [0, 1] to [N, 1, 128, 128] in [-1, 1] on the CPU: the whole image, not aligned.

    The scripts read PNG files as gray and resize them with OpenCV: libpng's weights, rounded down to uint8, then
    bilinear without antialiasing.
    """
    faces = []
    for image in levels(images).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy().astype(np.int64):
        gray = (image @ LIBPNG_WEIGHTS >> 15).astype(np.uint8)
        faces.append(cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))
    return (torch.from_numpy(np.stack(faces)).float()[:, None] - 127.5) / 127.5
