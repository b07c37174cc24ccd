"""Reading one photo: whatever the file is, an upright sRGB picture comes out, or the reason why not.

A photo is what an image viewer shows of the file: turned as its EXIF says, colours converted from its ICC profile,
transparency over white, the first frame of an animation.
"""

import io
import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageChops, ImageCms, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from tasks.basics import BadInput
from tasks.data.metadata import with_less_metadata

try:
    import pi_heif
except ImportError:  # an extra
    pi_heif = None

logger = logging.getLogger(__name__)

MIN_SIDE = 16  # pixels: the smallest faces of the super-resolution literature
MAX_MEGAPIXELS = 64.0

Image.init()  # now: Pillow's loading of plugins on demand is not made for threads
if pi_heif:
    pi_heif.register_heif_opener()
# Formats that know themselves by their first bytes and run no other program (EPS would start Ghostscript).
FORMATS: list[str] = [
    name
    for name in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "GIF", "JPEG2000", "PPM", "HEIF")
    if name in Image.OPEN  # not every Pillow has AVIF, and HEIF comes with the extra `heic`
]
READABLE = {extension for extension, name in Image.registered_extensions().items() if name in FORMATS}
CAMERA_RAW = {".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".sr2", ".srw"}
OTHERS = {".exr", ".hdr", ".heic", ".heif", ".jxl", ".psd", ".tga", ".xcf"}
EXTENSIONS = READABLE | CAMERA_RAW | OTHERS  # photos, though not all can be read

HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis")
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
TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_PLANES, TIFF_SAMPLE_FORMAT = 258, 262, 284, 339
FLOATING_POINT = 3  # as a TIFF's sample format
MODE_OF_PROFILE = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def read_photo(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> np.ndarray:
    """One image file as upright sRGB, uint8 [H, W, 3]; H and W as in the file, swapped where EXIF turns it.

    The content decides, not the file's extension. 16-bit gray is rounded to 8 bits; of 16-bit colour Pillow keeps the
    high byte (at most one level from rounding). No ICC profile means sRGB. Transparent parts become white, as in a
    browser. CMYK without a profile takes Pillow's plain conversion. Metadata that cannot be read count as absent: the
    photo is upright, its colours are sRGB. max_megapixels is checked in the header, before anything is decoded.
    Raises BadInput with the reason, without the file's name: the caller knows it.
    """
    with explained(path, max_megapixels):
        return np.array(to_srgb(decode(path, max_megapixels)))


@contextmanager
def explained(path: Path, max_megapixels: float) -> Iterator[None]:
    """Turn whatever decoders raise while `path` is read into a BadInput that says why it cannot be used."""
    _refuse_other_files(path)
    allow(max_megapixels)
    try:
        yield
    except BadInput:
        raise
    except Image.DecompressionBombError as error:
        raise BadInput(
            f"too large (a decompression bomb?), the limit is {max_megapixels:g} megapixels: {error}"
        ) from None
    except MemoryError as error:
        raise BadInput("there is not enough memory to decode it: free some, or shrink the photo") from error
    except UnidentifiedImageError:
        raise BadInput(_why_unidentified(path)) from None
    except Exception as error:  # damaged bytes make decoders raise nearly anything
        raise BadInput(f"damaged or cut off, copy or download it again: {error}") from error


def allow(max_megapixels: float) -> None:
    """Have Pillow open photos up to a size that its own limit, 89 megapixels, would refuse or warn of."""
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, round(1e6 * max_megapixels))


def has_image_signature(path: Path) -> bool:
    """Whether a file's first bytes are those of a format that can be read."""
    return _format_of(_first_bytes(path)) is not None


def _refuse_other_files(path: Path) -> None:
    try:
        if not path.is_file():
            raise BadInput("not a regular file (a link that leads nowhere?)")
        start = _first_bytes(path)
    except OSError as error:
        raise BadInput(f"cannot be opened: {error.strerror}") from error
    if not start:
        raise BadInput("empty file (0 bytes): copy or download it again")
    if path.suffix.lower() in CAMERA_RAW:  # most of them would pass for a TIFF of thumbnail size
        raise BadInput("camera raw file: develop it to PNG, TIFF or JPEG first")
    if "HEIF" not in FORMATS and start[4:8] == b"ftyp" and any(brand in start[8:] for brand in HEIC_BRANDS):
        raise BadInput("HEIC photo: install its reader (pip install 'bfr[heic]'), or export it as PNG or JPEG")
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
    if name == "TIFF" and (kind := _kind_of_tiff(path)):
        return f"a {kind} image, of which no level is known to be white: save it with 8 or 16 bits per channel"
    if name:
        return f"damaged {name} file, its header cannot be read: copy or download it again"
    return f"not an image, or in none of the formats read here ({', '.join(FORMATS)}): export it as PNG or JPEG"


def _kind_of_tiff(path: Path) -> str | None:
    """Which pixels a TIFF has, by its header, if they are of a kind that is not read: floating-point, or 32 bits."""
    with suppress(Exception), path.open("rb") as file:  # damaged headers raise nearly anything
        directory = ImageFileDirectory_v2(file.read(8))
        file.seek(directory.next)
        directory.load(file)
        bits = directory[TIFF_BITS][0]
        if directory.get(TIFF_SAMPLE_FORMAT, (1,))[0] == FLOATING_POINT:
            return f"floating-point ({bits} bits)"
        return f"{bits}-bit" if bits > 16 else None
    return None


def decode(path: Path, max_megapixels: float) -> Image.Image:
    """Upright, 8 bits per channel at most, any colour mode, with its profile; without metadata that hinder."""
    try:
        return _decode(path, max_megapixels)
    except (BadInput, MemoryError, Image.DecompressionBombError):
        raise
    except Exception:
        for data in with_less_metadata(path.read_bytes()):
            with suppress(OSError, SyntaxError, ValueError, struct.error):
                image = _decode(io.BytesIO(data), max_megapixels)
                logger.warning("a photo has damaged metadata, which are not used")
                return image
        raise


def _decode(file: Path | IO[bytes], max_megapixels: float) -> Image.Image:
    """`decode` of a file whose metadata are sound."""
    with Image.open(file, formats=FORMATS) as header:
        _check_header(header, max_megapixels)
        _say_frames(header)
        if header.format == "PNG":
            header.verify()  # the decoder itself does not look at the checksums
    with Image.open(file, formats=FORMATS) as image:
        image.load()
        shown = _to_8_bit(image)
        turn = _turn(image)
        return shown if turn is None else shown.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns the photo upright by its EXIF; none in TIFF and HEIF, which are turned when they are decoded."""
    try:
        orientation: Any = image.getexif().get(EXIF_ORIENTATION)
        return UPRIGHT.get(orientation)
    except Exception as error:  # damaged bytes make Pillow raise nearly anything
        logger.warning("the EXIF of a photo cannot be read, it is taken for upright: %r", error)
        return None


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


def _say_frames(header: Image.Image) -> None:
    """Say that an animation, or a TIFF of several pages, has more to it than is read. (Phones hide pictures in MPO.)"""
    with suppress(Exception):  # of damaged frames, of which none but the first matters
        if header.format in ("GIF", "PNG", "TIFF", "WEBP") and (count := getattr(header, "n_frames", 1)) > 1:
            name = Path(getattr(header, "filename", "")).name or "a photo"  # none where metadata were taken off
            logger.warning("%s has %d frames or pages, of which the first is taken", name, count)
        header.seek(0)


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
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise BadInput(f"a {kind} image, of which no level is known to be white: save it with 8 or 16 bits per channel")
    return image


def to_srgb(image: Image.Image) -> Image.Image:
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
