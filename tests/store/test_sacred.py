"""Nothing of a user's is ever lost: what bfr did not make is neither replaced nor moved nor deleted."""

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from flows import steps
from flows.models import check_trained_here
from flows.restore import restore
from flows.steps import check_numbers, write_numbers
from flows.workspace import Workspace, results_folder
from tasks.basics import ROOT, BadInput
from tasks.data.ingest import PhotoFolder, discover, image_ids, own_names
from tasks.report.difference import check_page
from tasks.report.voting import write_ballot
from tasks.running.stage import default_store
from tasks.stages.ingest import IngestParams, ingest
from tasks.store.artifact import MANIFEST, Artifact, ImageFolder, Manifest
from tasks.store.files import write_json, write_png
from tasks.store.keys import file_digest
from tasks.store.marker import MARKER
from tasks.store.publish import publish
from tasks.store.store import Store

CROP = IngestParams(size=16, fit="crop")


def record(key: str) -> Manifest:
    return Manifest(stage="work", key=key * 64, params=None, inputs={}, code="", files={})


WORK = SimpleNamespace(record=record)  # a stage, as far as a workspace asks it itself


def fill(folder: Path, level: int = 7) -> None:
    for name in ("a", "b"):
        write_png(folder / f"{name}.png", np.full((4, 5, 3), level, np.uint8))
    (folder / "sub").mkdir()
    (folder / "sub" / "x.txt").write_text(f"{level}")


def result(key: str = "1") -> Path:
    """A result in the store; other keys, other contents."""
    return default_store().build(record(key), lambda folder: fill(folder, int(key, 16)))


