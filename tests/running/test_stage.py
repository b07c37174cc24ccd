"""Stages: what enters a key, and that shards make a result independent of batches, order and kills."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.basics import BadInput, Strict
from tasks.noise import ImageStreams, numpy_stream
from tasks.pixels import to_uint8
from tasks.running.shards import batches, build_in_shards
from tasks.running.stage import default_store, stage
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import write_png


class Settings(Strict):
    seed: int = 1
    shard: int = 4
    batch: int = 2


class Count(Strict):
    ids: tuple[str, ...]


made: list[str] = []


@stage
def pictures(out: Path, params: Count, record: Manifest) -> None:
    for image_id in params.ids:
        rng = numpy_stream(0, "pictures", image_id)
        write_png(out / f"{image_id}.png", rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))


@stage
def noisy(out: Path, params: Settings, record: Manifest, source: ImageFolder, file: Path | None = None) -> None:
    """A stage like any other: batched, with noise from each image's own stream."""

    def shard(ids: list[str]) -> Iterator[tuple[str, np.ndarray]]:
        for some in batches(ids, params.batch):
            made.extend(some)
            noise = ImageStreams(params.seed, "noisy", some).normal(3, 6, 6)
            for image_id, image in zip(some, source.batch(some) + 0.1 * noise, strict=True):
                yield image_id, to_uint8(image)

    build_in_shards(out, record, source, params.shard, shard)


def ids(count: int) -> tuple[str, ...]:
    return tuple(f"{n:02d}" for n in range(count))


def digests(folder: ImageFolder) -> dict[str, str]:
    return {image_id: folder.sha256(image_id) for image_id in folder.ids}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 13), st.integers(1, 5), st.integers(1, 9))
def test_an_image_is_the_same_at_any_batch_and_shard_size_and_in_any_company(count, batch, shard):
    whole = digests(noisy(Settings(), source=pictures(Count(ids=ids(13)))))
    some = noisy(Settings(batch=batch, shard=shard), source=pictures(Count(ids=ids(count))))
    assert digests(some) == {image_id: whole[image_id] for image_id in ids(count)}


def test_a_key_covers_parameters_and_contents_but_no_paths(tmp_path):
    source = pictures(Count(ids=ids(3)))
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    key = noisy.record(Settings(), source=source, file=tmp_path / "a").key
    assert noisy.record(Settings(), source=source, file=tmp_path / "b").key == key
    assert noisy.record(Settings(seed=2), source=source, file=tmp_path / "a").key != key
    assert noisy.record(Settings(), source=pictures(Count(ids=ids(2))), file=tmp_path / "a").key != key
    (tmp_path / "b").write_text("2")
    assert noisy.record(Settings(), source=source, file=tmp_path / "b").key != key


def test_a_missing_file_is_named_before_anything_runs(tmp_path):
    with pytest.raises(BadInput, match=r"weights\.pth is missing \(needed as file\)"):
        noisy(Settings(), source=pictures(Count(ids=ids(1))), file=tmp_path / "weights.pth")


def test_a_grown_folder_costs_only_the_shards_that_changed():
    noisy(Settings(), source=pictures(Count(ids=ids(8))))
    made.clear()
    noisy(Settings(), source=pictures(Count(ids=ids(11))))
    assert made == ["08", "09", "10"]


def test_going_back_to_old_parameters_costs_nothing():
    source = pictures(Count(ids=ids(4)))
    first = noisy(Settings(), source=source)
    noisy(Settings(seed=2), source=source)
    made.clear()
    assert noisy(Settings(), source=source).root == first.root
    assert made == []


@stage
def dies(out: Path, params: Settings, record: Manifest, source: ImageFolder, note: Path) -> None:
    """Kills its process in the third shard, the first time; notes what it makes."""

    def shard(ids: list[str]) -> Iterator[tuple[str, np.ndarray]]:
        for image_id in ids:
            with note.with_suffix(".log").open("a") as log:
                log.write(f"{image_id}\n")
            if image_id == "09" and note.with_suffix(".log").read_text().count("09") == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            yield image_id, source.read(image_id)

    build_in_shards(out, record, source, params.shard, shard)


def test_a_killed_run_costs_only_the_shard_in_flight(tmp_path):
    source, note = pictures(Count(ids=ids(12))), tmp_path / "note"
    note.touch()
    process = multiprocessing.get_context("fork").Process(
        target=dies, args=(Settings(),), kwargs={"source": source, "note": note}
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    result = dies(Settings(), source=source, note=note)
    assert digests(result) == digests(source)
    assert (tmp_path / "note.log").read_text().split() == [*ids(10), "08", "09", "10", "11"]


def test_an_error_in_one_shard_keeps_the_finished_ones():
    source = pictures(Count(ids=ids(6)))

    @stage
    def fails(out: Path, params: Settings, record: Manifest, source: ImageFolder) -> None:
        def shard(ids: list[str]) -> Iterator[tuple[str, np.ndarray]]:
            if "05" in ids:
                raise RuntimeError("boom")
            yield from ((image_id, source.read(image_id)) for image_id in ids)

        build_in_shards(out, record, source, 2, shard)

    with pytest.raises(RuntimeError, match="boom"):
        fails(Settings(), source=source)
    assert len(list((default_store().root / "fails.shard").iterdir())) == 2
