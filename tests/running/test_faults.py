"""Faults, each really provoked: what is left is whole, only the shard in flight was lost, the error is clear."""

import errno
import json
import logging
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.basics import ROOT, BadInput, Strict
from tasks.noise import numpy_stream
from tasks.pixels import to_tensor
from tasks.running.batching import batch_size, in_batches
from tasks.running.shards import build_in_shards, finished
from tasks.running.stage import default_store, shared_stage, stage
from tasks.store.artifact import Artifact, ImageFolder, Manifest
from tasks.store.files import write_png
from tasks.store.publish import copy_file
from tasks.store.store import Store, locked
from tasks.training.loop import resume_from


class Settings(Strict):
    count: int = 12
    shard: int = 2
    pause: float = 0.0
    company: int = 1  # a shard waits until so many processes are at work
    broken: tuple[str, ...] = ()


@stage
def pictures(out: Path, params: Settings, record: Manifest) -> None:
    for n in range(params.count):
        pixels = numpy_stream(0, "pictures", str(n)).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        write_png(out / f"{n:02d}.png", pixels)


@shared_stage
def inverted(out: Path, params: Settings, record: Manifest, source: ImageFolder) -> None:
    """A stage in shards; it notes in made.txt beside the store which process made what."""

    def shard(ids: list[str]) -> Iterator[tuple[str, np.ndarray | BadInput]]:
        images = torch.stack([1 - to_tensor(source.read(image_id)) for image_id in ids])
        for n, image_id in enumerate(ids):
            if image_id in params.broken:
                images[n] = torch.nan
            note_and_wait(params.company)
            with (default_store().root.parent / "made.txt").open("a") as log:
                log.write(f"{os.getpid()} {image_id}\n")
            time.sleep(params.pause)
        yield from finished(ids, images)

    build_in_shards(out, record, source, params.shard, shard)


def note_and_wait(company: int) -> None:
    """Note that this process is at work, and wait until enough are."""
    workers = default_store().root.parent / "workers"
    workers.mkdir(exist_ok=True)
    (workers / str(os.getpid())).touch()
    wait_until(lambda: len(list(workers.iterdir())) >= company)


def made() -> list[tuple[str, str]]:
    """(process, image) in the order in which they were made."""
    log = default_store().root.parent / "made.txt"
    return [tuple(line.split()) for line in log.read_text().splitlines()] if log.exists() else []


def run_elsewhere(params: Settings) -> subprocess.Popen:
    """`inverted` in a process of its own."""
    code = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from {inverted.make.__module__} import Settings, inverted, pictures