def photos_in(folder: Path, *names: str) -> Path:
    for n, name in enumerate(names or ("one.png", "two.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(folder / name, np.random.default_rng(n).integers(0, 256, (20, 20, 3), dtype=np.uint8))
    return folder


def aged(folder: Path) -> Path:
    os.utime(folder, (0, 0))
    return folder


def bytes_below(*roots: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for root in roots for path in root.rglob("*") if path.is_file()}


@contextmanager
def unchanged(*roots: Path) -> Iterator[None]:
    before = bytes_below(*roots)
    yield
    assert bytes_below(*roots) == before


# ------------------------------------------------------------------------------------------------ the store


def test_a_store_is_marked_at_its_first_use(store_folder):
    result()
    assert json.loads((store_folder / MARKER).read_text()) == {"format": 1}


@pytest.mark.parametrize("use", ["build", "prune", "verify", "usage", "artifacts"])
@pytest.mark.parametrize(
    "other", ["notes.txt", "photos/2024/a.png", f"work/{'1' * 64}/manifest.json", "tmp/x", "locks/y"]
)
def test_a_folder_of_something_else_is_refused_as_a_store(use, other, store_folder):
    (store_folder / other).parent.mkdir(parents=True)
    (store_folder / other).write_text("{}")
    store = default_store()
    uses = {"build": result, "prune": lambda: store.prune(0), "artifacts": lambda: [*store.artifacts()]}
    with unchanged(store_folder), pytest.raises(BadInput, match="cannot be the store: it is not empty"):
        uses.get(use, getattr(store, use))()


def test_a_store_of_the_version_before_is_adopted_and_one_of_a_later_refused(store_folder):
    path = result()
    (store_folder / "training").mkdir()
    (store_folder / "training" / f"{'2' * 64}.pt").touch()
    (store_folder / MARKER).unlink()
    assert default_store().usage()["work"][0] == 1
    assert not (store_folder / MARKER).exists()
    result("2")
    assert (store_folder / MARKER).exists()
    assert path.is_dir()
    (store_folder / MARKER).write_text('{"format": 99}')
    with pytest.raises(BadInput, match="found 99: a newer bfr"):
        result("3")
    with pytest.raises(BadInput, match="found 99: a newer bfr"):
        default_store().prune(0)


def test_prune_and_verify_touch_only_what_is_ours(store_folder):
    ours = aged(result())
    for place in ("photos/2024", f"photos/{'2' * 64}", f"work/{'3' * 64}", "work/notes", "tmp/mine", "training/mine"):
        (store_folder / place).mkdir(parents=True)
        (store_folder / place / MANIFEST).write_text('{"name": "an app"}')
        aged(store_folder / place)
    moved = store_folder / "work" / ("4" * 64)
    shutil.copytree(ours, moved)  # a result of ours at another key's place
    (moved / "a.png").write_bytes(b"changed")
    aged(moved)
    elsewhere = photos_in(store_folder.parent / "elsewhere")
    (store_folder / "work" / ("5" * 64)).symlink_to(elsewhere)
    mine = [path for path in bytes_below(store_folder, elsewhere) if ours not in path.parents]
    before = {path: path.read_bytes() for path in mine}
    assert not [found for found in default_store().verify() if found.is_deleted]
    assert [found.path for found in default_store().prune(30) if found.is_deleted] == [ours]
    assert {path: path.read_bytes() for path in mine} == before


def test_work_that_is_under_way_is_not_pruned(store_folder):
    store = default_store()
    record = Manifest(stage="work", key="7" * 64, params={}, inputs={}, code="", files={})
    state = store_folder / "training" / f"{record.key}.pt"

    def make(folder: Path) -> None:
        state.parent.mkdir()
        state.write_bytes(b"half of a training")
        found = store.prune(0)
        assert [(each.path, each.reason, each.is_deleted) for each in found if each.path != store_folder / "locks"] == [
            (folder, "is being made", False),
            (state, "is being made", False),
        ]
        (folder / "a.txt").write_text("made")

    assert store.has(record.stage, store.build(record, make).name)
    (store_folder / "tmp" / f"work-{'7' * 16}-abcdefgh").mkdir()
    state.write_bytes(b"of a killed one")
    assert {each.path.name for each in store.prune(0) if each.is_deleted} >= {f"work-{'7' * 16}-abcdefgh", state.name}


def test_a_folder_of_a_user_in_a_folder_tmp_is_never_pruned(store_folder):
    photos_in(store_folder / "tmp" / "photos-20240101")
    result()  # makes it a store
    aged(store_folder / "tmp" / "photos-20240101")
    with unchanged(store_folder / "tmp"):
        assert not [found for found in default_store().prune(30) if found.is_deleted]


def test_a_result_that_holds_a_users_file_stays_whatever_happens_to_it(store_folder):
    folder = result()
    (folder / "notes.txt").write_text("mine")
    (folder / "a.png").write_bytes(b"damaged")
    aged(folder)
    with unchanged(folder):
        for found in (default_store().verify(), default_store().prune(30)):
            assert [("notes.txt" in each.reason, each.is_deleted) for each in found] == [(True, False)]
        with pytest.raises(BadInput, match=r"files that are not its own: notes\.txt"):
            result()
    shutil.copy(folder / "b.png", folder / "a.png")  # as it was
    (folder / MANIFEST).write_text("{")  # the disk lost the rest
    with unchanged(folder), pytest.raises(BadInput, match=r"files that are not its own: notes\.txt"):
        result()
    (folder / "notes.txt").unlink()
    assert result() == folder
    assert Artifact(folder).digest


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_what_cannot_be_read_is_reported_and_never_deleted(number, monkeypatch):
    folder = aged(result())

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with unchanged(folder), monkeypatch.context() as broken:
        broken.setattr("tasks.store.artifact.file_digest", fail)
        assert [(found.path, found.is_deleted) for found in default_store().verify()] == [(folder, False)]
        broken.setattr("tasks.store.store.is_result", fail)
        for found in (default_store().verify(), default_store().prune(30)):
            assert [(each.path, each.is_deleted) for each in found] == [(folder, False)]
        assert default_store().usage() == {"not readable": (1, 0)}
    assert [found.is_deleted for found in default_store().prune(30)] == [True]


# ------------------------------------------------------------------------------------------------ publish


MINE: dict[str, Callable[[Path], object]] = {
    "notes.txt": lambda folder: (folder / "notes.txt").write_text("mine"),
    "c.png": lambda folder: write_png(folder / "c.png", np.zeros((3, 3, 3), np.uint8)),
    "sub/mine.txt": lambda folder: (folder / "sub" / "mine.txt").write_text("mine"),
    "b.png": lambda folder: write_png(folder / "b.png", np.zeros((9, 9, 3), np.uint8)),
    "sub/x.txt": lambda folder: (folder / "sub" / "x.txt").write_text("8"),  # the same size
    "linked": lambda folder: (folder / "linked").symlink_to(folder.parent),
}


@pytest.mark.parametrize("name", MINE)
@pytest.mark.parametrize("next_key", ["1", "2"])
def test_a_published_result_that_a_user_added_to_or_changed_is_refused(name, next_key, tmp_path):
    destination = tmp_path / "out" / "lq"
    publish(result(), destination)
    MINE[name](destination)
    with unchanged(tmp_path / "out"), pytest.raises(BadInput, match=f"{name}.*move it away, or delete it yourself"):
        publish(result(next_key), destination)
    assert [path.name for path in destination.parent.iterdir()] == ["lq"]


def test_a_folder_of_a_user_is_refused_and_so_is_a_link_to_one(tmp_path):
    photos = photos_in(tmp_path / "photos")
    (tmp_path / "linked").symlink_to(photos)
    with unchanged(tmp_path / "photos"):
        for destination in (photos, tmp_path / "linked", photos / "one.png"):
            with pytest.raises(BadInput, match="move it away"):
                publish(result(), destination)
        (photos / MANIFEST).write_text('{"name": "an app"}')
        with pytest.raises(BadInput, match=r"manifest\.json"):
            publish(result(), photos)
        (photos / MANIFEST).unlink()


def test_an_older_result_that_is_whole_or_half_there_is_replaced(tmp_path):
    destination = tmp_path / "lq"
    publish(result("1"), destination)
    publish(result("2"), destination)
    (destination / "a.png").unlink()  # half a checkout
    (destination / ".DS_Store").touch()
    publish(result("3"), destination)
    assert Artifact(destination).digest == Artifact(result("3")).digest
    shutil.rmtree(destination)
    shutil.copytree(result("2"), destination)  # as a checkout does: the times say nothing, contents are compared
    publish(result("3"), destination)
    assert Artifact(destination).digest == Artifact(result("3")).digest
    assert sorted(path.name for path in destination.iterdir()) == ["a.png", "b.png", MANIFEST, "sub"]


def test_a_file_that_was_changed_while_the_clock_was_wrong_is_refused(tmp_path):
    destination = tmp_path / "lq"
    publish(result("1"), destination)
    ahead = time.time_ns() + 10**12  # the clock was ahead when this was published, and is right again
    os.utime(destination / MANIFEST, ns=(ahead, ahead))
    picture = next(destination.glob("*.png"))
    picture.write_bytes(picture.read_bytes()[::-1])
    with unchanged(destination), pytest.raises(BadInput, match="changed after they were made"):
        publish(result("2"), destination)


def test_an_unchanged_folder_is_replaced_without_hashing_it(tmp_path, monkeypatch):
    destination = tmp_path / "lq"
    publish(result("1"), destination)
    later = (destination / MANIFEST).stat().st_mtime_ns + 10**9
    os.utime(destination / MANIFEST, ns=(later, later))
    result("2")
    monkeypatch.setattr("tasks.store.ownership.time", SimpleNamespace(time_ns=lambda: later))
    monkeypatch.setattr("tasks.store.ownership.file_digest", lambda path: pytest.fail(f"{path} was hashed"))
    publish(result("2"), destination)


@pytest.mark.parametrize("renames", [1, 2])
def test_an_interrupted_swap_loses_nothing_and_is_mended(renames, tmp_path, monkeypatch):
    destination, rename, count = tmp_path / "out" / "lq", os.rename, 0
    publish(result("1"), destination)
    result("2")

    def killed(*paths: object) -> None:
        nonlocal count
        count += 1
        if count >= renames:
            raise KeyboardInterrupt
        rename(*paths)

    with monkeypatch.context() as broken:
        broken.setattr(os, "rename", killed)
        broken.setattr("tasks.store.publish._clear", lambda *_: None)  # a killed process does not clean up
        with pytest.raises(KeyboardInterrupt):
            publish(result("2"), destination)
    publish(result("2"), destination)
    assert Artifact(destination).digest == Artifact(result("2")).digest
    assert [path.name for path in destination.parent.iterdir()] == ["lq"]


def test_a_file_that_comes_during_the_swap_stays(tmp_path, monkeypatch, caplog):
    destination, rename = tmp_path / "lq", os.rename
    publish(result("1"), destination)
    result("2")

    def late(old: Path, new: Path) -> None:
        if Path(old) == destination:
            (destination / "late.txt").write_text("mine")
        rename(old, new)

    monkeypatch.setattr(os, "rename", late)
    publish(result("2"), destination)
    assert [path.read_text() for path in tmp_path.rglob("late.txt")] == ["mine"]
    assert "holds files that are not of bfr" in caplog.text


def test_names_that_differ_only_by_case_are_refused_where_the_disk_ignores_it(tmp_path, monkeypatch):
    publish(result(), tmp_path / "Noise")
    publish(result("2"), tmp_path / "noise")  # this disk tells them apart
    shutil.rmtree(tmp_path / "noise")
    monkeypatch.setattr("os.path.lexists", lambda path: True)
    with unchanged(tmp_path / "Noise"), pytest.raises(BadInput, match="'noise' would be the same folder"):
        publish(result("2"), tmp_path / "noise")


# ------------------------------------------------------------------------------------------------ a user's folders


def restored_like(work: Workspace, folder: Path) -> ImageFolder:
    """What the flows for a user's photos do, with a method that does nothing."""
    lq = Workspace(work.root / "details").make("lq", ingest, CROP, folder=PhotoFolder(folder))
    work.publish_photos(lq, folder)
    return lq


def test_results_have_the_photos_own_names_and_folders(tmp_path):
    names = ("one.png", "trip/two.png", "trip/two.jpg", "ünï/çö dé.png", "a/b/c.png", "v1.2.png")
    folder = photos_in(tmp_path / "grandma", *names)
    root, paths = results_folder(None, "restored", {"folder": str(folder), "masks": None})
    assert (root, paths) == (tmp_path / "grandma_restored", {"folder": folder})
    with unchanged(folder):
        restored_like(Workspace(root), folder)
    made = {path.relative_to(root / "photos").as_posix() for path in root.glob("photos/**/*.png")}
    two = {"trip__two_jpg.png", "trip__two_png.png"}
    assert made == {"one.png", "ünï/çö dé.png", "a/b/c.png", "v1.2.png", *two}
    assert {path.name for path in root.iterdir()} == {"photos", "details"}


def test_photos_whose_results_are_named_otherwise_are_said(tmp_path, caplog):
    folder = photos_in(tmp_path / "in", "a.png", "a.jpg", "sub/b.jpg", "sub/c:d.png", "u\u0308.png")
    restored_like(Workspace(tmp_path / "out"), folder)
    said = [record.getMessage() for record in caplog.records]
    expected = ["a.jpg is photos/a_jpg.png", "a.png is photos/a_png.png", "sub/c:d.png is photos/sub/c_d.png"]
    assert said == [f"Results with other names than their photos: {'; '.join(expected)}"]


def test_two_methods_do_not_share_a_folder_and_what_is_replaced_is_said(tmp_path, caplog):
    folder = photos_in(tmp_path / "in", "one.png")
    first = restore(str(folder))
    other = tmp_path / "other.safetensors"
    state = load_file(ROOT / "data/weights/demo/swinir.safetensors")
    save_file({name: value * 0.9 for name, value in state.items()}, other)
    with unchanged(first.root):
        second = restore(str(folder), method="gen2res_no_album", experiment="demo_methods")
    assert [first.root.name, second.root.name] == ["in_restored", "in_restored_gen2res_no_album"]
    photos_in(folder, "two.png")
    restore(str(folder))
    assert "replace" not in caplog.text
    restore(str(folder), weights=str(other))
    assert f"The results in {first.root}, of another method, seed, weights or settings, were replaced" in caplog.text


@pytest.mark.parametrize(
    "settings",
    [{"masks": "/no/such/folder"}, {"experiment": "dt_bfr_swinir"}, {"folder": "empty"}, {"folder": "nowhere"}],
)
def test_a_command_that_fails_leaves_no_folder_behind(settings, tmp_path):
    photos_in(tmp_path / "in")
    (tmp_path / "empty").mkdir()
    folder = str(tmp_path / settings.get("folder", "in"))
    method = {"method": "difface", "experiment": "demo_inpainting"} if "masks" in settings else {}
    for out in (None, str(tmp_path / "new" / "out")):
        with pytest.raises(BadInput):
            restore(folder, out=out, **method | {k: v for k, v in settings.items() if k != "folder"})
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "store") == ["empty", "in"]


def test_missing_weights_are_said_before_a_photo_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("flows.restore.results_folder", None)
    with pytest.raises(BadInput, match=r"swinir_gan_v1\.pth is missing"):
        restore(str(photos_in(tmp_path / "in")), experiment="dt_bfr_swinir")


def test_a_photo_that_is_named_like_a_folder_does_not_hide_it(tmp_path):
    folder = photos_in(tmp_path / "in", "a.jpg", "a.png/b.png")
    names = own_names(image_ids(discover(folder), folder), folder)
    assert names == {"a": "a.png", "a.png__b": "a.png__b.png"}


@pytest.mark.parametrize("name", ["manifest.json", "quarantine.csv"])
def test_a_folder_that_is_named_like_a_file_of_ours_does_not_hide_it(name, tmp_path):
    folder = photos_in(tmp_path / "in", f"{name}/a.png", "b.png")
    (folder / "c.png").write_bytes(b"broken")
    restored_like(Workspace(tmp_path / "out"), folder)
    made = {path.name for path in (tmp_path / "out" / "photos").iterdir()}
    assert made == {f"{name}__a.png", "b.png", "manifest.json", "quarantine.csv"}


def test_a_pipe_among_photos_is_set_aside_and_not_waited_for(tmp_path):
    folder = photos_in(tmp_path / "in", "a.png")
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "manifest.json")
    digests: list[str] = []
    reader = Thread(target=lambda: digests.append(PhotoFolder(folder).digest), daemon=True)
    reader.start()
    reader.join(30)
    assert digests
    assert "not a regular file" in ingest(CROP, folder=PhotoFolder(folder)).quarantine[0].reason


