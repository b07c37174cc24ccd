"""`bfr restore` on whole photos: rendered heads in drawn backgrounds, of all kinds, among bad files."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from faces.drawn import Head, draw
from PIL import Image

from flows import workspace
from flows.cli import call
from flows.restore import METHODS, chosen, restore, suffix_of
from flows.rows import rows_of
from flows.whole_photos import Options, Outcome, files_of, named, restore_photos
from tasks.basics import ROOT, BadInput
from tasks.data.original import read_original
from tasks.data.photo import read_photo
from tasks.diffusion.unet import UNet
from tasks.faces.mtcnn import Mtcnn
from tasks.stages import find_faces, paste_faces
from tasks.store.artifact import is_whole
from tasks.store.ownership import manifest_of
from tasks.weights import fetch
from tasks.weights.file import WeightFile

TWO = [Head(3, 150, 90, 95), Head(8, 90, 260, 110, 12)]
ONE = [Head(5, 140, 100, 90, -8)]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two faces in a turned JPEG, one in a PNG of 16 bits in a sub-folder, none in a WebP, and what cannot be read."""
    folder = tmp_path / "shoebox"
    (folder / "1927").mkdir(parents=True)
    two, _ = draw(TWO, 340, 200)
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Maker"
    Image.fromarray(np.rot90(two).copy()).save(folder / "Two.JPG", quality=95, exif=exif)
    one, _ = draw(ONE, 220, 190)
    cv2.imwrite(str(folder / "1927" / "one.png"), cv2.cvtColor(one.astype(np.uint16) * 257, cv2.COLOR_RGB2BGR))
    Image.fromarray(draw([], 120, 90)[0]).save(folder / "none.webp")
    (folder / "cut.jpg").write_bytes((folder / "Two.JPG").read_bytes()[:900])
    (folder / "empty.png").touch()
    return folder


def restored(*given: Path, out: Path, **options: object) -> Outcome:
    return restore_photos(list(given), str(out), "demo", "pretrained", Options.model_validate(options))


