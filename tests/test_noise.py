"""The seed contract: an image's noise depends on (seed, stage, image id) and on nothing else."""

import os
import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.special import ndtri

from tasks import noise
from tasks.basics import ROOT
from tasks.noise import ImageStreams, numpy_stream, stream_seed
from tasks.running import noise_kernels, noise_numba

CPU = torch.device("cpu")
NUMBERS = [1.2227795124, -0.1081052795, 1.3981925249, 0.6885341406, 0.2800852656]
names = st.text(min_size=1, max_size=12)
stages = st.sampled_from(["degrade/a", "degrade/b", "pseudo_targets"])
keys = st.tuples(st.integers(0, 3), stages, st.sampled_from(["a", "b", "a|b", "ä"]) | names)


@given(st.lists(names, min_size=1, max_size=9, unique=True), st.integers(0, 2**40), st.data())
def test_a_row_does_not_depend_on_the_batch_around_it(ids, seed, data):
    alone = {name: ImageStreams(seed, "degrade", [name]).normal(3, 4, 4)[0] for name in ids}
    order = data.draw(st.permutations(ids))
    some = order[: data.draw(st.integers(1, len(order)))]
    for name, row in zip(some, ImageStreams(seed, "degrade", some).normal(3, 4, 4), strict=True):
        assert torch.equal(row, alone[name])


@given(keys, keys)
def test_different_keys_give_different_streams(one, other):
    assert (stream_seed(*one) == stream_seed(*other)) == (one == other)


def test_the_numbers_stay_the_same_for_ever():
    """A change here silently changes every published result."""
    assert stream_seed(20000, "pseudo_targets", "face_0001") == 0xEBABA2DF999775BAEF1DBCF8C6411D2D
    expected = [1.3754629953660091, -1.4956398606483639, -0.786013826124219]
    np.testing.assert_allclose(numpy_stream(20000, "degrade", "a").standard_normal(3), expected, rtol=1e-12)
    streams = ImageStreams(20000, "degrade", ["a"])
    streams.normal(9)
    assert streams.normal(5)[0].tolist() == pytest.approx(NUMBERS, abs=1e-9)


def test_a_stream_goes_on_from_call_to_call_and_no_shape_changes_its_elements():
    streams, larger = ImageStreams(1, "s", ["a", "b"]), ImageStreams(1, "s", ["b"])
    for _ in range(3):
        first, second = streams.normal(2, 3), larger.normal(5, 7)
        assert torch.equal(first[1].flatten(), second.flatten()[:6])
    assert not torch.equal(first, streams.normal(2, 3))


def test_the_noise_is_standard_normal():
    noise = ImageStreams(3, "s", [str(n) for n in range(16)]).normal(64, 64)
    assert noise.dtype == torch.float32
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    rows = noise.flatten(1)
    correlation = torch.corrcoef(rows) - torch.eye(16)
    assert correlation.abs().max() < 0.08


@pytest.mark.parametrize(
    ("stream", "draw", "block", "expected"),
    [
        ([0, 0, 0, 0], 0, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, 0xFFFFFFFF, 0xFFFFFFFF, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0xA4093822, 0x299F31D0, 0x13198A2E, 0x03707344],
            0x85A308D3,
            0x243F6A88,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_the_words_are_those_of_the_published_philox(monkeypatch, stream, draw, block, expected):
    """Known answers of Random123; numpy's Philox is another variant, of 64 bits."""
    monkeypatch.setattr(noise.torch, "arange", lambda count, device: torch.tensor([block]))
    assert noise.philox(torch.tensor([stream]), draw, 1)[0].tolist() == expected


def test_the_table_is_the_normal_quantile():
    """Made so: a parabola through three points of every 64th part of each power of two."""
    octave, part = np.divmod(np.arange(2049), 64)
    p = 2.0 ** (octave - 32.0)[:, None] * (1 + (part[:, None] + np.array([0, 0.5, 1])) / 64)
    y = -ndtri(np.minimum(p, 0.5)) * 2.0**noise.FRACTION_BITS
    c = 2 * (y[:, 0] - 2 * y[:, 1] + y[:, 2])
    rows = np.rint(np.stack([y[:, 0], y[:, 2] - y[:, 0] - c, c], axis=1))
    assert np.abs(noise.quantile_table(CPU).numpy() - rows).max() <= 1


def test_a_word_becomes_its_normal_quantile():
    words = np.random.default_rng(0).integers(0, 2**32, 100_000) >> np.arange(100_000) % 32
    words = np.concatenate([words, [0, 1, 2**31 - 1, 2**31, 2**32 - 1]])
    exact = np.where(words >> 31 == 0, -1, 1) * ndtri(((words & 0x7FFFFFFF) | 1) * 2.0**-32)
    np.testing.assert_allclose(noise.quantile(torch.from_numpy(words), noise.quantile_table(CPU)), exact, atol=3e-7)


@given(st.integers(0, 2**31 - 1), st.integers(1, 700), st.lists(names, min_size=1, max_size=3))
@settings(max_examples=20, deadline=None)
def test_the_compiled_noise_is_that_of_the_definition_to_the_bit(draw, blocks, ids):
    streams, table = ImageStreams(0, "s", ids)._streams, noise.quantile_table(CPU)
    assert torch.equal(noise_numba.normal(streams, draw, blocks, table), noise.normal(streams, draw, blocks, table))


def test_the_kernel_for_cuda_gives_the_same_bits(tmp_path):
    """By Triton's interpreter, in a process of its own, for the choice is made as Triton is imported."""
    code = """
import torch
from tasks import noise
from tasks.running import noise_triton
streams, table = noise.ImageStreams(0, "s", ["a", "b"])._streams, noise.quantile_table(torch.device("cpu"))
for draw, blocks in ((0, 300), (7, 5)):
    ours, theirs = (module.normal(streams, draw, blocks, table) for module in (noise_triton, noise))
    print(torch.equal(ours, theirs))
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.stdout.split() == ["True", "True"], done.stderr[-2000:]


def test_where_no_compiler_is_the_noise_is_the_same(monkeypatch):
    expected = ImageStreams(4, "s", ["a"]).normal(3, 5)
    monkeypatch.setattr(noise, "kernel_for", lambda device: None)
    assert torch.equal(ImageStreams(4, "s", ["a"]).normal(3, 5), expected)


def test_a_gpu_without_a_compiler_says_so_once(monkeypatch, caplog):
    """Here there is no GPU at all."""
    noise_kernels.on_cuda.cache_clear()
    assert [noise_kernels.kernel_for(torch.device("cuda")) for _ in range(2)] == [None, None]
    assert caplog.text.count("no Triton here") == 1


@pytest.mark.gpu
def test_a_gpu_draws_the_noise_of_the_cpu():
    for shape in ((3, 8, 8), (3, 512, 512)):
        drawn = [ImageStreams(1, "s", ["a", "b"], device).normal(*shape).cpu() for device in ("cuda", "cpu")]
        assert torch.equal(*drawn)