@pytest.mark.parametrize("path", ["/{}".format("x" * 300), "/a\0b", "{tmp}/loop"])
def test_a_path_that_cannot_be_is_bad_input(path, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path, folder = path.replace("{tmp}", str(tmp_path)), str(photos_in(tmp_path / "in"))
    for name, paths in (("out", (path, folder)), ("folder", (str(tmp_path / "out"), path))):
        with pytest.raises(BadInput, match=f"{name}: .* cannot be used as a path"):
            results_folder(paths[0], "restored", {"folder": paths[1]})


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.EACCES, "{}: this user may not read or write there"), (errno.ENOENT, "out: no file can be made in {}.")],
)
def test_results_beside_photos_where_nothing_can_be_written_are_refused_with_advice(
    tmp_path, monkeypatch, number, said
):
    def closed(dir: Path) -> None:
        raise OSError(number, os.strerror(number), str(dir / "x"))

    folder = photos_in(tmp_path / "in")
    monkeypatch.setattr("tempfile.TemporaryFile", closed)
    with pytest.raises(BadInput, match=rf"{re.escape(said.format(tmp_path))}.* Name another folder as `out`"):
        results_folder(None, "restored", {"folder": str(folder)})


@pytest.mark.parametrize("place", ["store", "~no_such_user/store"])
def test_a_store_has_an_absolute_path(place, tmp_path, monkeypatch):
    monkeypatch.setenv("BFR_STORE", place)
    with pytest.raises(BadInput, match="BFR_STORE: expected an absolute path"):
        default_store()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BFR_STORE", "~/a store")
    assert default_store().root == tmp_path / "a store"
    monkeypatch.setenv("BFR_STORE", "")
    assert default_store().root == ROOT / "data" / ".store"


