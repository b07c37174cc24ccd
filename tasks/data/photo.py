"""Reading one photo: whatever the file is, an upright sRGB picture comes out, or the reason why not.

A photo is what an image viewer shows of the file: turned as its EXIF says, colours converted from its ICC profile,
transparency over white, the first frame of an animation.
"""

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageCms, UnidentifiedImageError

from tasks.basics import BadInput

logger = logging.getLogger(__name__)

MIN_SIDE = 16  # pixels: the smallest faces of the super-resolution literature
MAX_MEGAPIXELS = 64.0

Image.init()  # now: Pillow's loading of plugins on demand is not made for threads
# Formats that know themselves by their first bytes and run no other program (EPS would start Ghostscript).
FORMATS: list[str] = [
    name
    for name in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "GIF", "JPEG2000", "PPM")
    if name in Image.OPEN  # not every Pillow has AVIF
]
READABLE = {extension for extension, name in Image.registered_extensions().items() if name in FORMATS}
CAMERA_RAW = {".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".sr2", ".srw"}
EXTENSIONS = READABLE | CAMERA_RAW | {".heic", ".heif", ".psd", ".tga"}  # photos, though not all can be read

HEIC_BRANDS = {b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypheim", b"ftypheis"}
WEB_PAGE = "a web page under an image's name, as failed downloads are: download it again"
OTHER_FILES = {
    b"\x00\x05\x16\x07": "macOS side file (AppleDouble), not a photo: it can be deleted",
    b"<!doctype html": WEB_PAGE,
    b"<html": WEB_PAGE,
    b"version https://git-lfs": "Git LFS pointer, the photo itself is elsewhere: run git lfs pull",
}

EXIF_ORIENTATION = 274
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_PLANES = 258, 262, 284
MODE_OF_PROFILE = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def read_photo(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> np.ndarray:
    """One image file as upright sRGB, uint8 [H, W, 3]; H and W as in the file, swapped where EXIF turns it.

    The content decides, not the file's extension. 16-bit gray is rounded to 8 bits; of 16-bit colour Pillow keeps the
    high byte (at most one level from rounding). No ICC profile means sRGB. Transparent parts become white, as in a
    browser. CMYK without a profile takes Pillow's plain conversion. max_megapixels (178 at most, Pillow's own limit)
    is checked in the header, before anything is decoded.
    Raises BadInput with the reason, without the file's name: the caller knows it.
    """
    _refuse_other_files(path)
    try:
        return np.array(_to_srgb(_decode(path, max_megapixels)))
    except BadInput:
        raise
    except Image.DecompressionBombError as error:
        raise BadInput(
            f"too large (a decompression bomb?), the limit is {max_megapixels:g} megapixels: {error}"
        ) from None
    except UnidentifiedImageError:
        raise BadInput(_why_unidentified(path)) from None
    except Exception as error:  # damaged bytes make decoders raise nearly anything
        raise BadInput(f"damaged or cut off, copy or download it again: {error}") from error


def has_image_signature(path: Path) -> bool:
    """Whether a file's first bytes are those of a format that can be read."""
    return _format_of(_first_bytes(path)) is not None


def _refuse_other_files(path: Path) -> None:
    if not path.is_file():
        raise BadInput("not a regular file (a link that leads nowhere?)")
    try:
        start = _first_bytes(path)
    except OSError as error:
        raise BadInput(f"cannot be opened: {error.strerror}") from error
    if not start:
        raise BadInput("empty file (0 bytes): copy or download it again")
    if path.suffix.lower() in CAMERA_RAW:  # most of them would pass for a TIFF of thumbnail size
        raise BadInput("camera raw file: develop it to PNG, TIFF or JPEG first")
    if start[4:12] in HEIC_BRANDS:
        raise BadInput("HEIC photo, which is not read here: export it as PNG or JPEG first")
    for prefix, reason in OTHER_FILES.items():
        if start.lstrip().lower().startswith(prefix):
            raise BadInput(reason)


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(32)


def _format_of(start: bytes) -> str | None:
    """The format whose signature a file starts with."""
    for name in FORMATS:
        _, accepts = Image.OPEN[name]
        if accepts and accepts(start):
            return name
    return None


def _why_unidentified(path: Path) -> str:
    name = _format_of(_first_bytes(path))
    if name:
        return f"damaged {name} file, its header cannot be read: copy or download it again"
    return f"not an image, or in none of the formats read here ({', '.join(FORMATS)}): export it as PNG or JPEG"


def _decode(path: Path, max_megapixels: float) -> Image.Image:
    """Decoded and upright, 8 bits per channel at most, any colour mode; colour profile kept."""
    with Image.open(path, formats=FORMATS) as header:
        _check_header(header, max_megapixels)
        if header.format == "PNG":
            header.verify()  # the decoder itself does not look at the checksums
    with Image.open(path, formats=FORMATS) as image:
        image.load()
        orientation = image.getexif().get(EXIF_ORIENTATION)  # none in TIFF: Pillow has turned it already
        shown = _to_8_bit(image)
        return shown.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else shown


def _check_header(header: Image.Image, max_megapixels: float) -> None:
    width, height = header.size
    if min(width, height) < MIN_SIDE:
        raise BadInput(f"too small for a face: {width} x {height} pixels, at least {MIN_SIDE} x {MIN_SIDE} are needed")
    if width * height > max_megapixels * 1e6:
        raise BadInput(
            f"too large (a decompression bomb?), the limit is {max_megapixels:g} megapixels:"
            f" {width} x {height} pixels by its header. Shrink it."
        )
    if _tiff_tag(header, TIFF_PLANES) == 2 and _tiff_tag(header, TIFF_BITS)[0] > 8:  # Pillow makes noise of these
        raise BadInput("TIFF with separate planes of more than 8 bits: save it interleaved, or as PNG")


def _tiff_tag(image: Any, tag: int) -> Any:
    return image.tag_v2.get(tag) if image.format == "TIFF" else None


def _to_8_bit(image: Image.Image) -> Image.Image:
    """16-bit gray scaled to 8 bits (Pillow's own conversion clips it to white); other modes as they are."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        levels = np.asarray(image).astype(np.uint32)
        if _tiff_tag(image, TIFF_PHOTOMETRIC) == 0:  # 0 is white; Pillow heeds it for 8 bits only
            levels = 65535 - levels
        gray = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
        gray.info["icc_profile"] = image.info.get("icc_profile")
        return gray
    if image.mode in ("I", "F"):
        raise BadInput("32-bit pixels, of which no level is known to be white: save it with 8 or 16 bits per channel")
    return image


def _to_srgb(image: Image.Image) -> Image.Image:
    """Mode RGB, colours in sRGB, transparency over white."""
    profile = image.info.get("icc_profile")
    if not image.has_transparency_data:
        return _from_profile(image, profile)
    layers = image.convert("RGBA")
    alpha = layers.getchannel("A")
    if not alpha.getbbox():
        raise BadInput("fully transparent, there is nothing to see: save it without its alpha channel")
    white = Image.new("RGB", image.size, "white")
    return Image.composite(_from_profile(layers.convert("RGB"), profile), white, alpha)


def _from_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Mode RGB, converted from an ICC profile to sRGB; the pixels of an sRGB photo are not touched."""
    plain = image.convert("RGB")
    if not profile:
        return plain
    try:
        converted = _convert_colours(image, profile)
    except (ImageCms.PyCMSError, OSError, KeyError, ValueError) as error:
        logger.warning(
            "the ICC profile of a photo (%s) is unusable, its colours are taken for sRGB: %r", image.mode, error
        )
        return plain
    moved = np.asarray(ImageChops.difference(plain, converted)).max()
    return converted if moved > 2 else plain  # HP's common sRGB profile moves colours by 1 level: rounding


def _convert_colours(image: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode = MODE_OF_PROFILE[source.profile.xcolor_space.strip()]
    if (mode == "CMYK") != (image.mode == "CMYK"):
        raise ValueError(f"it is a profile of {mode} colours")
    converted = ImageCms.profileToProfile(
        image.convert(mode),
        source,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None  # it is None for in-place conversion only
    return converted
