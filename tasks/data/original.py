"""A photo as it is stored, to be given back in its own kind: 8 or 16 bits, its own colours, profile and EXIF.

`tasks.data.photo` reads what a photo shows, as sRGB of 8 bits, for networks; here the rest is kept beside it.
"""

import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image, ImageCms

from tasks.data.metadata import with_chunks_of
from tasks.data.photo import (
    EXIF_ORIENTATION,
    FORMATS,
    MAX_MEGAPIXELS,
    MODE_OF_PROFILE,
    allow,
    decode,
    explained,
    to_srgb,
)
from tasks.data.tiff import PHOTOMETRIC, WHITE_IS_ZERO, tiff_16

Kind = Literal["JPEG", "PNG", "WEBP", "TIFF"]

SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
}
KINDS: dict[str, Kind] = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WEBP", "TIFF": "TIFF"}
PLAIN = {"L", "LA", "RGB", "RGBA"}  # modes whose channels can be taken as they are
QUALITY = 95  # of JPEG and WebP that lose something
EXIF_IFD, GPS_IFD = 34665, 34853
SIZES = (40962, 40963)  # pixels, in the EXIF
KEPT_OF_TIFF = (270, 271, 272, 282, 283, 296, 305, 306, 315, 33432)  # description, camera, resolution, date, author …
TURNED: dict[object, Callable[[np.ndarray], np.ndarray]] = {  # by EXIF orientation, as `photo.UPRIGHT`
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels.swapaxes(0, 1), 2),
    8: np.rot90,
}