def test_pages_and_keys_of_a_vote_replace_nothing_of_a_users(tmp_path):
    folders = {name: photos_in(tmp_path / name, "a.png") for name in ("x", "y")}
    for name in ("key.json", "vote.html"):
        place = tmp_path / f"of {name}"
        place.mkdir()
        (place / name).write_text("of an earlier vote")
        with unchanged(tmp_path), pytest.raises(BadInput, match=f"holds {name} already"):
            write_ballot(folders, place, 1, 0)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="is a file"):
        write_ballot(folders, tmp_path / "notes.txt", 1, 0)
    for out in ("notes.txt", "x", "notes.txt/page.html"):
        with unchanged(tmp_path), pytest.raises(BadInput, match=r"is not a page of this command|is a file"):
            check_page(tmp_path / out)


def test_results_below_the_input_are_not_taken_as_photos(tmp_path, caplog):
    folder = photos_in(tmp_path / "all" / "grandma", "one.png", "sub/two.png")
    before = PhotoFolder(tmp_path / "all").digest
    for _ in range(3):
        root, _ = results_folder(None, "restored", {"folder": str(folder)})
        assert len(restored_like(Workspace(root), folder).ids) == 2
        assert len(discover(tmp_path / "all")) == 2
    assert PhotoFolder(tmp_path / "all").digest == before
    assert f"{root / 'photos'} is a result of bfr" in caplog.text
    assert len(discover(root / "photos")) == 2  # named itself, it is a folder like any other
    with pytest.raises(BadInput, match=r"no image files but results of bfr \(details/lq, photos\)"):
        ingest(CROP, folder=PhotoFolder(root))