def files_below(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_shoebox_is_restored_with_its_names_kinds_bits_and_exif(album, tmp_path):
    before = files_below(album)
    done = restored(album, out=tmp_path / "out", keep_crops=True)
    assert files_below(album) == before, "nothing is written among the user's photos"
    photos = tmp_path / "out" / "photos"
    assert {name for name in files_below(photos) if name != "manifest.json"} == {"Two.JPG", "1927/one.png", "none.webp"}
    assert (photos / "none.webp").read_bytes() == (album / "none.webp").read_bytes()
    two, one = read_original(photos / "Two.JPG"), read_original(photos / "1927" / "one.png")
    assert two.shown.shape == (200, 340, 3)
    assert one.pixels.dtype == np.uint16
    with Image.open(photos / "Two.JPG") as image:
        assert (image.getexif().get(274, 1), image.getexif()[271]) == (1, "Maker")
    assert done.line.startswith(
        "2 photos restored, 3 faces, 1 without a face to restore (kept as they are), 2 set aside ("
    )
    assert done.line.endswith(f"→ {tmp_path / 'out'}")
    assert {row.file for row in done.set_aside} == {"cut.jpg", "empty.png"}
    told = json.loads((tmp_path / "out" / "faces" / "faces.json").read_text())["photos"]
    assert [face["done"] for face in told["Two.JPG"]["faces"]] == ["restored by SwinIR, pre-trained"] * 2
    assert told["none.webp"]["faces"] == []
    crops = [name for name in files_below(tmp_path / "out" / "faces") if name.endswith(".png")]
    assert len(crops) == 6


def test_faces_change_and_the_rest_of_the_photo_does_not(album, tmp_path):
    photo = read_original(album / "1927" / "one.png").pixels
    restored(album, out=tmp_path / "out")
    result = read_original(tmp_path / "out" / "photos" / "1927" / "one.png").pixels
    changed = (result != photo).any(2)
    assert changed[70:110, 80:120].mean() > 0.9
    assert not changed[:, 180:].any()
    assert not changed[175:].any()


def test_a_photo_is_restored_alike_alone_and_in_company(album, tmp_path):
    restored(album, out=tmp_path / "all")
    done = restored(album / "Two.JPG", out=tmp_path / "alone")
    assert done.line.startswith("1 photo restored, 2 faces →")
    ours, theirs = (read_photo(tmp_path / name / "photos" / "Two.JPG").astype(int) for name in ("alone", "all"))
    assert np.abs(ours - theirs).max() <= 2


@pytest.mark.parametrize(
    ("options", "crops"),
    [
        ({"max_faces": 1}, [True, False]),
        ({"min_face": 70}, [True, False]),
        ({"only_center": True}, [True, False]),
        ({}, [True, True]),
    ],
)
def test_which_faces_are_restored_can_be_chosen(album, tmp_path, options, crops):
    done = restored(album / "Two.JPG", out=tmp_path / "out", **options)
    faces = next(iter(done.found.values())).faces
    assert [face.crop is not None for face in faces] == crops
    assert all(face.why for face in faces if face.crop is None)


def test_what_may_be_no_face_is_left_as_it_is(album, tmp_path, monkeypatch):
    monkeypatch.setattr(find_faces, "SURE", 1.01)
    done = restored(album / "Two.JPG", out=tmp_path / "out")
    assert done.line.startswith("0 photos restored, 0 faces, 1 without a face to restore")
    assert (tmp_path / "out" / "photos" / "Two.JPG").read_bytes() == (album / "Two.JPG").read_bytes()


def test_strength_mixes_and_nought_changes_nothing(album, tmp_path):
    photo = read_original(album / "1927" / "one.png").pixels
    restored(album / "1927" / "one.png", out=tmp_path / "out", strength=0)
    np.testing.assert_array_equal(read_original(tmp_path / "out" / "photos" / "one.png").pixels, photo)


def test_an_enlarged_photo_has_its_faces_where_they_were(album, tmp_path):
    restored(album / "1927" / "one.png", out=tmp_path / "once")
    restored(album / "1927" / "one.png", out=tmp_path / "twice", upscale=2)
    once, twice = (read_photo(tmp_path / name / "photos" / "one.png") for name in ("once", "twice"))
    assert twice.shape == (380, 440, 3)
    back = cv2.resize(twice, (220, 190), interpolation=cv2.INTER_AREA).astype(float)
    assert np.sqrt(np.mean((back - once) ** 2)) < 3


def test_an_interrupted_run_goes_on_and_what_was_finished_is_there(album, tmp_path, monkeypatch):
    """Killed while the second photo is written: the first one is there, and the next run searches neither anew."""
    searched, write = [], paste_faces.write_original
    detect, out = Mtcnn.detect, tmp_path / "out"
    monkeypatch.setattr(Mtcnn, "detect", lambda *given: searched.append(1) or detect(*given))

    def killed(original: object, pixels: object, path: Path) -> None:
        if path.name == "Two.JPG":
            assert {name for name in files_below(out) if "manifest" not in name} == {"photos/1927/one.png"}
            raise KeyboardInterrupt
        write(original, pixels, path)

    monkeypatch.setattr(paste_faces, "write_original", killed)
    with pytest.raises(KeyboardInterrupt):
        restored(album, out=out)
    assert len(searched) == 2
    assert list(json.loads((out / "faces" / "faces.json").read_text())["photos"]) == ["1927/one.png"]
    monkeypatch.setattr(paste_faces, "write_original", write)
    done = restored(album, out=out)
    assert done.line.startswith("2 photos restored, 3 faces")
    assert len(searched) == 3
    assert len(json.loads((out / "faces" / "faces.json").read_text())["photos"]) == 3


def test_results_of_other_settings_do_not_lie_beside_new_ones(album, tmp_path, monkeypatch):
    out, write = tmp_path / "out", paste_faces.write_original
    restored(album, out=out)

    def killed(original: object, pixels: object, path: Path) -> None:
        if path.name == "Two.JPG":
            raise KeyboardInterrupt
        write(original, pixels, path)

    monkeypatch.setattr(paste_faces, "write_original", killed)
    with pytest.raises(KeyboardInterrupt):
        restored(album, out=out, strength=0.5)
    assert {path.name for path in (out / "photos").rglob("*.*")} == {"one.png", "manifest.json"}


def test_two_runs_do_not_write_to_one_folder(album, tmp_path):
    with workspace.alone_in(tmp_path / "out"), pytest.raises(BadInput, match="Another run writes to"):
        restored(album / "none.webp", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    restored(album / "none.webp", out=tmp_path / "out")


def test_results_are_not_published_while_another_run_writes_to_their_folder(tmp_path):
    work = workspace.Drafts(tmp_path / "out")
    with workspace.alone_in(work.root), pytest.raises(BadInput, match="Another run writes to"):
        work.publish_with(workspace.Drafts(work.root / "details"))
    assert not work.root.exists()


def test_details_of_aligned_crops_do_not_stay_beside_whole_photos(album, tmp_path):
    restore(str(album / "none.webp"), out=str(tmp_path / "out"))
    assert (tmp_path / "out" / "details" / "lq").exists()
    restored(album / "none.webp", out=tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir() if any(path.rglob("*.*"))} == {"photos", "faces"}


def test_photos_that_are_gone_have_no_results_any_more(album, tmp_path):
    restored(album, out=tmp_path / "out")
    (album / "none.webp").unlink()
    restored(album, out=tmp_path / "out")
    assert not (tmp_path / "out" / "photos" / "none.webp").exists()
    assert is_whole(tmp_path / "out" / "photos")


def test_photos_that_come_later_are_searched_alone(album, tmp_path, monkeypatch):
    searched, detect = [], Mtcnn.detect
    monkeypatch.setattr(Mtcnn, "detect", lambda *given: searched.append(1) or detect(*given))
    restored(album, out=tmp_path / "out")
    Image.fromarray(draw([], 90, 90, 5)[0]).save(album / "Another.png")
    restored(album, out=tmp_path / "out")
    assert len(searched) == 3 + 1


def test_a_second_run_replaces_its_results_and_foreign_files_are_refused(album, tmp_path):
    restored(album, out=tmp_path / "out")
    restored(album, out=tmp_path / "out", strength=0.5)
    (tmp_path / "out" / "mine.txt").write_text("notes")
    with pytest.raises(BadInput, match=r"mine\.txt"):
        restored(album, out=tmp_path / "out")
    with pytest.raises(BadInput, match="lie in one another"):
        restored(album, out=album / "restored")


def test_a_photo_over_the_limit_is_set_aside_and_can_be_allowed(album, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # Pillow's own limit, too
    photo = album / "Two.JPG"
    with pytest.raises(BadInput, match="the limit is 0"):
        restored(photo, out=tmp_path / "out", max_megapixels=0.05)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    assert restored(photo, out=tmp_path / "out", max_megapixels=0.07).line.startswith("1 photo restored")


def test_other_samples_have_a_folder_of_their_own():
    assert suffix_of("difface", None, is_fast=False) == "restored_difface"
    assert suffix_of("difface", 7, is_fast=False) == "restored_difface_seed7"
    assert suffix_of("difface", 7, is_fast=True) == "restored_difface_fast_seed7"


def test_fast_results_are_never_mistaken_for_others_in_one_folder(album, tmp_path, monkeypatch, caplog):
    evaluated, evaluate = [], UNet.forward
    monkeypatch.setattr(UNet, "forward", lambda *given: evaluated.append(1) or evaluate(*given))
    made = []
    for is_fast in (False, True):
        evaluated.clear()
        given = ([album / "1927" / "one.png"], str(tmp_path / "out"), "demo", "pseudo_target", Options())
        restore_photos(*given, is_fast=is_fast)
        photos = tmp_path / "out" / "photos"
        made.append((len(evaluated), manifest_of(photos).key, read_photo(photos / "one.png").tobytes()))
    usual, fast = made
    assert fast[0] < usual[0]
    assert fast[1] != usual[1]
    assert fast[2] != usual[2]
    assert "of other photos or settings, were replaced" in caplog.text


def test_fast_crops_replace_others_in_one_folder_and_it_is_said(tmp_path, caplog):
    crops, out = tmp_path / "crops", tmp_path / "out"
    crops.mkdir()
    Image.fromarray(draw([Head(5, 64, 64, 90)], 128, 128)[0]).save(crops / "face.png")
    made = []
    for is_fast in (False, True):
        restore(str(crops), "pseudo_target", out=str(out), is_fast=is_fast)
        made.append(read_photo(out / "photos" / "face.png").tobytes())
    assert made[0] != made[1]
    assert f"The results in {out}, of another method, seed, weights or settings, were replaced." in caplog.text


@pytest.mark.parametrize("where", [["--aligned"], []])
def test_a_method_that_cannot_be_fast_says_so_before_anything_is_done(album, tmp_path, capsys, where):
    command = ["restore", str(album), "-o", str(tmp_path / "out"), "--method", "demo", "--fast", *where]
    assert call(command) == 1
    assert "this method has no variant with fewer evaluations" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_git_passes_over_results_in_the_checkout(album, tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    monkeypatch.setattr(workspace, "ROOT", checkout)
    subprocess.run(["git", "init", "--quiet", checkout], check=True)
    for out in ("mine", "sub/other"):
        for strength in (1.0, 0.5):  # a second run finds nothing of another's there
            restored(album / "none.webp", out=checkout / out, strength=strength)
    status = ["git", "-C", str(checkout), "status", "--porcelain", "--untracked-files=all"]
    assert subprocess.run(status, capture_output=True, check=True, text=True).stdout == ""
    (checkout / "mine" / ".gitignore").write_text("*.png")
    with pytest.raises(BadInput, match="gitignore"):
        restored(album / "none.webp", out=checkout / "mine")


def test_photos_of_which_none_can_be_used_are_said_to_be_so(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(BadInput, match="The photo cannot be used"):
        restored(tmp_path / "empty.png", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_was_done_in_a_line_and_why_files_were_set_aside(album, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(["restore", "shoebox", "-o", "out", "--method", "demo"]) == 0
    said = capsys.readouterr()
    assert said.out.strip().endswith(f"→ {tmp_path / 'out'}")
    assert len(said.out.strip().splitlines()) == 1
    assert call(["restore", "shoebox/*.JPG", "-o", "some", "--method", "demo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["restored"] == {"photos": 1, "faces": 2}


def test_reasons_and_what_the_demo_knows_are_told(album, tmp_path, caplog):
    restored(album, out=tmp_path / "out")
    said = " ".join(record.message for record in caplog.records)
    assert "Set aside: empty.png: empty file" in said
    assert "know rendered faces of" in said


def test_missing_weights_are_one_message_with_the_ways_to_get_them(album, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fetch.Path, "is_file", lambda path: path.suffix != ".pth" and Path.exists(path))
    assert call(["restore", str(album), "-o", str(tmp_path / "out"), "--method", "codeformer"]) == 1
    said = capsys.readouterr().err
    assert "bfr fetch codeformer.pth" in said
    assert "https://github.com/sczhou/CodeFormer" in said
    assert "--weights FILE" in said


@pytest.mark.parametrize(
    ("method", "files"),
    [
        ("gfpgan", ["GFPGANv1.3.pth"]),
        ("codeformer", ["codeformer.pth"]),
        ("pseudo_target", ["swinir_gan_v1.pth", "iddpm_ffhq512_ema500000.pth"]),
        ("demo", []),
    ],
)
def test_a_method_names_the_files_that_it_needs(method, files):
    assert [file.place for file in files_of(*named(method, None))] == files


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_a_row_of_an_experiment_that_restores(method):
    experiment, row = named(method, None)
    settings = chosen(experiment, row, None, None)
    assert not rows_of(settings)[row].fills


def test_a_row_that_needs_a_run_s_adapted_model_restores_no_other_photos():
    with pytest.raises(BadInput, match=r"'difface_adapted' of 'beyond_difface' starts from the restorer.*bfr adapt"):
        chosen("beyond_difface", "difface_adapted", None, None)


def test_weights_of_an_unknown_method_are_those_of_none():
    with pytest.raises(BadInput, match=r"'demo' has no method 'pretraned'\. Did you mean 'pretrained'.*Valid: "):
        files_of("demo", "pretraned")


def test_changed_weights_are_refused(album, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "known", lambda path: WeightFile("codeformer.pth", "", "", sha256="0123"))
    monkeypatch.setattr(fetch, "CHECKSUMS", tmp_path / "sha256.json")
    with pytest.raises(BadInput, match="is not the file that it should be"):
        restored(album, out=tmp_path / "out")


def test_the_core_needs_neither_prefect_nor_dvc():
    modules = "tasks.stages.find_faces, tasks.stages.paste_faces, tasks.stages.faces_report, flows.whole_photos"
    check = f"import sys, {modules}; assert not {{'prefect', 'dvc'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)
