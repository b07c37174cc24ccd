"""Photos are given back in their own kind: bits, colours, profile, EXIF, transparency."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from tasks.basics import BadInput
from tasks.data.original import encoded, read_original, write_original
from tasks.data.photo import read_photo

ORIENTATION, MAKE = 274, 271


@pytest.fixture
def colours() -> np.ndarray:
    """uint8 [40, 60, 3], unlike in each corner."""
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([rows * 5, columns * 4, 255 - rows * 2 - columns], 2).astype(np.uint8)


def wide(colours: np.ndarray) -> np.ndarray:
    return colours.astype(np.uint16) * 257 - 13 * (colours > 20).astype(np.uint16)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "1", "P"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_a_photo_comes_back_as_it_was(tmp_path, colours, mode, kind):
    image = Image.fromarray(colours).convert(mode)
    if kind in ("WEBP", "JPEG") and mode not in ("L", "RGB"):
        return
    image.save(tmp_path / "photo", kind, **({"lossless": True} if kind == "WEBP" else {}))
    photo = read_original(tmp_path / "photo")
    assert photo.kind == kind
    write_original(photo, photo.pixels, tmp_path / "again")
    again = read_original(tmp_path / "again")
    assert again.pixels.shape == photo.pixels.shape
    assert np.abs(again.pixels.astype(int) - photo.pixels).max() <= (9 if kind == "JPEG" else 0)
    np.testing.assert_array_equal(photo.shown, read_photo(tmp_path / "photo"))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_stay_sixteen(tmp_path, colours, suffix, channels):
    pixels = wide(np.concatenate([colours, np.full((40, 60, 1), 200, np.uint8)], 2))[..., :channels]
    order = {1: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[channels]
    path = tmp_path / f"photo{suffix}"
    cv2.imwrite(str(path), pixels if order is None else cv2.cvtColor(pixels, order))
    photo = read_original(path)
    np.testing.assert_array_equal(photo.pixels, pixels)
    changed = photo.pixels // 2 + 1
    write_original(photo, changed, tmp_path / "again")
    np.testing.assert_array_equal(read_original(tmp_path / "again").pixels, changed)
    assert read_original(tmp_path / "again").kind == photo.kind


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "PNG of 16 bits"])
def test_a_turned_photo_is_written_upright_with_its_other_exif(tmp_path, colours, turn, kind):
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKE] = turn, "Maker"
    Image.fromarray(colours).save(tmp_path / "photo", kind.split()[0], exif=exif)
    if kind == "PNG of 16 bits":
        photo = read_original(tmp_path / "photo")
        (tmp_path / "photo").write_bytes(with_exif(wide(colours), exif))
    photo = read_original(tmp_path / "photo")
    eight = photo.pixels if photo.pixels.dtype == np.uint8 else (photo.pixels // 257).astype(np.uint8)
    assert np.abs(eight.astype(int) - read_photo(tmp_path / "photo")).max() <= 1
    write_original(photo, photo.pixels, tmp_path / "again")
    with Image.open(tmp_path / "again") as again:
        assert again.getexif().get(ORIENTATION, 1) == 1
        assert again.getexif()[MAKE] == "Maker"
        assert again.size == photo.shown.shape[1::-1]


def with_exif(pixels: np.ndarray, exif: Image.Exif) -> bytes:
    """A PNG of 16 bits with an EXIF of any orientation."""
    from tasks.data.metadata import with_chunks_of

    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG", exif=exif)
    return with_chunks_of(cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes(), file.getvalue())


def other_profile() -> bytes:
    """sRGB with its red and green changed over: another one than any photo has by chance."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_profile_stays_and_crops_are_brought_into_its_colours(tmp_path, colours, kind):
    profile = other_profile()
    Image.fromarray(colours).save(tmp_path / "photo", kind, icc_profile=profile)
    photo = read_original(tmp_path / "photo")
    assert np.abs(photo.shown.astype(int) - photo.pixels).mean() > 10, "the profile changes the colours"
    assert np.abs(photo.own(photo.shown) - photo.pixels).mean() < 2
    write_original(photo, photo.pixels, tmp_path / "again")
    assert read_original(tmp_path / "again").profile == profile


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_profile_stays_with_sixteen_bits(tmp_path, colours, kind):
    Image.fromarray(colours).save(tmp_path / "photo", kind, icc_profile=other_profile())
    photo = read_original(tmp_path / "photo")
    (tmp_path / "again").write_bytes(encoded(photo, wide(colours)))
    again = read_original(tmp_path / "again")
    assert again.profile == other_profile()
    assert again.pixels.dtype == np.uint16


def test_a_gray_photo_stays_gray(tmp_path, colours):
    Image.fromarray(colours).convert("L").save(tmp_path / "photo.jpg")
    photo = read_original(tmp_path / "photo.jpg")
    assert photo.own(photo.shown).shape == (40, 60, 1)
    with Image.open(io.BytesIO(encoded(photo, photo.pixels))) as again:
        assert again.mode == "L"


def test_cmyk_and_formats_that_are_not_written_come_as_srgb_and_png(tmp_path, colours):
    Image.fromarray(colours).convert("CMYK").save(tmp_path / "print.jpg")
    Image.fromarray(colours).save(tmp_path / "old.bmp")
    printed, old = read_original(tmp_path / "print.jpg"), read_original(tmp_path / "old.bmp")
    assert (printed.kind, printed.profile, printed.pixels.shape[2]) == ("JPEG", None, 3)
    assert old.kind == "PNG"


def test_what_cannot_be_read_says_why(tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(BadInput, match="damaged"):
        read_original(tmp_path / "cut.png")