def test_a_users_photo_among_results_below_the_input_is_taken(tmp_path):
    folder = photos_in(tmp_path / "all" / "grandma", "one.png")
    root, _ = results_folder(None, "restored", {"folder": str(folder)})
    restored_like(Workspace(root), folder)
    shutil.copy(folder / "one.png", root / "photos" / "mine.png")
    photos_in(root / "photos" / "new", "mine.png")
    found = [path.relative_to(tmp_path / "all").as_posix() for path in discover(tmp_path / "all")]
    assert found == ["grandma/one.png", "grandma_restored/photos/mine.png", "grandma_restored/photos/new/mine.png"]


@pytest.mark.parametrize("target", ["/away/mine.png", "/cache/files/md5/ab/" + "c" * 30])
def test_a_users_link_to_a_disk_that_is_away_stays_and_one_of_dvc_is_replaced(target, tmp_path):
    publish(result("1"), tmp_path / "lq")
    picture = next((tmp_path / "lq").glob("*.png"))
    picture.unlink()
    picture.symlink_to(target)
    if target.startswith("/cache"):
        publish(result("2"), tmp_path / "lq")
        assert not picture.is_symlink()
    else:
        with pytest.raises(BadInput, match="changed after they were made"):
            publish(result("2"), tmp_path / "lq")
        assert picture.is_symlink()