@dataclass(frozen=True)
class Original:
    """An upright photo.

    pixels: uint8 or uint16 [H, W, C] in its own colours, C = 1 gray, 2 gray and transparency, 3 RGB, 4 RGBA; shown:
    the same as sRGB over white, uint8 [H, W, 3]; kind: how it will be stored, PNG where bfr cannot write the photo's
    own format; profile: ICC; exif: its orientation is reset; is_lossless: of a WebP.
    """

    pixels: np.ndarray
    shown: np.ndarray
    kind: Kind
    profile: bytes | None = None
    exif: bytes = b""
    is_lossless: bool = False

    @property
    def colours(self) -> np.ndarray:
        """The channels without transparency [H, W, 1 or 3]."""
        return self.pixels[..., : 1 if self.pixels.shape[2] < 3 else 3]

    def own(self, crop: np.ndarray) -> np.ndarray:
        """A crop in sRGB, uint8 [h, w, 3], in the photo's own colours: float32 [h, w, 1 or 3], 0 … 255."""
        image = Image.fromarray(crop)
        mode = "RGB" if self.colours.shape[2] == 3 else "L"
        converted = ImageCms.applyTransform(image, self._from_srgb) if self._from_srgb else image.convert(mode)
        assert converted is not None  # it is None for in-place conversion only
        return np.asarray(converted, np.float32).reshape(*crop.shape[:2], -1)

    @cached_property
    def _from_srgb(self) -> Any:
        """The transform from sRGB to the photo's colours; None where they are sRGB, or were taken for it."""
        eight = self.colours if self.pixels.dtype == np.uint8 else (self.colours // 257).astype(np.uint8)
        if not self.profile or np.abs(eight.astype(np.int16) - self.shown).max() <= 2:
            return None
        with suppress(ImageCms.PyCMSError, OSError, KeyError, ValueError):
            own = ImageCms.ImageCmsProfile(io.BytesIO(self.profile))
            mode = MODE_OF_PROFILE[own.profile.xcolor_space.strip()]
            if mode == ("RGB" if self.colours.shape[2] == 3 else "L"):
                flags, intent = ImageCms.Flags.BLACKPOINTCOMPENSATION, ImageCms.Intent.RELATIVE_COLORIMETRIC
                return ImageCms.buildTransform(ImageCms.createProfile("sRGB"), own, "RGB", mode, intent, flags)
        return None

    def with_colours(self, colours: np.ndarray) -> np.ndarray:
        """Pixels [H, W, C] of these colours and the photo's transparency."""
        return np.concatenate([colours, self.pixels[..., self.colours.shape[2] :]], 2)


def read_original(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Original:
    """A photo with all that is needed to write it again. Raises BadInput as `read_photo` does."""
    with explained(path, max_megapixels):
        image = decode(path, max_megapixels)
        shown = np.array(to_srgb(image))
        with Image.open(path, formats=FORMATS) as header:
            kind = KINDS.get(str(header.format), "PNG")
            pixels = _wide(path, header, shown.shape[:2])
            exif = _upright_exif(header)  # last: a PNG is decoded for it, and then no longer says how deep it was
        profile = image.info.get("icc_profile")
        if pixels is None:
            plain = _plain(image)
            profile = profile if plain is not None else None
            pixels = shown if plain is None else plain
        return Original(pixels, shown, kind, profile, exif, _is_lossless(path))


def kind_of(path: Path, max_megapixels: float) -> Kind | None:
    """How a photo would be stored, by the beginning of its file; None for what is none."""
    allow(max_megapixels)
    if not path.is_file():  # a pipe would be waited for
        return None
    try:
        with Image.open(path, formats=FORMATS) as header:
            return KINDS.get(str(header.format), "PNG")
    except Exception:  # damaged bytes make Pillow raise nearly anything
        return None


def _plain(image: Image.Image) -> np.ndarray | None:
    """The channels of an image of 8 bits [H, W, C]; None for colours that are stored as sRGB instead."""
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("P", "PA", "La", "RGBa"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in ("L", "RGB") and image.has_transparency_data:
        image = image.convert("LA" if image.mode == "L" else "RGBA")
    if image.mode not in PLAIN:
        return None
    pixels = np.array(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _wide(path: Path, header: Image.Image, shape: tuple[int, ...]) -> np.ndarray | None:
    """The channels of a PNG or TIFF of 16 bits, upright; None where they cannot be had as they are."""
    if ";16" not in str(getattr(header, "tile", "")) or header.format not in ("PNG", "TIFF"):
        return None
    stored = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16:
        return None
    if header.format == "PNG":  # OpenCV turns a TIFF itself
        stored = np.ascontiguousarray(TURNED.get(header.getexif().get(EXIF_ORIENTATION), np.asarray)(stored))
    elif getattr(header, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
        return None
    if stored.shape[:2] != shape:
        return None
    if stored.ndim == 2:
        return np.asarray(stored[..., None])
    order = cv2.COLOR_BGRA2RGBA if stored.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(stored, order))


def _upright_exif(header: Image.Image) -> bytes:
    """The EXIF, without the turn that was made and without sizes; none where it cannot be read."""
    with suppress(Exception):  # damaged bytes make Pillow raise nearly anything
        found, exif = header.getexif(), Image.Exif()
        for tag, value in found.items():
            if tag in KEPT_OF_TIFF or (header.format != "TIFF" and tag not in (EXIF_ORIENTATION, EXIF_IFD, GPS_IFD)):
                exif[tag] = value
        for ifd in (EXIF_IFD, GPS_IFD):
            if values := {tag: value for tag, value in found.get_ifd(ifd).items() if tag not in SIZES}:
                exif.get_ifd(ifd).update(values)
        return exif.tobytes() if exif or exif.get_ifd(EXIF_IFD) or exif.get_ifd(GPS_IFD) else b""
    return b""


def _is_lossless(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64)[12:16] == b"VP8L"


def write_original(original: Original, pixels: np.ndarray, path: Path) -> None:
    """Write other pixels [H, W, C] of the same depth as a photo of the same kind, with its profile and EXIF."""
    path.write_bytes(encoded(original, pixels))


def encoded(original: Original, pixels: np.ndarray) -> bytes:
    """The file's bytes; lossless but for JPEG and WebP that were not."""
    if pixels.dtype == np.uint16:
        return (
            tiff_16(pixels, original.profile, original.exif) if original.kind == "TIFF" else _png_16(original, pixels)
        )
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    options: dict[str, Any] = {"icc_profile": original.profile}
    if original.exif:
        options["exif"] = original.exif
    match original.kind:
        case "JPEG":
            options |= {"quality": QUALITY, "subsampling": "4:4:4", "optimize": True}
        case "WEBP":
            options |= {"lossless": True} if original.is_lossless else {"quality": QUALITY}
        case "TIFF":
            options["compression"] = "tiff_lzw"
        case "PNG":
            options["compress_level"] = 4
    file = io.BytesIO()
    image.save(file, format=original.kind, **options)
    return file.getvalue()


def _png_16(original: Original, pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits, which Pillow cannot write: the picture by OpenCV, the metadata by a PNG of Pillow."""
    order = {1: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[pixels.shape[2]]
    _, data = cv2.imencode(".png", pixels if order is None else cv2.cvtColor(pixels, order))
    file = io.BytesIO()
    options: dict[str, Any] = {"exif": original.exif} if original.exif else {}
    Image.new("L" if pixels.shape[2] == 1 else "RGB", (1, 1)).save(
        file, format="PNG", icc_profile=original.profile, **options
    )
    return with_chunks_of(data.tobytes(), file.getvalue())
