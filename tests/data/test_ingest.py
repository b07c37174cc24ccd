import base64
import csv
import errno
import io
import json
import logging
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, ImageFilter

from flows.workspace import say_holes, say_set_aside
from tasks.basics import ROOT, BadInput
from tasks.data import ingest
from tasks.data.ingest import Ingest, PairedIngest, PhotoFolder, discover, image_ids, pair, to_square
from tasks.data.photo import FORMATS, read_photo
from tasks.data.registration import correlation
from tasks.degradation.preset import degrade
from tasks.degradation.presets import PRESETS
from tasks.heads.render import render
from tasks.stages.ingest import IngestParams, read_cropped
from tasks.stages.ingest import ingest as ingest_stage

REAL_FACES = ROOT.parent / "shared" / "data" / "real_faces"


def smooth_photo(height=48, width=64, seed=0):
    """uint8 [H, W, 3] without symmetry, smooth enough for JPEG, all levels used."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    photo = np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(5))).astype(float)
    low, high = photo.min(axis=(0, 1)), photo.max(axis=(0, 1))
    return np.rint((photo - low) / (high - low) * 255).astype(np.uint8)


PHOTO = smooth_photo()
GRAY = np.asarray(Image.fromarray(PHOTO).convert("L"))
FACE = smooth_photo(32, 32)


def save(path, image=FACE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def assert_shows(path, expected, tolerance):
    found = read_photo(path)
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= tolerance


def as_rgb(gray):
    return np.dstack([gray] * 3)


def reason(path, **options):
    with pytest.raises(BadInput) as caught:
        read_photo(path, **options)
    assert str(path) not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------- formats and modes


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "A.TIFF", "a.ppm", "顔 ünï.png", "no_extension"])
def test_lossless_files_are_read_exactly(tmp_path, name):
    assert_shows(save(tmp_path / name, PHOTO, format=None if "." in name else "PNG"), PHOTO, 0)


def test_lossless_webp_is_read_exactly(tmp_path):
    assert_shows(save(tmp_path / "a.webp", PHOTO, lossless=True), PHOTO, 0)


@pytest.mark.parametrize("name", ["a.jpg", "A.JPG", "a.webp", "a.avif", "a.jp2"])
def test_lossy_files_are_read_closely(tmp_path, name):
    if name == "a.avif" and "AVIF" not in FORMATS:
        pytest.skip("this Pillow cannot read AVIF")
    assert_shows(save(tmp_path / name, PHOTO, **({} if name == "a.jp2" else {"quality": 95})), PHOTO, 16)


def test_the_content_decides_not_the_extension(tmp_path):
    assert_shows(save(tmp_path / "jpeg.png", PHOTO, format="JPEG", quality=95), PHOTO, 16)


def test_gray_and_one_bit_become_rgb(tmp_path):
    assert_shows(save(tmp_path / "gray.png", GRAY), as_rgb(GRAY), 0)
    Image.fromarray(GRAY > 127).save(tmp_path / "bits.png")
    assert_shows(tmp_path / "bits.png", as_rgb(np.where(GRAY > 127, 255, 0)), 0)


def test_a_palette_is_looked_up(tmp_path):
    image = Image.fromarray(PHOTO).quantize(64)
    image.save(tmp_path / "palette.png")
    assert_shows(tmp_path / "palette.png", np.asarray(image.convert("RGB")), 0)


def test_the_first_frame_of_an_animation_is_the_photo(tmp_path):
    first = Image.fromarray(PHOTO).quantize(64)
    second = Image.fromarray(255 - PHOTO).quantize(64)
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert_shows(tmp_path / "a.gif", np.asarray(first.convert("RGB")), 0)


def test_cmyk_without_a_profile_keeps_its_colours(tmp_path):
    Image.fromarray(PHOTO).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    assert_shows(tmp_path / "cmyk.jpg", PHOTO, 16)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "a.jp2"])
def test_16_bit_gray_is_rounded_to_8_bits(tmp_path, name):
    levels = np.random.default_rng(0).integers(0, 65536, (48, 64), dtype=np.uint16)
    levels[0, :2] = 0, 65535
    save(tmp_path / name, levels)
    assert_shows(tmp_path / name, as_rgb(np.rint(levels / 257)), 0)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.ppm"])
def test_16_bit_colour_is_scaled_to_8_bits(tmp_path, name):
    levels = np.random.default_rng(0).integers(0, 65536, (48, 64, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / name), levels[..., ::-1])
    assert_shows(tmp_path / name, np.rint(levels / 257), 1)


def tiff(tags, pixels, order="<"):
    """A one-strip TIFF of SHORT tags {number: value or values}; those of size and place are added."""
    height, width = pixels.shape[:2]
    tags = {256: width, 257: height, 259: 1, 273: 8, 278: height, 279: pixels.nbytes} | tags
    directory, extra = b"", b""
    extra_at = 8 + pixels.nbytes + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        values = struct.pack(f"{order}{np.size(value)}H", *np.atleast_1d(value))
        if len(values) > 4:
            values, extra = struct.pack(f"{order}I", extra_at + len(extra)), extra + values
        directory += struct.pack(f"{order}HHI", tag, 3, np.size(value)) + values.ljust(4, b"\0")
    magic = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + pixels.nbytes)
    return magic + pixels.tobytes() + struct.pack(f"{order}H", len(tags)) + directory + bytes(4) + extra


def test_16_bit_tiff_knows_its_byte_order_and_which_level_is_white(tmp_path):
    levels = GRAY.astype(np.uint16) * 257
    (tmp_path / "big.tif").write_bytes(tiff({258: 16, 262: 1, 277: 1}, levels.astype(">u2"), ">"))
    (tmp_path / "negative.tif").write_bytes(tiff({258: 16, 262: 0, 277: 1}, 65535 - levels))
    assert_shows(tmp_path / "big.tif", as_rgb(GRAY), 0)
    assert_shows(tmp_path / "negative.tif", as_rgb(GRAY), 0)


def test_pixels_that_pillow_would_misread_are_refused(tmp_path):
    planes = (PHOTO.astype(np.uint16) * 257).transpose(2, 0, 1)
    tags = {256: 64, 257: 48, 258: [16] * 3, 262: 2, 277: 3, 284: 2}
    starts = {273: [8 + i * planes[0].nbytes for i in range(3)], 278: 48, 279: [planes[0].nbytes] * 3}
    (tmp_path / "planes.tif").write_bytes(tiff(tags | starts, planes))
    Image.fromarray(GRAY.astype(np.float32) / 255).save(tmp_path / "float.tif")
    Image.fromarray(GRAY.astype(np.int32)).save(tmp_path / "int.tif")
    assert "separate planes" in reason(tmp_path / "planes.tif")
    assert "a floating-point image" in reason(tmp_path / "float.tif")
    assert "a 32-bit image" in reason(tmp_path / "int.tif")


@pytest.mark.parametrize(("kind", "expected"), [("f4", "floating-point (32 bits)"), ("f8", "floating-point (64 bits)")])
def test_floating_point_colour_is_called_by_its_name(tmp_path, kind, expected):
    cv2.imwrite(str(tmp_path / "a.tif"), (PHOTO / 255).astype(kind))
    said = reason(tmp_path / "a.tif")
    assert expected in said
    assert "save it with 8 or 16 bits" in said


def test_32_bit_whole_numbers_of_colour_are_called_by_their_name(tmp_path):
    tags = {258: [32] * 3, 262: 2, 277: 3}
    (tmp_path / "a.tif").write_bytes(tiff(tags, PHOTO.astype(np.uint32)))
    assert "a 32-bit image" in reason(tmp_path / "a.tif")


# --------------------------------------------------------------------------- orientation, alpha, profiles

STORED = {  # how a camera stores an upright photo, by EXIF orientation
    1: lambda photo: photo,
    2: lambda photo: photo[:, ::-1],
    3: lambda photo: photo[::-1, ::-1],
    4: lambda photo: photo[::-1],
    5: lambda photo: photo.transpose(1, 0, 2),
    6: lambda photo: np.rot90(photo, 1),
    7: lambda photo: np.rot90(photo, 2).transpose(1, 0, 2),
    8: lambda photo: np.rot90(photo, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_a_photo_is_turned_upright(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(STORED[orientation](PHOTO))
    save(tmp_path / name, stored, exif=exif, **({"lossless": True} if name == "a.webp" else {}))
    assert_shows(tmp_path / name, PHOTO, 32 if name == "a.jpg" else 0)


def test_16_bit_gray_is_turned_upright_too(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    save(tmp_path / "a.png", np.rot90(GRAY).astype(np.uint16) * 257, exif=exif)
    assert_shows(tmp_path / "a.png", as_rgb(GRAY), 0)


@pytest.mark.parametrize(
    "exif",
    [b"garbage", b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40, b"II*\0\xff\xff\xff\xff", b"II*\0", b"I", b"II*\0\x08\0\0"],
)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File Read")
def test_damaged_exif_does_not_lose_the_photo(tmp_path, name, exif):
    options = {"a.jpg": {"quality": 95}, "a.webp": {"lossless": True}, "a.png": {}}[name]
    path = save(tmp_path / name, PHOTO, exif=b"Exif\0\0" + exif, **options)
    assert_shows(path, PHOTO, 16 if name == "a.jpg" else 0)


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


DAMAGED_CHUNKS = {
    "a text of 2 MB, compressed": png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2_000_000))),
    "an international one": png_chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(2_000_000))),
    "very many texts": png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(900_000))) * 80,
    "an unknown compression": png_chunk(b"zTXt", b"k\0\1abc"),
    "a profile of 2 MB": png_chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2_000_000))),
    "an empty resolution": png_chunk(b"pHYs", b""),
    "an empty gamma": png_chunk(b"gAMA", b""),
    "a wrong checksum": png_chunk(b"tEXt", b"k\0text")[:-1] + b"?",
}


@pytest.mark.parametrize("kind", DAMAGED_CHUNKS)
@pytest.mark.parametrize("place", [33, -12])
def test_damaged_metadata_do_not_lose_a_png_nor_its_orientation(tmp_path, kind, place):
    exif = Image.Exif()
    exif[274] = 6
    save(tmp_path / "a.png", np.ascontiguousarray(STORED[6](PHOTO)), exif=exif)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:place] + DAMAGED_CHUNKS[kind] + data[place:])
    assert_shows(tmp_path / "a.png", PHOTO, 0)


@pytest.mark.parametrize("segment", [b"\xff\xe0\0\6JFIF", b"\xff\xee\0\7Adobe", b"\xff\xe2\0\x0eICC_PROFILE\0"])
def test_damaged_metadata_do_not_lose_a_jpeg_nor_its_orientation(tmp_path, segment):
    exif = Image.Exif()
    exif[274] = 6
    save(tmp_path / "a.jpg", np.ascontiguousarray(STORED[6](PHOTO)), exif=exif, quality=95)
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[:2] + segment + data[2:])
    assert_shows(tmp_path / "a.jpg", PHOTO, 32)


HEIC = """
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA
ADRpbG9jAAAAAERAAAIAAQAAAAAB7AABAAAAAAAAAJIAAgAAAAACfgABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAA
AAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAA
kAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq
5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xh
cAAAADAAAAABAAAAQAAAAAH////wAAAAAgAAAAAAAAACAAAAEHBpeGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEA
AQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAAL5tZGF0AAAAjigBrwngPglnZz2YoHnuydgvq8jEcTnMge5ujosq
ne+opz5VPZ+3TamUB+KKGNUmwSzbOs0A+RPxuRNyPz1q5vTJlvFuJu6/rIOiPn0jo6IHXBxYRy/BxtxM+lvXtAhSMAjKFINw5sDo
pKivpEd+trIsId8bwmmu80XF/m0e7XQq14Yjj2cznrWBR+Sks3sAAAAGRXhpZgAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAA=
"""
"""Levels 4 x, 5 y and 255 - 2 x - 2 y on 64 x 48 pixels, turned (orientation 6), as libheif and x265 write them."""


def test_a_heic_photo_is_read_where_its_reader_is_installed(tmp_path):
    (tmp_path / "a.heic").write_bytes(base64.b64decode(HEIC))
    if "HEIF" not in FORMATS:
        assert "pip install 'bfr[heic]'" in reason(tmp_path / "a.heic")
        return
    y, x = np.mgrid[:48, :64]
    assert_shows(tmp_path / "a.heic", np.dstack([4 * x, 5 * y, 255 - 2 * x - 2 * y]), 8)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_transparent_parts_become_white(tmp_path, name):
    alpha = np.linspace(0, 255, 64).astype(np.uint8)[None].repeat(48, 0)
    save(tmp_path / name, np.dstack([PHOTO, alpha]), **({"lossless": True} if name == "a.webp" else {}))
    share = alpha[..., None] / 255
    assert_shows(tmp_path / name, PHOTO * share + 255 * (1 - share), 1)


def test_gray_with_alpha_and_a_transparent_colour_become_white(tmp_path):
    save(tmp_path / "la.png", np.dstack([GRAY, np.where(GRAY > 127, 255, 0).astype(np.uint8)]))
    assert_shows(tmp_path / "la.png", as_rgb(np.where(GRAY > 127, GRAY, 255)), 0)
    first = tuple(int(level) for level in PHOTO[0, 0])
    save(tmp_path / "key.png", PHOTO, transparency=first)
    key = np.equal(PHOTO, first).all(-1, keepdims=True)
    assert_shows(tmp_path / "key.png", np.where(key, 255, PHOTO), 0)


def test_a_fully_transparent_image_is_refused(tmp_path):
    save(tmp_path / "a.png", np.dstack([PHOTO, np.zeros_like(GRAY)]))
    assert "fully transparent" in reason(tmp_path / "a.png")


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile():
    """A profile whose red primary is sRGB's blue, and the other way round."""
    return srgb_profile().replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