@pytest.mark.parametrize(
    "out",
    ["grandma", "grandma/restored", ".", "linked/x", "notes.txt", "notes.txt/x/y", "other", "other/photos"],
)
def test_results_never_go_where_a_users_files_are(out, tmp_path):
    folder = photos_in(tmp_path / "in" / "grandma")
    photos_in(tmp_path / "in" / "other" / "photos")
    (tmp_path / "in" / "notes.txt").write_text("mine")
    (tmp_path / "in" / "linked").symlink_to(folder)
    with unchanged(tmp_path / "in"), pytest.raises(BadInput, match=r"lie in one another|not results of bfr|is a file"):
        results_folder(str(tmp_path / "in" / out), "restored", {"folder": str(folder)})


def test_a_folder_of_results_with_a_users_file_is_refused_before_any_work(tmp_path):
    folder = photos_in(tmp_path / "grandma")
    root, _ = results_folder(None, "restored", {"folder": str(folder)})
    restored_like(Workspace(root), folder)
    assert results_folder(None, "restored", {"folder": str(folder)})[0] == root
    for place in ("mine.png", "photos/mine.png", "details/mine.png", "photos/one.png"):
        kept = (root / place).read_bytes() if (root / place).exists() else None
        (root / place).write_bytes(b"mine")
        with unchanged(root), pytest.raises(BadInput, match=Path(place).name):
            results_folder(None, "restored", {"folder": str(folder)})
        (root / place).write_bytes(kept) if kept else (root / place).unlink()
    shutil.rmtree(root / "details")
    (root / "details").symlink_to(folder)
    with unchanged(folder), pytest.raises(BadInput, match="details"):
        results_folder(None, "restored", {"folder": str(folder)})
    with unchanged(folder), pytest.raises(BadInput, match="details is a link"):
        Workspace(root).make("details/lq", ingest, CROP, folder=PhotoFolder(folder))


@pytest.mark.parametrize("name", ["folder", "out", "hq"])
@pytest.mark.parametrize("path", ["photos", "./photos", "../photos", ""])
def test_relative_paths_are_refused(name, path, tmp_path):
    paths = {"folder": str(photos_in(tmp_path / "in")), "out": None, "hq": None} | {name: path}
    with pytest.raises(BadInput, match=f"{name}: expected an absolute path"):
        results_folder(paths.pop("out"), "adapted", paths)


@pytest.mark.parametrize("place", ["", "data", "data/demo", "data/demo/lq", "data/.store", "data/weights/x", ".."])
def test_what_is_bfrs_own_is_neither_input_nor_output(place, tmp_path):
    folder = photos_in(tmp_path / "in")
    with pytest.raises(BadInput, match=r"bfr's own"):
        results_folder(str(tmp_path / "out"), "restored", {"folder": str(ROOT / place)})
    with pytest.raises(BadInput, match=r"bfr's own"):
        results_folder(str(ROOT / place), "restored", {"folder": str(folder)})
    store = default_store().root
    with pytest.raises(BadInput, match=r"bfr's own"):
        results_folder(str(store / "mine"), "restored", {"folder": str(folder)})
    with pytest.raises(BadInput, match=r"into the checkout of bfr\. Name a folder"):
        results_folder(None, "restored", {"folder": str(ROOT / "docs")})


