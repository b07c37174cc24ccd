"""JPEG and PNG files with less metadata: a damaged text or profile in a file must not cost the picture."""

import struct
from collections.abc import Iterable, Iterator

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"
SHOWN_OF_PNG = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
EXIF, ICC, ADOBE = b"\xff\xe1Exif", b"\xff\xe2ICC_PROFILE", b"\xff\xeeAdobe"  # Adobe's block names the colour space
LENGTH_OF_ADOBE = 16
START_OF_SCAN = 0xDA
APPLICATION_OR_COMMENT = {*range(0xE0, 0xF0), 0xFE}

Block = tuple[bytes, bytes]
"""What a block of a file starts with that tells its kind, and all its bytes."""


def with_less_metadata(data: bytes) -> Iterator[bytes]:
    """The file with only the metadata that change the picture, then without its profile, then without any.

    Files that would stay as they are, and those of other formats, are passed over. Pixels are not touched.
    """
    if data.startswith(PNG):
        blocks, levels = [*_chunks(data)], [(b"eXIf", b"iCCP"), (b"eXIf",), ()]
        kept = [(*SHOWN_OF_PNG, *level) for level in levels]
    elif data.startswith(JPEG):
        blocks, kept = [*_segments(data)], [(b"", EXIF, ICC, ADOBE), (b"", EXIF, ADOBE), (b"",)]
    else:
        return
    before = data
    for kinds in kept:
        less = data[: len(PNG) if data.startswith(PNG) else len(JPEG)] + _joined(blocks, kinds)
        if less != before:
            yield less
        before = less


def _joined(blocks: Iterable[Block], kinds: tuple[bytes, ...]) -> bytes:
    return b"".join(block for kind, block in blocks if kind in kinds)


def _chunks(data: bytes) -> Iterator[Block]:
    """The chunks of a PNG by their names, the last as long as the file is."""
    at = len(PNG)
    while at + 8 <= len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        yield name, data[at : at + length + 12]
        at += length + 12


def _segments(data: bytes) -> Iterator[Block]:
    """The segments of a JPEG; those that are no metadata, and all from the first scan on, are of the kind b""."""
    at = len(JPEG)
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != START_OF_SCAN:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        segment = data[at:end]
        yield _kind(segment) if data[at + 1] in APPLICATION_OR_COMMENT else b"", segment
        at = end
    yield b"", data[at:]


def _kind(segment: bytes) -> bytes:
    start = segment[:2] + segment[4:]
    if start.startswith(ADOBE) and len(segment) < LENGTH_OF_ADOBE:
        return b"damaged"
    return next((kind for kind in (EXIF, ICC, ADOBE) if start.startswith(kind)), b"other")


def with_chunks_of(picture: bytes, other: bytes) -> bytes:
    """A PNG with the profile and EXIF of another one."""
    taken = [block for kind, block in _chunks(other) if kind in (b"iCCP", b"sRGB", b"eXIf")]
    header, *rest = [block for _, block in _chunks(picture)]
    return PNG + b"".join([header, *taken, *rest])