inverted(Settings.model_validate_json({params.model_dump_json()!r}), source=pictures(Settings()))
"""
    # a shell's background job ignores Ctrl-C, and its children inherit that
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, **heeding)


def wait_until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def leftovers() -> list[Path]:
    return list((default_store().root / "tmp").glob("*"))


def is_free(store: Store, result: Artifact) -> bool:
    with locked(store.root / "locks" / f"{result.manifest.stage}-{result.manifest.key}", wait=False) as is_ours:
        return is_ours


# ------------------------------------------------------------------------------------------------ processes


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_loses_the_shard_in_flight_and_no_lock(number):
    params = Settings(pause=0.3)
    process = run_elsewhere(params)
    wait_until(lambda: len(made()) >= 5)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    before = {image_id for _, image_id in made()}
    if number == signal.SIGINT:
        assert leftovers() == []
    result = inverted(params, source=pictures(Settings()))
    again = [image_id for process_id, image_id in made() if process_id == str(os.getpid())]
    assert len(before & set(again)) <= params.shard  # only what was in flight is made twice
    assert result.ids == pictures(Settings()).ids
    assert is_free(default_store(), result)


def test_two_workers_share_the_shards_and_give_the_same_bytes(tmp_path, monkeypatch):
    params, source = Settings(company=2), pictures(Settings())
    alone = inverted(Settings(), source=source)
    shutil.rmtree(default_store().root / "inverted.shard")
    monkeypatch.setenv("BFR_WORKERS", "2")
    (default_store().root.parent / "made.txt").unlink()
    shutil.rmtree(default_store().root.parent / "workers")
    together = inverted(params, source=source)
    assert len({process_id for process_id, _ in made()}) == 2
    assert sorted(image_id for _, image_id in made()) == source.ids  # nothing twice
    assert together.digest == alone.digest


def test_a_helper_that_dies_costs_nothing(monkeypatch, caplog):
    monkeypatch.setenv("BFR_WORKERS", "2")
    monkeypatch.setattr("tasks.running.stage.pickle.dumps", lambda task: b"not a task")
    with caplog.at_level(logging.WARNING):
        result = inverted(Settings(), source=pictures(Settings()))
    assert len(result.ids) == 12
    assert "a helper of inverted failed" in caplog.text


def test_two_machines_on_one_store_work_together():
    """The same run started twice, as on two machines: nothing is made twice."""
    params = Settings(company=2)
    pictures(Settings())
    processes = [run_elsewhere(params) for _ in range(2)]
    for process in processes:
        assert process.wait(60) == 0, process.stderr.read()
    assert sorted(image_id for _, image_id in made()) == pictures(Settings()).ids
    assert len({process_id for process_id, _ in made()}) == 2


# ---------------------------------------------------------------------------------------- models and memory


def test_an_image_that_is_not_a_number_is_set_aside_and_the_others_go_on():
    source = pictures(Settings())
    result = inverted(Settings(broken=("03",)), source=source)
    assert result.ids == [image_id for image_id in source.ids if image_id != "03"]
    assert [(row.file, "NaN" in row.reason) for row in result.quarantine] == [("03", True)]
    with pytest.raises(BadInput, match="no image could be made, the first is 00: inverted: the network's output"):
        inverted(Settings(broken=tuple(source.ids)), source=source)


def test_out_of_device_memory_halves_the_batch_and_changes_nothing(caplog):
    sizes = []

    def work(batch: list[str], ids: list[str]) -> list[str]:
        sizes.append(len(ids))
        if len(ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [name.upper() for name in batch]

    names = list("abcdefghijk")
    found = [pair for ids, result in in_batches(names, 8, list, work) for pair in zip(ids, result, strict=True)]
    assert found == [(name, name.upper()) for name in names]
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 1]

    def never(batch: list[str], ids: list[str]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")

    with pytest.raises(BadInput, match="a: the device has too little memory for one image"):
        list(in_batches(names, 4, list, never))


def test_the_batch_fits_half_of_the_free_memory(monkeypatch):
    class Memory:
        available = 8 * 2**30

    monkeypatch.setattr("psutil.virtual_memory", Memory)
    device = torch.device("cpu")
    assert batch_size(device, 64) == 16
    assert batch_size(device, 512) == 4 * 2**30 // (512 * 512 * 6000)
    assert batch_size(device, 4096) == 1
    monkeypatch.setenv("BFR_BATCH", "5")
    assert batch_size(device, 512) == 5
    monkeypatch.setenv("BFR_BATCH", "many")
    with pytest.raises(BadInput, match="BFR_BATCH: expected a whole number"):
        batch_size(device, 512)


def test_a_damaged_training_state_starts_anew_and_says_so(tmp_path, caplog):
    path = tmp_path / "state.pt"
    torch.save({"recipe": {"lr": 1.0}, "step": 1, "losses": torch.zeros(1, 1)}, path)
    assert resume_from(path, {}, {"lr": 1.0})[0] == 1
    path.write_bytes(path.read_bytes()[:200])
    assert resume_from(path, {}, {"lr": 1.0}) == (0, [])
    assert "the training starts anew" in caplog.text


# ------------------------------------------------------------------------------------------------ the disk


def test_a_full_disk_is_explained_and_leaves_nothing_behind(store_folder):
    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    code = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}]
from pathlib import Path
from tasks.store.artifact import Manifest
from tasks.store.store import Store
record = Manifest(stage="work", key="0" * 64, params=None, inputs={{}}, code="", files={{}})
Store(Path({str(store_folder)!r})).build(record, lambda folder: (folder / "big").write_bytes(b"x" * 200_000))
"""
    done = subprocess.run([sys.executable, "-c", code], preexec_fn=limited, capture_output=True, text=True)
    assert done.returncode == 1
    assert "No space left to write a result" in done.stderr
    assert "bfr usage" in done.stderr
    assert leftovers() == []
    code = code.replace("200_000", "200")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("damage", ["cut", "lost", "manifest"])