def test_results_of_a_removed_degradation_go_and_a_users_files_stay(tmp_path, caplog):
    first = Workspace(tmp_path / "work", lambda stage, params, at: Artifact(result(params)))
    for at, key in (("lq/old/test", "1"), ("lq/mine/test", "2"), ("lq/kept/test", "3"), ("report", "4")):
        first.make(at, WORK, key)
    for name in ("metrics.json", "lq/notes.txt", "lq/mine/test/notes.txt"):
        (first.root / name).write_text("mine")
    second = Workspace(first.root, first.run_stage)
    second.make("lq/kept/test", WORK, "3")
    second.remove_others(keep="report")
    assert sorted(path.relative_to(first.root).as_posix() for path in first.root.rglob("*") if path.is_file()) == [
        *("lq/kept/test/a.png", "lq/kept/test/b.png", "lq/kept/test/manifest.json", "lq/kept/test/sub/x.txt"),
        *("lq/mine/test/a.png", "lq/mine/test/b.png", "lq/mine/test/manifest.json", "lq/mine/test/notes.txt"),
        *("lq/mine/test/sub/x.txt", "lq/notes.txt", "metrics.json"),
        *("report/a.png", "report/b.png", "report/manifest.json", "report/sub/x.txt"),
    ]
    assert "mine/test does not belong to this experiment, but stays" in caplog.text
    assert not (first.root / "lq" / "old").exists()


def test_a_step_alone_removes_what_earlier_settings_left_in_its_folder_and_nowhere_else(tmp_path):
    first = Workspace(tmp_path / "work", lambda stage, params, at: Artifact(result(params)))
    for at in ("models/noise", "models/noise.rounds/1/model", "models/old", "modelsx/old", "lq/old"):
        first.make(at, WORK, "1")
    (first.root / "models" / "notes.txt").write_text("mine")
    again = Workspace(first.root, first.run_stage)
    again.make("models/noise", WORK, "1")
    again.remove_others(below="models")
    left = {path.parent.relative_to(first.root).as_posix() for path in first.root.rglob(MANIFEST)}
    assert left == {"models/noise", "modelsx/old", "lq/old"}
    assert [path.name for path in (first.root / "models").iterdir() if path.is_file()] == ["notes.txt"]


def test_every_step_s_folder_is_known():
    assert {*steps.STEPS} == {*steps.FOLDERS, "report"}


def test_restore_leaves_the_photos_alone_and_can_be_run_again(tmp_path):
    folder = photos_in(tmp_path / "grandma", "one.png", "trip/two.png")
    with unchanged(folder):
        for _ in range(2):
            work = restore(str(folder))
    assert work.root == tmp_path / "grandma_restored"
    assert len(list(work.root.glob("photos/**/*.png"))) == 2
    (work.root / "photos" / "notes.txt").write_text("mine")
    with unchanged(tmp_path / "grandma", work.root), pytest.raises(BadInput, match=r"photos holds .*notes\.txt"):
        restore(str(folder), seed=2, out=str(work.root))


