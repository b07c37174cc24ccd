"""The photos that a user names, and what their results are called."""

from pathlib import Path

import pytest

from tasks.basics import BadInput
from tasks.data.chosen import ChosenPhotos, expanded


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("album/a.jpg", "album/sub/a.jpg", "album/b.heic", "album/b.png", "other/a.jpg", "other/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def labels(*paths: Path) -> set[str]:
    return set(ChosenPhotos(paths).labels.values())


def test_a_folder_keeps_its_names_and_sub_folders(album):
    assert labels(album / "album") == {"a.jpg", "sub/a.jpg", "b.heic", "b.png"}


def test_of_several_folders_each_has_its_own(album):
    assert labels(album / "album", album / "other") == {
        *("album/a.jpg", "album/sub/a.jpg", "album/b.heic", "album/b.png", "other/a.jpg")
    }


def test_single_files_have_their_names_and_where_those_are_equal_their_folders(album):
    assert labels(album / "album/a.jpg", album / "album/b.png") == {"a.jpg", "b.png"}
    assert labels(album / "album/a.jpg", album / "other/a.jpg") == {"album/a.jpg", "other/a.jpg"}


def test_a_photo_that_is_named_twice_is_there_once(album):
    assert labels(album / "album/a.jpg", album / "album/a.jpg") == {"a.jpg"}


def test_a_photo_that_is_named_by_two_ways_is_there_once(album):
    (album / "link").symlink_to(album / "album")
    assert labels(album / "album/a.jpg", album / "other/../album/a.jpg", album / "link/a.jpg") == {"a.jpg"}


@pytest.mark.parametrize("name", ["x" * 300, "missing/?.png"])
def test_what_no_file_can_be_called_is_refused_with_its_name(album, name):
    with pytest.raises(BadInput, match=r"is called like|cannot be used as a path") as said:
        expanded(album / name)
    assert str(album / name) in str(said.value)


def test_patterns_stand_for_files(album):
    assert expanded(album / "album" / "*.png") == [album / "album" / "b.png"]
    with pytest.raises(BadInput, match="No file is called like"):
        expanded(album / "*.gif")


def test_nothing_and_folders_without_photos_are_refused(album):
    with pytest.raises(BadInput, match="Which photos"):
        ChosenPhotos([])
    (album / "empty").mkdir()
    with pytest.raises(BadInput, match="no image files"):
        ChosenPhotos([album / "empty"])
    with pytest.raises(BadInput, match="is not there"):
        ChosenPhotos([album / "missing"])


def test_results_have_the_photos_names_and_the_suffix_of_what_is_written(album):
    photos = ChosenPhotos([album / "album"])
    kinds = {image_id: (".png",) if "b." in photos.labels[image_id] else (".jpg", ".jpeg") for image_id in photos.ids}
    names = photos.result_names(kinds)
    assert {photos.labels[image_id]: name for image_id, name in names.items()} == {
        "a.jpg": "a.jpg",
        "sub/a.jpg": "sub/a.jpg",
        "b.heic": "b_heic.png",
        "b.png": "b_png.png",
    }


@pytest.mark.parametrize("name", ["ä" * 125 + ".png", "x" * 251 + ".PNG", "con.png", "LPT1.old.png", "a .png"])
def test_a_result_keeps_its_suffix_and_is_a_name_on_every_system(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    photos = ChosenPhotos([tmp_path])
    (result,) = photos.result_names({photos.ids[0]: (".png",)}).values()
    assert Path(result).suffix == Path(name).suffix
    assert len(result.encode()) <= 200
    assert Path(result).stem.partition(".")[0].lower() not in ("con", "lpt1")
    assert not Path(result).stem.endswith(" ")


def test_the_digest_covers_names_and_contents(album):
    first = ChosenPhotos([album / "album"]).digest
    assert ChosenPhotos([album / "album"]).digest == first
    (album / "album/a.jpg").write_bytes(b"another")
    assert ChosenPhotos([album / "album"]).digest != first