def linear_gray_profile():
    tags = {
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 0),
    }
    table, data, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(data), len(value))
        data += value
    illuminant = struct.pack(">3i", 63190, 65536, 54061)
    rest = bytes(12) + b"acsp" + bytes(28) + illuminant + bytes(48)
    return (
        struct.pack(">I4sI4s4s4s", start + len(data), b"", 0x02100000, b"mntr", b"GRAY", b"XYZ ") + rest + table + data
    )


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_an_icc_profile_is_converted_to_srgb(tmp_path, name):
    options = {"lossless": True} if name == "a.webp" else {}
    save(tmp_path / name, PHOTO[..., ::-1].copy(), icc_profile=swapped_profile(), **options)
    assert_shows(tmp_path / name, PHOTO, 2)


def test_an_icc_profile_counts_under_alpha_and_in_gray(tmp_path):
    swapped = np.dstack([PHOTO[..., ::-1], np.full_like(GRAY, 255)])
    assert_shows(save(tmp_path / "rgba.png", swapped, icc_profile=swapped_profile()), PHOTO, 2)
    linear = np.rint(255 * ((GRAY / 255 + 0.055) / 1.055) ** 2.4).astype(np.uint8)
    gray = np.maximum(GRAY, 64)  # darker levels are too coarse in linear light
    linear = np.maximum(linear, linear[GRAY <= 64].max())
    assert_shows(save(tmp_path / "gray.png", linear, icc_profile=linear_gray_profile()), as_rgb(gray), 4)
    levels = np.rint(65535 * linear.astype(float) / 255).astype(np.uint16)
    assert_shows(save(tmp_path / "gray16.png", levels, icc_profile=linear_gray_profile()), as_rgb(gray), 4)