def test_a_damaged_shard_is_made_anew(damage, caplog):
    source = pictures(Settings())
    whole = inverted(Settings(), source=source)
    digest, shard = whole.digest, sorted((default_store().root / "inverted.shard").iterdir())[0]
    shutil.rmtree(whole.root)
    name = next(shard.glob("*.png"))
    if damage == "cut":
        name.unlink()  # the files are hard-linked: never change them in place
        name.write_bytes(b"cut off")
    elif damage == "lost":
        name.unlink()
    else:
        (shard / "manifest.json").write_text("{")
    again = inverted(Settings(), source=source)
    assert again.digest == digest
    assert "is damaged: it is made anew" in caplog.text


def test_verify_finds_what_sizes_do_not_show_and_usage_counts_links_once():
    source = pictures(Settings())
    result = inverted(Settings(), source=source)
    store = default_store()
    assert store.verify() == []
    used = store.usage()
    assert used["inverted"][0] == 1
    shared = used["inverted"][1] + used["inverted.shard"][1]
    assert shared < 2 * sum(path.stat().st_blocks * 512 for path in result.root.iterdir())
    path = source.root / "00.png"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    [listed] = store.verify(dry_run=True)
    assert not listed.is_deleted
    [found] = store.verify()
    assert found.path == source.root
    assert found.is_deleted
    assert "00.png is missing or changed" in found.reason
    assert not source.root.exists()
    assert store.verify() == []


def test_a_clock_that_jumps_deletes_nothing_that_is_in_use():
    result = pictures(Settings())
    ahead = time.time() + 400 * 86400
    os.utime(result.root, (ahead, ahead))  # made while the clock was a year ahead
    assert default_store().prune(30) == []
    os.utime(result.root, (0, 0))  # made while it was in 1970
    assert pictures(Settings()).root == result.root
    assert default_store().prune(30) == []


def test_copies_are_exact_also_where_the_system_cannot_share_blocks(tmp_path, monkeypatch):
    data = os.urandom(3_000_000)
    (tmp_path / "a").write_bytes(data)
    copy_file(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == data

    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "other file system")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    copy_file(str(tmp_path / "a"), str(tmp_path / "c"))
    assert (tmp_path / "c").read_bytes() == data


# ------------------------------------------------------------------------------------------------ other users


@pytest.fixture
def common() -> Iterator[Path]:
    """A folder that every user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="bfr-test-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def as_nobody(code: str) -> str:
    """What a child process of another user says; skipped where we may not become another user."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgid(65534)
            os.setuid(pwd.getpwnam("nobody").pw_uid)
            os.umask(0)
            exec(code, globals())
            said = "fine"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode()[:4000])
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as file:
        return file.read()


RECORD = 'Manifest(stage="work", key="{}" * 64, params=None, inputs={{}}, code="", files={{}})'


def test_a_store_that_can_only_be_read_still_gives_its_results(common):
    store = Store(common / "store")
    store.build(eval(RECORD.format(1)), lambda folder: (folder / "a").write_text("a"))
    os.chmod(common, 0o755)
    code = f"path = Store(Path({str(store.root)!r})).build({RECORD}, lambda folder: (folder / 'a').write_text('b'))\n"
    assert as_nobody(code.format(1) + "assert (path / 'a').read_text() == 'a'") == "fine"
    assert "BadInput" in as_nobody(code.format(2))


def test_two_users_share_a_store(common):
    before = os.umask(0)
    try:
        store = Store(common / "store")
        store.build(eval(RECORD.format(1)), lambda folder: (folder / "a").write_text("a"))
        code = f"Store(Path({str(store.root)!r})).build({RECORD}, lambda folder: (folder / 'a').write_text('b'))"
        for key in (1, 2):
            assert as_nobody(code.format(key)) == "fine"
        assert (store.build(eval(RECORD.format(2)), lambda folder: None) / "a").read_text() == "b"
        with locked(store.root / "locks" / f"work-{'2' * 64}") as is_ours:
            assert is_ours
    finally:
        os.umask(before)


# ------------------------------------------------------------------------------------------------ hostile input


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b"])
def test_a_manifest_cannot_name_files_outside_of_its_folder(name, tmp_path):
    result = pictures(Settings())
    text = json.loads((result.root / "manifest.json").read_text())
    text["files"][name] = {"sha256": "0", "bytes": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(text))
    with pytest.raises(BadInput, match="leads out of the folder"):
        Artifact(tmp_path)