@pytest.mark.parametrize("name", ["mine.safetensors", "mine.json", "mine.losses.csv"])
def test_a_training_does_not_overwrite_a_users_weights(name, tmp_path):
    weights = tmp_path / "mine.safetensors"
    check_trained_here(weights)
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(BadInput, match=f"holds {name}, and no training of bfr"):
        check_trained_here(weights)
    weights.write_bytes(b"trained")
    card = {"architecture": "demo128", "sha256": file_digest(weights)}
    (tmp_path / "mine.json").write_text(json.dumps(card))
    check_trained_here(weights)
    weights.write_bytes(b"another's")
    with pytest.raises(BadInput, match=r"mine\.safetensors, mine\.json"):
        check_trained_here(weights)


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("metrics.json", ["mine", "[1]", '{"speed": 3}', '{"train": {"loss": 0.1}}', '{"a": {"b": {"loss": 0.1}}}']),
        ("plots.csv", ["", "plot,x,line,mine\n", "\N{SNOWMAN}"]),
    ],
)
def test_numbers_do_not_overwrite_another_file_of_their_name(tmp_path, name, others):
    def write(folder: Path) -> None:
        write_json(folder / "metrics.json", {"raw": {"a": {"psnr": 1}}})
        (folder / "plots.csv").write_text("plot,x,line,value\n")

    report = ImageFolder(default_store().build(record("1"), write))
    for _ in range(2):
        write_numbers(report, tmp_path)
    for text in others:
        (tmp_path / name).write_text(text, encoding="utf-8")
        with unchanged(tmp_path), pytest.raises(BadInput, match=f"{name} is not a file of bfr"):
            write_numbers(report, tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(BadInput, match=f"{name} is not a file of bfr"):
        check_numbers(tmp_path)


# ------------------------------------------------------------------------------------------------ all of it

NAMES = st.sampled_from(["a.png", "b.png", "notes.txt", "manifest.json", "x", ".hidden", "bfr.json", "ü.jpg"])
FOLDERS = st.sampled_from(
    [
        *(
            "",
            "in",
            "in/sub",
            "out",
            "out/photos",
            "out/details",
            "out/details/lq",
            "in_restored",
            "in_restored/photos",
        ),
        *("store", "store/work", f"store/work/{'1' * 64}", f"store/work/{'f' * 64}", "store/tmp", "store/locks"),
        *("store/training", "store/photos", f"store/photos/{'2' * 64}", "store/timings"),
        *("work", "work/lq", "work/lq/1", "work/lq/2/sub", "work/report"),
    ]
)
RESULTS = st.sampled_from([f"store/work/{'1' * 64}", f"store/work/{'1' * 64}/sub", "work/lq/1", "in_restored/photos"])
CONTENTS = st.sampled_from([b"", b"mine", b"{}", b"x" * 99])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), RESULTS | FOLDERS, NAMES, CONTENTS),
        st.tuples(st.sampled_from(["build", "publish", "damage"]), st.sampled_from("123")),
        st.tuples(st.just("edit"), st.sampled_from(["work", "in_restored", "out"]), st.integers(0, 20)),
        st.tuples(st.sampled_from(["prune", "verify", "usage", "others", "restore", "restore out"])),
    ),
    min_size=3,
    max_size=12,
)


class House:
    """A user's disk, and what bfr does there; `mine` is what the user made, by place."""

    def __init__(self, root: Path) -> None:
        self.root, self.store, self.work = root, Store(root / "store"), Workspace(root / "work")
        self.mine = {path: path.read_bytes() for path in photos_in(root / "in").iterdir()}

    def build(self, key: str) -> Path:
        return self.store.build(record(key), lambda folder: fill(folder, int(key)))

    def do(self, what: str, *args: Any) -> None:
        workspace = Workspace(self.root / "work", lambda stage, params, at: Artifact(self.build(params)))
        match what:
            case "add":
                self.add(self.root / args[0] / args[1], args[2])
            case "build":
                self.build(args[0])
            case "damage":
                (path := self.build(args[0]) / "a.png").unlink()
                self.add(path, b"damaged by the disk", is_mine=False)
            case "edit":
                made = sorted(path for path in (self.root / args[0]).rglob("*") if path.is_file())
                for path in made[args[1] : args[1] + 1]:
                    path.write_bytes(b"mine" + path.read_bytes()[4:])  # of the same size
                    self.mine[path] = path.read_bytes()
            case "publish":
                workspace.make(f"lq/{args[0]}", WORK, args[0])
            case "prune":
                self.store.prune(-1)
            case "verify":
                self.store.verify()
            case "usage":
                self.store.usage()
            case "others":
                workspace.make("lq/3", WORK, "3")
                workspace.remove_others(keep="report")
            case "restore" | "restore out":
                out = str(self.root / "out") if what == "restore out" else None
                root, paths = results_folder(out, "restored", {"folder": str(self.root / "in")})
                restored_like(Workspace(root), paths["folder"])

    def add(self, path: Path, contents: bytes, is_mine: bool = True) -> None:
        """A file where there is none yet: the user's, or the disk's."""
        with suppress(OSError):  # a file is where the folder should be
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(contents)
                self.mine |= {path: contents} if is_mine else {}


@settings(
    max_examples=int(os.environ.get("BFR_SACRED", "60")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(start=st.sampled_from([[], [("publish", "1"), ("restore",)]]), todo=STEPS)
def test_every_file_that_bfr_did_not_make_is_there_with_its_bytes(start, todo, tmp_path_factory):
    house = House(tmp_path_factory.mktemp("house"))
    for what, *args in [*start, *todo, ("verify",), ("publish", "1"), ("restore",), ("others",), ("prune",)]:
        with pytest.MonkeyPatch.context() as environment, suppress(BadInput):
            environment.setenv("BFR_STORE", str(house.store.root))
            house.do(what, *args)
        lost = [path for path, contents in house.mine.items() if not path.exists() or path.read_bytes() != contents]
        assert not lost, (what, args)
    shutil.rmtree(house.root)