def test_an_srgb_profile_leaves_the_pixels_alone(tmp_path):
    profile = bytearray(srgb_profile())
    tag = profile.index(b"gXYZ")
    profile[struct.unpack(">I", profile[tag + 4 : tag + 8])[0] + 11] ^= (
        4  # as far off as other makers' sRGB profiles are
    )
    assert_shows(save(tmp_path / "a.png", PHOTO, icc_profile=bytes(profile)), PHOTO, 0)


@pytest.mark.parametrize("profile", [b"not a profile", linear_gray_profile().replace(b"GRAY", b"CMYK")])
def test_an_unusable_profile_is_logged_and_the_photo_read_as_srgb(tmp_path, caplog, profile):
    assert_shows(save(tmp_path / "a.png", PHOTO, icc_profile=profile), PHOTO, 0)
    assert "ICC profile" in caplog.text


# --------------------------------------------------------------------------------------------- bad files


def png_bytes(image=PHOTO):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def jpeg_bytes():
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, "JPEG")
    return file.getvalue()


def png_with_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(b"")), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def with_flipped_bit(data, place):
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


BAD_FILES = {
    "empty.jpg": (b"", "empty file"),
    "half.png": (png_bytes()[: len(png_bytes()) // 2], "damaged or cut off"),
    "half.jpg": (jpeg_bytes()[: len(jpeg_bytes()) // 2], "damaged or cut off"),
    "flipped.png": (with_flipped_bit(png_bytes(), len(png_bytes()) // 2), "damaged or cut off"),
    "flipped_checksum.png": (with_flipped_bit(png_bytes(), -14), "damaged or cut off"),
    "header_only.jpg": (jpeg_bytes()[:20], "damaged JPEG file"),
    "zero_size.png": (png_with_header(0, 0), "damaged PNG file"),
    "noise.jpg": (np.random.default_rng(0).bytes(4096), "not an image"),
    "text.png": (b"this is not a picture", "not an image"),
    "page.jpg": (b"\n<!DOCTYPE html><title>404</title>", "web page"),
    "lfs.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(99), "HEIF" if "HEIF" in FORMATS else "HEIC"),
    "camera.nef": (tiff({258: 8, 262: 1, 277: 1}, GRAY), "camera raw"),
    "design.psd": (b"8BPS\0\x01" + bytes(99), "not an image, or in none of the formats"),
    "._face.png": (b"\x00\x05\x16\x07" + bytes(99), "AppleDouble"),
    "dot.png": (png_bytes(PHOTO[:1, :1]), "too small for a face: 1 x 1"),
    "thin.png": (png_bytes(PHOTO[:15]), "too small for a face: 64 x 15"),
    "bomb.png": (png_with_header(20_000, 20_000), "too large"),
    "big.png": (png_with_header(8_001, 8_000), "too large"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_with_its_reason(tmp_path, name):
    data, expected = BAD_FILES[name]
    (tmp_path / name).write_bytes(data)
    assert expected in reason(tmp_path / name)


def test_the_limit_of_megapixels_is_checked_in_the_header(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", PHOTO)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("the file was decoded"))
    assert "64 x 48 pixels by its header" in reason(path, max_megapixels=0.003)


def test_missing_and_unreadable_files_are_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    for name in ("pipe.png", "link.png", "missing.png"):
        assert "not a regular file" in reason(tmp_path / name)
    save(tmp_path / "a.png")

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    assert reason(tmp_path / "a.png") == "cannot be opened: Permission denied"


@given(place=st.floats(0, 1, exclude_max=True), value=st.binary(min_size=1, max_size=8), kind=st.sampled_from("pjtgw"))
def test_damage_anywhere_gives_a_photo_or_a_reason_and_no_other_error(tmp_path_factory, place, value, kind):
    formats = {"p": "PNG", "j": "JPEG", "t": "TIFF", "g": "GIF", "w": "WEBP"}
    file = io.BytesIO()
    Image.fromarray(FACE).save(file, formats[kind])
    data = bytearray(file.getvalue())
    start = int(place * len(data))
    data[start : start + len(value)] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(data)
    with suppress(BadInput):
        assert read_photo(path).dtype == np.uint8


# ------------------------------------------------------------------------------------ files and their ids


def test_discover_finds_images_by_name_or_content_and_passes_over_the_rest(tmp_path):
    wanted = ["a.png", "B.JPG", "sub/deep/c.webp", "no_extension", "odd.dat", "empty.jpg", "._a.jpg", ".hidden.png"]
    wanted += ["a.jxl", "a.exr", "a.hdr"]  # photos, which quarantine then says it cannot read
    for name in wanted:
        save(tmp_path / name, format="PNG")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ["notes.txt", ".DS_Store", "Thumbs.db", "x.json", "blank", ".git/x.png", "__MACOSX/a.png", ".t/y.png"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07")
    assert discover(tmp_path) == sorted(tmp_path / name for name in wanted)


def test_discover_follows_links_but_not_in_circles(tmp_path):
    save(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "circle").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").symlink_to(tmp_path / "nowhere")
    found = discover(tmp_path / "photos")
    assert found == [tmp_path / "photos" / "broken.png", tmp_path / "photos" / "linked" / "a.png"]


def test_a_wrong_folder_is_named(tmp_path):
    with pytest.raises(BadInput, match="missing is not a folder"):
        discover(tmp_path / "missing")
    with pytest.raises(BadInput, match="has no image files"):
        Ingest(tmp_path, 32)


def test_ids_say_the_path_and_never_collide(tmp_path):
    names = {
        "face.png": "face_png",
        "face.jpg": "face_jpg",
        "sub/face.png": "sub__face",
        "noise.bin.jpg": "noise.bin",
        "john.smith": "john.smith",
        "what? a:b.png": "what_ a_b",
        "zwei  .png": "zwei",
        "u\u0308nï 顔.png": "ünï 顔",
        "left\u202eright.png": "left_right",
    }
    ids = image_ids([tmp_path / name for name in names], tmp_path)
    assert ids == {image_id: tmp_path / name for name, image_id in names.items()}
    assert list(ids) == sorted(ids)


def test_ids_that_extensions_cannot_tell_apart_get_a_digest(tmp_path):
    names = ["Face.png", "face.PNG", "face_jpg.png", "face.jpg", "a/b.png", "a__b.png", "\udcff.png", "\udcfe.png"]
    paths = [tmp_path / name for name in names]
    ids = image_ids(paths, tmp_path)
    assert set(ids.values()) == set(paths)
    assert len({image_id.casefold() for image_id in ids}) == len(names)
    assert all(image_id.encode("utf-8") for image_id in ids)


def test_an_id_stays_when_other_photos_come(tmp_path):
    few = image_ids([tmp_path / "b.png", tmp_path / "sub" / "c.png"], tmp_path)
    many = image_ids([tmp_path / name for name in ("a.png", "b.png", "c.png", "sub/b.png", "sub/c.png")], tmp_path)
    assert few.items() <= many.items()


@given(st.sets(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=90), min_size=1, max_size=6))
def test_ids_are_unique_valid_file_names_in_any_order(names):
    folder = Path("photos")
    paths = [folder / name for name in names if name not in (".", "..")]
    ids = image_ids(paths, folder)
    assert sorted(ids.values()) == sorted(paths)
    assert ids == image_ids(paths[::-1], folder)
    for image_id in ids:
        assert len(f"{image_id}.png".encode()) <= 200
        assert not set(image_id) & set('<>:"/\\|?*\0\n')


# ------------------------------------------------------------------------------------------- size, streams


def test_a_photo_of_the_right_size_is_untouched():
    assert np.array_equal(to_square(FACE, 32, "aligned"), FACE)


def test_resizing_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = to_square(stripes, 16, "aligned")
    assert small.shape == (16, 16, 3)
    assert np.abs(small[2:-2, 2:-2].astype(int) - 127).max() <= 8


def test_a_photo_that_is_not_square_is_refused_or_cropped():
    with pytest.raises(BadInput, match="not an aligned face photo: 64 x 48"):
        to_square(PHOTO, 48, "aligned")
    assert np.array_equal(to_square(PHOTO, 48, "crop"), PHOTO[:, 8:56])
    assert np.array_equal(to_square(PHOTO.transpose(1, 0, 2), 48, "crop"), PHOTO[:, 8:56].transpose(1, 0, 2))


def mixed_folder(folder, good=12):
    faces = {f"face{n:02}": smooth_photo(32, 32, seed=n) for n in range(good)}
    for name, face in faces.items():
        save(folder / f"{name}.png", face)
    for name, (data, _) in BAD_FILES.items():
        (folder / name).write_bytes(data)
    save(folder / "wide.png", PHOTO)
    save(folder / ".hidden.png")
    return faces


def test_a_bad_file_never_loses_the_others(tmp_path):
    faces = mixed_folder(tmp_path)
    photos = Ingest(tmp_path, 32)
    found = dict(photos)
    assert list(found) == list(faces)
    assert all(np.array_equal(found[name], face) for name, face in faces.items())
    reasons = dict(photos.quarantine)
    assert set(reasons) == {*BAD_FILES, "wide.png", ".hidden.png"}
    assert all(expected in reasons[name] for name, (_, expected) in BAD_FILES.items())
    assert "not an aligned face photo" in reasons["wide.png"]
    assert "hidden file" in reasons[".hidden.png"]
    assert len(photos) == len(found) + len(reasons)


def test_a_second_pass_gives_the_same(tmp_path):
    mixed_folder(tmp_path)
    photos = Ingest(tmp_path, 16, fit="crop")
    first, quarantine = dict(photos), list(photos.quarantine)
    second = dict(photos)
    assert list(first) == list(second)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert photos.quarantine == quarantine
    assert "wide" in first


def test_every_file_is_decoded_once_and_only_a_few_ahead(tmp_path, monkeypatch):
    for n in range(40):
        save(tmp_path / f"{n:02}.png")
    read = []

    def counted(path, **options):
        read.append(path.name)
        return read_photo(path, **options)

    monkeypatch.setattr(ingest, "read_photo", counted)
    stream = iter(Ingest(tmp_path, 32))
    next(stream)
    assert len(read) <= 2 * ingest.WORKERS + 1
    assert len(list(stream)) == 39
    assert sorted(read) == [f"{n:02}.png" for n in range(40)]


def test_a_folder_can_be_split_before_it_is_read(tmp_path):
    mixed_folder(tmp_path)
    photos = Ingest(tmp_path, 32)
    head, tail = photos[:-5], photos[-5:]
    assert [*head.paths, *tail.paths] == list(photos.paths)
    assert [image_id for part in (head, tail) for image_id, _ in part] == [image_id for image_id, _ in photos]
    assert sorted(head.quarantine + tail.quarantine) == sorted(photos.quarantine)


def test_a_name_that_is_no_text_can_be_reported(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        (tmp_path / name).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    photos = Ingest(tmp_path, 32)
    assert list(photos) == []
    assert [row.file for row in photos.quarantine] == ["caf\\xe9.png"]


def shrunk(photo):
    return np.asarray(Image.fromarray(photo).reduce(2))


def test_pairs_are_formed_by_id_whatever_the_format(tmp_path):
    for n in range(3):
        save(tmp_path / "lq" / "sub" / f"{n}.jpg", shrunk(smooth_photo(32, 32, n)))
        save(tmp_path / "hq" / "sub" / f"{n}.png", smooth_photo(32, 32, n))
    pairs = PairedIngest(tmp_path / "lq", tmp_path / "hq", 32)
    found = list(pairs)
    assert [image_id for image_id, _, _ in found] == ["sub__0", "sub__1", "sub__2"]
    assert all(lq.shape == hq.shape == (32, 32, 3) for _, lq, hq in found)
    assert all(np.array_equal(hq, smooth_photo(32, 32, n)) for n, (_, _, hq) in enumerate(found))
    assert pairs.quarantine == []


def test_unpaired_and_half_broken_pairs_are_quarantined(tmp_path):
    lq, hq = tmp_path / "lq", tmp_path / "hq"
    for folder, names in ((lq, ["good", "bad_lq", "bad_hq", "only_lq"]), (hq, ["good", "bad_lq", "bad_hq", "only_hq"])):
        for name in names:
            save(folder / f"{name}.png")
    (lq / "bad_lq.png").write_bytes(b"")
    (hq / "bad_hq.png").write_bytes(b"")
    pairs = PairedIngest(lq, hq, 32)
    assert [image_id for image_id, _, _ in pairs] == ["good"]
    reasons = dict(pairs.quarantine)
    assert len(pairs) == 3
    assert reasons.keys() == {f"{role}/{name}.png" for role in ("lq", "hq") for name in ("bad_lq", "bad_hq")} | {
        "lq/only_lq.png",
        "hq/only_hq.png",
    }
    assert "the LQ photo of this pair: empty file" in reasons["hq/bad_lq.png"]
    assert "the HQ photo of this pair: empty file" in reasons["lq/bad_hq.png"]
    assert reasons["lq/only_lq.png"] == "no partner: the HQ folder has no 'only_lq'"
    assert reasons["hq/only_hq.png"] == "no partner: the LQ folder has no 'only_hq'"


def test_masks_cut_black_holes_and_black_pixels_elsewhere_stay_known(tmp_path, monkeypatch):
    monkeypatch.setenv("BFR_STORE", str(tmp_path / "store"))
    photo, mask = smooth_photo(32, 32), np.zeros((32, 32), np.uint8)
    photo[0, 0] = 0
    mask[8:16, 4:20] = 255
    save(tmp_path / "lq" / "a.png", photo)
    save(tmp_path / "lq" / "no_mask.png", photo)
    save(tmp_path / "masks" / "a.png", mask)
    folders = {"folder": PhotoFolder(tmp_path / "lq"), "masks": PhotoFolder(tmp_path / "masks")}
    made = ingest_stage(IngestParams(size=32, fit="aligned"), **folders)
    image = made.read("a")
    assert np.array_equal(~image.any(axis=2), mask > 0)
    assert np.array_equal(image[mask == 0], np.maximum(photo[mask == 0], 1))
    [(file, reason)] = made.quarantine
    assert (file, reason) == ("lq/no_mask.png", "no partner: the mask folder has no 'no_mask'")


@pytest.fixture(scope="module")
def heads() -> list[np.ndarray]:
    return [render(n, 64) for n in range(12)]


def paired(folder, lq, hq, fit="crop"):
    """The ids of two folders' pairs, and why the others are set aside."""
    for name, photos in (("lq", lq), ("hq", hq)):
        for n, photo in enumerate(photos):
            save(folder / name / f"{n}.png", np.ascontiguousarray(photo))
    pairs = PairedIngest(folder / "lq", folder / "hq", 64, fit)
    return [image_id for image_id, _, _ in pairs], dict(pairs.quarantine)


@pytest.mark.parametrize("preset", ["demo128", "demo128_flaws", "bicubic_x4", "mask_half", "mask_expand"])
def test_degraded_photos_belong_to_their_hq_photos(heads, tmp_path, preset):
    lq = [degrade(photo, PRESETS[preset], np.random.default_rng(n)) for n, photo in enumerate(heads)]
    ids, reasons = paired(tmp_path, lq, heads)
    assert len(ids) == len(heads)
    assert reasons == {}


def test_photos_of_others_are_no_pairs(heads, tmp_path):
    ids, reasons = paired(tmp_path, [*map(shrunk, heads[1:]), heads[0]], [*heads[:-1], heads[0]])
    assert ids == ["11"]
    assert "does not show what its HQ photo shows" in reasons["lq/0.png"]
    assert "at least 0.86 is expected" in reasons["hq/0.png"]


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (np.fliplr, "mirrored"),
        (np.flipud, "upside down"),
        (np.rot90, "turned clockwise by 90 degrees"),
        (lambda photo: photo.transpose(1, 0, 2), "transposed"),
    ],
)
def test_a_turned_hq_photo_is_called_by_how_it_is_turned(heads, tmp_path, turn, said):
    lq = [degrade(photo, PRESETS["demo128_flaws"], np.random.default_rng(0)) for photo in heads]
    ids, reasons = paired(tmp_path, [lq[0], *map(turn, lq[1:])], heads)
    assert ids == ["0"]
    assert all(f"the HQ photo is {said}" in reason for reason in reasons.values())


def test_a_crop_and_its_whole_photo_are_no_pair(heads, tmp_path):
    whole = np.pad(heads[0], ((16, 16), (48, 48), (0, 0)), mode="reflect")
    ids, reasons = paired(tmp_path, [heads[0], heads[1]], [whole, heads[1]])
    assert ids == ["1"]
    assert "the LQ photo has 64 x 64 pixels, its HQ 160 x 96" in reasons["lq/0.png"]
    square = [np.pad(photo, ((24, 24), (24, 24), (0, 0)), mode="edge") for photo in heads]
    ids, reasons = paired(tmp_path / "square", heads, [*square[:-1], heads[-1]])
    assert ids == ["11"]
    assert "another cut" in reasons["lq/0.png"]


@pytest.mark.parametrize("level", [0, 100])
def test_even_pictures_are_compared_without_a_number(heads, level):
    even = np.full((64, 64, 3), level, np.uint8)
    assert correlation(even, even) == 1
    assert correlation(even, heads[0]) == (0 if level else 1)  # black is a hole: nothing is known


def masked(folder, mask, photo=FACE, fit="aligned", **options):
    """The result of the stage for one photo and its mask."""
    save(folder / "lq" / "a.png", photo)
    save(folder / "lq" / "sound.png", FACE)
    save(folder / "masks" / "a.png", mask, **options)
    save(folder / "masks" / "sound.png", BRUSH.T)
    folders = {"folder": PhotoFolder(folder / "lq"), "masks": PhotoFolder(folder / "masks")}
    return ingest_stage(IngestParams(size=32, fit=fit), **folders)


@pytest.fixture
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("BFR_STORE", str(tmp_path / "store"))


HOLE = np.zeros((32, 32), bool)
HOLE[8:16, 4:20] = True
BRUSH = np.where(HOLE, 255, 0).astype(np.uint8)


def layer(colour, alpha=BRUSH):
    return np.dstack([np.broadcast_to(np.uint8(colour), (32, 32, 3)), alpha])


MASKS = {
    "white on black": BRUSH,
    "white on black, one bit": HOLE,
    "white on black, opaque layer": np.dstack([as_rgb(BRUSH), np.full_like(BRUSH, 255)]),
    "white on a transparent layer": layer(255),
    "black on a transparent layer": layer(0),
    "red on a transparent layer": layer((200, 10, 10)),
    "red on a transparent layer of other colours": np.where(HOLE[..., None], layer((200, 10, 10)), layer(77)),
    "white on a black layer with a transparent border": np.dstack([as_rgb(BRUSH), np.pad(BRUSH[2:-2, 2:-2] | 255, 2)]),
    "gray and alpha": np.dstack([np.full_like(BRUSH, 255), BRUSH]),
    "of twice the size": BRUSH.repeat(2, 0).repeat(2, 1),
}


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_is_read_as_its_editor_means_it(tmp_path, own_store, kind):
    made = masked(tmp_path, MASKS[kind])
    hole = ~made.read("a").any(axis=2)
    assert made.quarantine == []
    assert hole[HOLE].all()
    assert (hole != HOLE).mean() < (0.05 if "twice" in kind else 1e-6)  # a resized edge is gray


@pytest.mark.parametrize("orientation", STORED)
def test_a_mask_is_turned_upright_as_its_photo_is(tmp_path, own_store, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    made = masked(tmp_path, np.ascontiguousarray(STORED[orientation](as_rgb(BRUSH))), exif=exif)
    assert np.array_equal(~made.read("a").any(axis=2), HOLE)


UNFIT_MASKS = {
    "of another aspect": (BRUSH[:24], ["32 x 32", "32 x 24", "same aspect"]),
    "inverted": (255 - np.where(np.arange(1024).reshape(32, 32) < 40, 255, 0).astype(np.uint8), ["96", "inverted?"]),
    "all white": (BRUSH | 255, ["100", "inverted?"]),
    "all black": (BRUSH * 0, ["nothing"]),
    "an empty layer": (layer(255, BRUSH * 0), ["nothing"]),
    "a picture with a transparent part": (np.dstack([FACE, BRUSH]), ["a picture with transparent parts"]),
}


@pytest.mark.parametrize("kind", UNFIT_MASKS)
def test_a_mask_that_does_not_fit_is_set_aside_with_its_photo(tmp_path, own_store, kind):
    mask, expected = UNFIT_MASKS[kind]
    made = masked(tmp_path, mask)
    assert made.ids == ["sound"]
    assert [file for file, _ in made.quarantine] == ["lq/a.png", "mask/a.png"]
    assert all(part in made.quarantine[0].reason for part in expected)


def test_a_mask_of_a_photo_that_is_cropped_is_cropped_alike(tmp_path, own_store):
    wide = np.zeros((24, 32), np.uint8)
    wide[:, 4:8] = 255
    made = masked(tmp_path, wide, photo=PHOTO[::2, ::2], fit="crop")
    hole = ~made.read("a").any(axis=2)
    assert hole[:, :4].all()
    assert not hole[:, 8:].any()


@pytest.mark.parametrize("mask", [BRUSH // 255, (BRUSH // 255).astype(np.uint16) * 255])
def test_a_mask_of_labels_is_told_that_white_is_255(tmp_path, own_store, mask):
    made = masked(tmp_path, mask)
    assert "its lightest level is 1 of 255" in made.quarantine[0].reason


def test_the_share_of_each_hole_is_recorded(tmp_path, own_store):
    made = masked(tmp_path, BRUSH)
    with (made.root / "holes.csv").open() as file:
        shares = {row["image_id"]: float(row["share"]) for row in csv.DictReader(file)}
    assert shares.keys() == {"a", "sound"}
    assert shares["a"] == HOLE.mean()


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_further_frames_of_a_photo_are_said_not_to_be_taken(tmp_path, caplog, suffix):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / f"photo{suffix}", save_all=True, append_images=frames[1:])
    assert read_photo(tmp_path / f"photo{suffix}").mean(axis=(0, 1)) == pytest.approx((255, 0, 0), abs=8)
    assert "a photo has 3 frames or pages, of which the first is taken" in caplog.text


def test_a_photo_that_may_not_be_looked_at_is_set_aside(tmp_path, monkeypatch):
    for name in ("a", "b"):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{name}.png")
    is_file = Path.is_file

    def closed(path: Path) -> bool:
        if path.name == "a.png":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", closed)
    assert PhotoFolder(tmp_path).digest
    found = Ingest(tmp_path, 32)
    assert [image_id for image_id, _ in found] == ["b"]
    assert found.quarantine == [("a.png", "cannot be opened: Permission denied")]


@pytest.mark.parametrize("with_hq", [False, True])
def test_a_photo_that_is_black_nearly_everywhere_is_no_hole_to_fill(tmp_path, own_store, with_hq):
    photo = np.full((64, 64, 3), 120, np.uint8)
    photo[:32] = 60
    for folder in ("lq", "hq"):
        (tmp_path / folder).mkdir()
        for name in ("black", "dark", "whole"):
            save(tmp_path / folder / f"{name}.png", photo)
    save(tmp_path / "lq" / "black.png", np.where(np.arange(64)[:, None, None] < 2, photo, 0).astype(np.uint8))
    save(tmp_path / "lq" / "dark.png", np.maximum(photo // 20, 1).astype(np.uint8))
    folders = {name: PhotoFolder(tmp_path / name) for name in (("hq",) if with_hq else ())}
    taken = ingest_stage(IngestParams(size=64, fit="crop"), folder=PhotoFolder(tmp_path / "lq"), **folders)
    assert taken.ids == ["dark", "whole"]
    assert "truly black in 96.9% of it" in taken.quarantine[0].reason


def test_a_photo_for_which_the_memory_does_not_suffice_is_not_called_damaged(tmp_path, monkeypatch):
    Image.new("RGB", (32, 32)).save(tmp_path / "photo.png")

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", full)
    with pytest.raises(BadInput, match="not enough memory"):
        read_photo(tmp_path / "photo.png")


def test_holes_are_said_and_without_any_nothing_is_filled(tmp_path, own_store, caplog):
    caplog.set_level(logging.INFO)
    say_holes(masked(tmp_path / "masked", BRUSH))
    assert f"Holes: {HOLE.mean():.1%} of a photo on average, in 2 photos." in caplog.text.replace(" %", "%")
    holed = np.maximum(FACE, 1)
    holed[4:8, 4:8] = 0
    save(tmp_path / "lq" / "whole.png", np.maximum(FACE, 1))
    save(tmp_path / "lq" / "b.png", holed)
    say_holes(ingest_stage(IngestParams(size=32, fit="crop"), folder=PhotoFolder(tmp_path / "lq")))
    assert "Without a hole, so nothing is filled: 1 photos, whole" in caplog.text
    (tmp_path / "lq" / "b.png").unlink()
    with pytest.raises(BadInput, match="None of the photos has a hole"):
        say_holes(ingest_stage(IngestParams(size=32, fit="crop"), folder=PhotoFolder(tmp_path / "lq")))


def test_photos_that_are_cropped_are_listed_and_said(tmp_path, own_store, caplog):
    for n in range(4):
        save(tmp_path / "lq" / f"wide{n}.png", PHOTO)
    save(tmp_path / "lq" / "sub" / "square.png", FACE)
    made = ingest_stage(IngestParams(size=32, fit="crop"), folder=PhotoFolder(tmp_path / "lq"))
    assert read_cropped(made.root) == [(f"wide{n}.png", 64, 48) for n in range(4)]
    say_set_aside(made)
    assert "their centre was taken (cropped.csv): 4, wide0.png, wide1.png, wide2.png, …" in caplog.text


def test_pairs_that_are_cropped_are_listed_and_square_photos_are_not_mentioned(tmp_path, own_store, caplog):
    made = masked(tmp_path, np.pad(BRUSH, ((0, 0), (8, 8))), photo=np.pad(FACE, ((0, 0), (8, 8), (0, 0))), fit="crop")
    assert read_cropped(made.root) == [("lq/a.png", 48, 32)]
    save(tmp_path / "square" / "a.png")
    square = ingest_stage(IngestParams(size=32, fit="crop"), folder=PhotoFolder(tmp_path / "square"))
    say_set_aside(square)
    assert "centre" not in caplog.text


def test_folders_without_a_common_photo_are_an_error(tmp_path):
    save(tmp_path / "lq" / "a_lq.png")
    save(tmp_path / "hq" / "a_hq.png")
    with pytest.raises(BadInput, match=r"no photo in common.*'a_lq'.*'a_hq'"):
        pair(tmp_path / "lq", tmp_path / "hq")


# --------------------------------------------------------------------- the real pack, where it is at hand


def thumbnail(photo):
    """float [16, 16]: enough to see which way up the face is, and whether it is there at all."""
    return np.asarray(Image.fromarray(photo).convert("L").resize((16, 16), Image.Resampling.BOX)).astype(float)


@pytest.mark.skipif(not REAL_FACES.is_dir(), reason="the real photos are not part of the repository")
def test_real_files_are_read_or_refused_as_their_manifest_expects():
    upright = thumbnail(read_photo(REAL_FACES / "unusual" / "lossless.webp"))
    records = [r for r in json.loads((REAL_FACES / "manifest.json").read_text()) if r.get("expect")]
    assert len(records) == 41
    for record in records:
        path = REAL_FACES / record["file"]
        if record["file"].startswith("broken/"):
            assert reason(path)
            continue
        photo = read_photo(path)
        assert list(photo.shape[1::-1]) == record["size"], path
        if not path.name.startswith("rgba") and path.parent.name == "unusual":  # the others are other pictures
            assert np.abs(thumbnail(photo) - upright).mean() < 4, path
