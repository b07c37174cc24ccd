"""The photos of the report: which ones to show, and as what, in one file of bounded size."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from tasks.report.content import ReportData
from tasks.report.findings import subject_of
from tasks.report.results import scores_of

MAX_PHOTOS = 12  # per degradation
EXTREMES = 3  # of them, the photos that gain most and as many that lose most
MAX_PNG_BYTES = 7_000_000  # all photos together: 9.3 MB in base64, so the page stays under 10 MB
THUMBNAIL_SIDE = 160
PIXELATED_SIDE = 128  # pixels; images up to this size are enlarged without smoothing


@dataclass(frozen=True)
class Picture:
    """One image as the page holds it: the lossless PNG itself, never resized."""

    role: str
    uri: str
    width: int
    height: int

    @property
    def is_pixelated(self) -> bool:
        """Whether to enlarge it without smoothing."""
        return max(self.width, self.height) <= PIXELATED_SIDE


@dataclass(frozen=True)
class Photo:
    """One row of the image grid: the photo in each role, None where that image does not exist.

    why: for what it was chosen.
    """

    image_id: str
    pictures: Sequence[Picture | None]
    why: str = ""

    @property
    def png_bytes(self) -> int:
        """Size of its images before base64."""
        return sum(len(picture.uri) * 3 // 4 for picture in self.pictures if picture)


@dataclass(frozen=True)
class Gallery:
    """One degradation's rows and the roles that they have as columns; `left_out` photos did not fit the file."""

    roles: Sequence[str]
    photos: Sequence[Photo]
    left_out: int


def galleries(data: ReportData) -> dict[str, Gallery]:
    """Each degradation's gallery: every degradation gets its first photo, then its second, until the file is full."""
    names = [name for name, _ in data.degradations]
    shown: dict[str, list[Photo]] = {name: [] for name in names}
    left_out = dict.fromkeys(names, 0)
    room = MAX_PNG_BYTES
    queues = {name: chosen(data, name) for name in names}
    for place in range(MAX_PHOTOS):
        for name in names:
            image_id, why = queues[name][place] if place < len(queues[name]) else ("", "")
            images = [data.image(name, role, image_id) if image_id else None for role in data.roles]
            if all(image is None for image in images):
                continue
            photo = _photo(image_id, why, data.roles, images) if room > 0 or not shown[name] else None
            if photo is not None and (photo.png_bytes <= room or not shown[name]):
                shown[name].append(photo)
                room -= photo.png_bytes
            else:
                left_out[name] += 1
                room = 0
    return {name: _gallery(data.roles, shown[name], left_out[name]) for name in names}


def strips(data: ReportData) -> dict[str, list[Picture]]:
    """The first photo of each degradation's gallery in every role, small, to go with its finding."""
    found = {}
    for name, _ in data.degradations:
        images = [
            (role, data.image(name, role, image_id)) for image_id, _ in chosen(data, name)[:1] for role in data.roles
        ]
        found[name] = [thumbnail(role, image) for role, image in images if image is not None]
    return found


def chosen(data: ReportData, degradation: str) -> list[tuple[str, str]]:
    """(image id, why) of the photos to show, by the gain of the subject of the findings in the first metric of single
    photos: the middle one, then the first ones, then those that it changed most."""
    gain, metric = _gain(data, degradation)
    if gain.empty:
        return [(image_id, "") for image_id in data.ids[:MAX_PHOTOS]]
    ranked = list(gain.sort_values().index)
    middle, few = ranked[len(ranked) // 2], min(EXTREMES, (len(ranked) - 1) // 2)
    told = dict.fromkeys(ranked[::-1][:few], f"gains most in {metric}")
    told |= dict.fromkeys(ranked[:few], f"gains least in {metric}")
    rest = [(image_id, "") for image_id in data.ids if image_id != middle and image_id not in told]
    return [(middle, f"the middle one by its gain in {metric}"), *rest[: MAX_PHOTOS - 1 - len(told)], *told.items()]


def _gain(data: ReportData, degradation: str) -> tuple[pd.Series, str]:
    """By image id, how much better than the baseline the subject is, and in which metric; empty without such scores."""
    subject, metric = subject_of(data), next(iter(data.photo_metrics), None)
    if subject is None or metric is None or data.scores.empty:
        return pd.Series(dtype=float), ""
    ours, theirs = (scores_of(data.scores, degradation, m.name, metric.name) for m in (subject, data.baseline))
    return metric.sign * (ours - theirs).dropna(), metric.label


def _photo(image_id: str, why: str, roles: Sequence[str], images: Sequence[np.ndarray | None]) -> Photo:
    pairs = zip(roles, images, strict=True)
    return Photo(image_id, [None if image is None else picture(role, image) for role, image in pairs], why)


def picture(role: str, image: np.ndarray) -> Picture:
    """uint8 RGB [H, W, 3] as a lossless data URI."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(role, uri, image.shape[1], image.shape[0])


def thumbnail(role: str, image: np.ndarray) -> Picture:
    """The same at a side of at most THUMBNAIL_SIDE pixels; one that has to shrink for it is a JPEG."""
    small = Image.fromarray(image)
    if max(small.size) <= THUMBNAIL_SIDE:
        return picture(role, image)
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=90)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(role, uri, *small.size)


def _gallery(roles: Sequence[str], photos: Sequence[Photo], left_out: int) -> Gallery:
    """Drop the roles that no photo has."""
    kept = [i for i in range(len(roles)) if any(photo.pictures[i] for photo in photos)]
    rows = [Photo(photo.image_id, [photo.pictures[i] for i in kept], photo.why) for photo in photos]
    return Gallery([roles[i] for i in kept], rows, left_out)
