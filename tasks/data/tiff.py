"""TIFF of 16 bits in colour, which Pillow cannot write: one strip, deflated; the tags are those of TIFF 6.0."""

import struct
import zlib

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS, SAMPLES, ROWS, BYTES = (
    256,
    257,
    258,
    259,
    262,
    273,
    277,
    278,
    279,
)
PLANES, EXTRA, SAMPLE_FORMAT, PROFILE, EXIF_IFD, GPS_IFD = 284, 338, 339, 34675, 34665, 34853
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
DEFLATE, INTERLEAVED, UNSIGNED, ALPHA = 8, 1, 1, 2
HEADER = 8


def tiff_16(pixels: np.ndarray, profile: bytes | None, exif: bytes = b"") -> bytes:
    """The bytes of a TIFF of uint16 [H, W, C], little-endian; C = 1 gray, 3 RGB, 4 RGB and transparency."""
    height, width, channels = pixels.shape
    strip = zlib.compress(pixels.astype("<u2").tobytes(), 6)
    tags = ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    tags[WIDTH], tags[HEIGHT], tags[ROWS], tags[SAMPLES] = width, height, height, channels
    tags[BITS], tags[SAMPLE_FORMAT] = (16,) * channels, (UNSIGNED,) * channels
    tags[COMPRESSION], tags[PLANES], tags[PHOTOMETRIC] = DEFLATE, INTERLEAVED, RGB if channels >= 3 else BLACK_IS_ZERO
    tags[OFFSETS], tags[BYTES] = 0, len(strip)  # from the end of the directory: Pillow adds where that is
    if channels in (2, 4):
        tags[EXTRA] = ALPHA
    known = Image.Exif()
    known.load(exif)
    for tag, value in known.items():
        tags[tag] = known.get_ifd(tag) if tag in (EXIF_IFD, GPS_IFD) else value
    if profile:
        tags.tagtype[PROFILE] = 7
        tags[PROFILE] = profile
    return b"II*\0" + struct.pack("<I", HEADER) + tags.tobytes(HEADER) + strip
