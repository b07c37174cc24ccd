"""The store: keys cover what a result is made from, a key is built once, a killed build leaves nothing behind."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.basics import ROOT, BadInput
from tasks.pixels import to_tensor, to_uint8
from tasks.store.artifact import MANIFEST, Artifact, ImageFolder, Manifest
from tasks.store.files import Quarantined, read_note, read_quarantine, write_png, write_quarantine
from tasks.store.locks import locked
from tasks.store.marker import MARKER
from tasks.store.md5 import dvc_digest, md5
from tasks.store.publish import publish
from tasks.store.store import Store


def record(key: str = "a" * 64) -> Manifest:
    return Manifest(stage="work", key=key, params={"a": 1}, inputs={}, code="c", files={})


def write_pixels(folder: Path, level: int = 7, ids: tuple[str, ...] = ("a", "ünï çödé")) -> None:
    for image_id in ids:
        write_png(folder / f"{image_id}.png", np.full((4, 5, 3), level, np.uint8))


@pytest.fixture
def store(store_folder: Path) -> Store:
    return Store(store_folder)


# ---------------------------------------------------------------------------------------------- images


def test_pixels_survive_the_round_trip_and_halves_round_to_even():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.array_equal(to_uint8(to_tensor(image)), image)
    halves = to_tensor(image) * 0 + 0.5 / 255
    assert to_uint8(halves).max() == 0
    assert to_uint8(halves * 3).min() == 2
    assert to_uint8(to_tensor(image) * 4 - 1).max() == 255


def test_images_of_two_sizes_cannot_be_one_batch(store):
    def make(folder: Path) -> None:
        write_pixels(folder, ids=("a",))
        write_png(folder / "b.png", np.zeros((9, 9, 3), np.uint8))

    folder = ImageFolder(store.build(record(), make))
    with pytest.raises(BadInput, match=r"one size.*'a': \(4, 5\).*'b': \(9, 9\)"):
        folder.batch(folder.ids)


def test_a_quarantine_survives_commas_quotes_and_newlines(tmp_path):
    rows = [Quarantined('a, "b"\n.png', "truncated, empty\nor worse"), Quarantined("c.png", "")]
    write_quarantine(tmp_path, rows)
    assert read_quarantine(tmp_path) == rows


# ----------------------------------------------------------------------------------------------- build


def test_a_result_is_built_once_and_its_manifest_lists_every_file(store):
    calls = []

    def make(folder: Path) -> None:
        calls.append(folder)
        write_pixels(folder)
        (folder / "sub").mkdir()
        (folder / "sub" / "x.txt").write_text("x")

    first = store.build(record(), make)
    assert store.build(record(), make) == first
    assert len(calls) == 1
    assert not calls[0].exists()
    assert store.seconds(record().key) is not None
    artifact = ImageFolder(first)
    assert artifact.ids == ["a", "ünï çödé"]
    assert artifact.read("a")[0, 0, 0] == 7
    assert sorted(artifact.manifest.files) == ["a.png", "sub/x.txt", "ünï çödé.png"]
    assert artifact.path("sub/x.txt").read_text() == "x"
    with pytest.raises(BadInput, match=r"holds no 'b\.png'; it holds a\.png"):
        artifact.read("b")


def test_equal_files_have_equal_digests_whatever_made_them(store):
    one = Artifact(store.build(record("1" * 64), write_pixels))
    same = Artifact(store.build(record("2" * 64), write_pixels))
    other = Artifact(store.build(record("3" * 64), lambda folder: write_pixels(folder, 8)))
    assert one.digest == same.digest != other.digest


def test_a_failed_build_leaves_nothing_and_can_be_tried_again(store):
    def fail(folder: Path) -> None:
        write_pixels(folder)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        store.build(record(), fail)
    assert not store.has("work", record().key)
    assert not list((store.root / "tmp").iterdir())
    assert store.build(record(), write_pixels).is_dir()


def build_and_note(root: Path, log: Path, barrier: "multiprocessing.synchronize.Barrier") -> None:
    def make(folder: Path) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        write_pixels(folder)

    barrier.wait()
    Store(root).build(record(), make)


def test_four_processes_at_once_build_a_key_once(store, tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, log = context.Barrier(4), tmp_path / "log"
    processes = [context.Process(target=build_and_note, args=(store.root, log, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(log.read_text().splitlines()) == 1
    assert Artifact(store.path("work", record().key)).digest


def build_and_die(root: Path) -> None:
    def make(folder: Path) -> None:
        write_pixels(folder)
        os.kill(os.getpid(), signal.SIGKILL)

    Store(root).build(record(), make)


def test_a_process_killed_in_the_middle_frees_the_lock_and_leaves_no_result(store):
    process = multiprocessing.get_context("fork").Process(target=build_and_die, args=(store.root,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not store.has("work", record().key)
    assert store.build(record(), write_pixels).is_dir()


def test_prune_deletes_what_was_not_used_for_long(store):
    old, new = (store.build(record(key * 64), write_pixels) for key in "12")
    os.utime(old, (0, 0))
    assert [found.path for found in store.prune(keep_days=30, dry_run=True)] == [old]
    assert old.exists()
    assert [(found.path, found.is_deleted) for found in store.prune(keep_days=30)] == [(old, True)]
    assert not old.exists()
    assert new.exists()
    os.utime(new, (0, 0))
    store.build(record("2" * 64), write_pixels)  # used again
    assert store.prune(keep_days=30) == []
    state = store.training_state("3" * 64)
    state.parent.mkdir()
    state.touch()
    assert store.prune(keep_days=30) == []
    os.utime(state, (0, 0))
    assert [found.path for found in store.prune(keep_days=30)] == [state]


USER = """
import sys
from pathlib import Path
from tasks.store.artifact import Manifest
from tasks.store.store import Store
record = Manifest.model_validate_json(sys.argv[2])
Store(Path(sys.argv[1])).build(record, lambda folder: None)
print("uses it", flush=True)
sys.stdin.read()
"""


def test_prune_leaves_what_a_run_that_is_at_work_may_be_about_to_read(store):
    old, new = (store.build(record(key * 64), write_pixels) for key in "12")
    os.utime(old, (0, 0))
    words = [sys.executable, "-c", USER, str(store.root), record("2" * 64).model_dump_json()]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as run:
        assert run.stdout.readline() == "uses it\n"
        assert [found.path for found in store.prune(keep_days=0)] == [old]
        run.communicate()
    assert [found.path for found in store.prune(keep_days=0)] == [new, store.root / "timings"]


def test_locks_go_with_the_work_and_old_notes_with_what_they_are_about(store):
    kept, gone = (store.build(record(key * 64), write_pixels) for key in "12")
    assert list((store.root / "locks").iterdir()) == []
    left, held = (store.root / "locks" / f"work-{key * 64}" for key in "34")
    speed = store.root / "speed" / f"{'5' * 64}.json"
    speed.parent.mkdir()
    times = [store.root / "timings" / f"{path.name}.json" for path in (kept, gone)]
    for path in (left, held, speed):
        path.touch()
    for path in (left, held, speed, gone, *times):
        os.utime(path, (0, 0))
    with locked(held):
        assert {found.path.name for found in store.prune(30, dry_run=True)} == {gone.name, "locks", "speed"}
        assert [found.reason for found in store.prune(30)][1:] == [
            "1 locks that nobody holds",
            "1 times of results that are gone",
            "1 measured speeds that are old",
        ]
        assert [path.exists() for path in (left, held, speed, *times)] == [False, True, False, True, False]


def test_a_published_result_that_has_the_key_and_the_bytes_is_taken_into_the_store(store, tmp_path):
    published = tmp_path / "published"
    publish(store.build(record(), write_pixels), published)
    manifest = (published / MANIFEST).read_bytes()
    shutil.rmtree(store.root)
    for other in (record("b" * 64), record().model_copy(update={"stage": "other"})):
        assert not store.adopt(other, published)
    assert not store.root.exists()
    assert store.adopt(record(), published)
    stored = store.build(record(), pytest.fail)
    assert (stored / MANIFEST).read_bytes() == manifest
    assert store.verify() == []
    assert store.seconds(record().key) is None  # nobody knows how long it took
    write_pixels(published, level=9)  # a copy was made: neither is changed by the other
    assert store.verify() == []


@pytest.mark.parametrize("harm", ["changed", "cut", "missing", "no manifest", "another's file"])
def test_a_published_result_that_is_damaged_is_not_taken(store, tmp_path, harm):
    published = tmp_path / "published"
    publish(store.build(record(), write_pixels), published)
    shutil.rmtree(store.root)
    first = published / "a.png"
    match harm:
        case "changed":
            write_png(first, np.full((4, 5, 3), 8, np.uint8))
        case "cut":
            first.write_bytes(first.read_bytes()[:-1])
        case "missing":
            first.unlink()
        case "no manifest":
            (published / MANIFEST).unlink()
        case _:
            (published / "notes.txt").write_text("mine")
    assert store.adopt(record(), published) == (harm == "another's file")
    assert store.has("work", record().key) == (harm == "another's file")
    assert not list(store.root.glob("tmp/*"))
    assert not list(store.root.glob("work/*/notes.txt"))


def test_dvcs_digest_of_results_reads_no_file_of_theirs_twice(store, tmp_path, monkeypatch):
    folder = tmp_path / "step"
    for place, level in (("a/test", 1), ("a/train", 2)):
        made = record(f"{level}" * 64)
        publish(store.build(made, lambda out, level=level: write_pixels(out, level)), folder / place)
    (folder / "a" / "notes.txt").write_text("mine")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    expected = [{"md5": hashlib.md5((folder / name).read_bytes()).hexdigest(), "relpath": name} for name in files]
    text = json.dumps(expected, sort_keys=True).encode()
    assert dvc_digest(folder, store) == f"{hashlib.md5(text).hexdigest()}.dir"
    read: list[str] = []
    monkeypatch.setattr("tasks.store.md5.md5", lambda path: (read.append(path.name), md5(path))[1])
    assert dvc_digest(folder, store) == f"{hashlib.md5(text).hexdigest()}.dir"
    assert sorted(read) == [MANIFEST, MANIFEST, "notes.txt"]


def test_a_finished_training_leaves_no_state(store):
    state = store.training_state(record().key)
    state.parent.mkdir(parents=True)
    state.write_bytes(b"x" * 10_000)
    assert store.usage()["unfinished trainings"][0] == 1
    store.build(record(), write_pixels)
    assert not state.exists()
    assert "unfinished trainings" not in store.usage()


# --------------------------------------------------------------------------------------------- publish


def test_publish_copies_and_never_touches_what_is_already_there(store, tmp_path):
    source, destination = store.build(record(), write_pixels), tmp_path / "data" / "photos"
    destination.parent.mkdir()
    publish(source, destination)
    before = destination.stat().st_ino
    publish(source, destination)
    assert destination.stat().st_ino == before
    assert (destination / "a.png").stat().st_ino != (source / "a.png").stat().st_ino
    assert ImageFolder(destination).digest == ImageFolder(source).digest


@pytest.mark.parametrize("damage", ["a file deleted", "a file cut", "another result", "no manifest"])
def test_publish_mends_a_damaged_copy(store, tmp_path, damage):
    source, destination = store.build(record(), write_pixels), tmp_path / "photos"
    publish(source, destination)
    if damage == "a file deleted":
        (destination / "a.png").unlink()
    elif damage == "a file cut":
        (destination / "a.png").write_bytes(b"")
    elif damage == "another result":
        shutil.rmtree(destination)
        publish(store.build(record("2" * 64), lambda folder: write_pixels(folder, 9)), destination)
    else:
        (destination / MANIFEST).unlink()
    publish(source, destination)
    assert ImageFolder(destination).read("a")[0, 0, 0] == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "store"]


@pytest.mark.parametrize("text", [None, "", "{}", '{"stage": 1'])
def test_a_folder_without_a_readable_manifest_says_what_to_do(tmp_path, text):
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BadInput, match="Run the stage" if text is None else "Delete the folder and rerun"):
        Artifact(tmp_path)


def test_the_time_of_a_result_counts_the_parts_that_were_there_already(tmp_path):
    store = Store(tmp_path)

    def part(out):
        (out / "x").write_text("x")

    part_record, whole_record = record("part"), record("whole")
    store.build(part_record, part)
    (tmp_path / "timings" / f"{part_record.key}.json").write_text('{"stage": "part", "seconds": 7.0}')

    def whole(out):
        store.build(part_record, part)
        part(out)

    store.build(whole_record, whole)
    assert 7.0 <= store.seconds(whole_record.key) < 8.0


@pytest.mark.parametrize("text", [b"", b"{", b"\0\0", b"\xff", b"[]", b"[" * 5000, b"{}"])
def test_a_note_that_a_lost_power_has_damaged_costs_nothing(tmp_path, text):
    note = tmp_path / "note.json"
    note.write_bytes(text)
    assert read_note(note) == read_note(tmp_path / "none.json") == {}
    store = Store(tmp_path / "store")
    for _ in range(2):
        store.build(record(), lambda folder: None)
        (store.root / "timings" / f"{record().key}.json").write_bytes(text)
    assert store.seconds(record().key) is None
    if text not in (b"[]", b"{}"):
        (store.root / MARKER).write_bytes(text)
        with pytest.raises(BadInput, match="is damaged"):
            store.prune(0)
