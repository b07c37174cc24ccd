"""Hostile input: whatever bytes a photo, a mask or a weights file has and whatever a parameter file says, the answer is
a result or a BadInput.

BFR_FUZZ sets how many inputs each test tries, BFR_FUZZ_SEED which ones; docs/faults.md says how many were tried.
"""

import io
import os
import random
from contextlib import suppress

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from PIL import Image
from torch import nn
from written import all_entries

from tasks.basics import BadInput
from tasks.data.ingest import to_square
from tasks.data.masks import hole_of, read_mask
from tasks.data.photo import FORMATS, read_photo
from tasks.params.load import load
from tasks.weights.checkpoint import fill, read_state_dict

TRIES = int(os.environ.get("BFR_FUZZ", "150"))
SEED = int(os.environ.get("BFR_FUZZ_SEED", "0"))
pytestmark = pytest.mark.filterwarnings("ignore")
VALUES = [None, True, -1, 0, 1e308, float("nan"), "", "x" * 999, "../../etc/passwd", [], {}, [[]], {"a": 1}, 10**30]


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """A small photo in every format that can be written."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8))
    found = []
    for name in FORMATS:
        buffer = io.BytesIO()
        try:
            image.save(buffer, format=name)
        except (OSError, KeyError):  # a format that this Pillow only reads
            continue
        found.append(buffer.getvalue())
    return found


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut, doubled or inserted at random places."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        place, kind = rng.randrange(len(out) + 1), rng.randrange(4)
        if kind == 0 and out:
            out[place % len(out)] = rng.randrange(256)
        elif kind == 1:
            out = out[:place] or out
        elif kind == 2:
            out[place:place] = out[place : place + rng.randrange(64)]
        else:
            out[place:place] = rng.randbytes(rng.randrange(16))
    return bytes(out)


def test_any_bytes_are_a_photo_or_a_reason(files, tmp_path):
    rng = random.Random(SEED + 1)
    path = tmp_path / "photo.png"
    for _ in range(TRIES):
        path.write_bytes(damaged(rng.choice(files), rng))
        try:
            photo = read_photo(path, max_megapixels=1)
        except BadInput:
            continue
        assert photo.dtype == np.uint8
        assert photo.ndim == 3
        assert photo.size <= 3_000_000


@pytest.fixture(scope="module")
def masks() -> list[bytes]:
    """A mask in every format and mode that can be written, also with an alpha channel, a palette, 16 bits."""
    hole = np.zeros((24, 24), np.uint8)
    hole[4:12, 8:20] = 255
    image = Image.fromarray(hole)
    painted = Image.merge("LA", (image, image))
    modes = {mode: image.convert(mode) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I", "F")}
    modes |= {"LA": painted, "PA": painted.convert("PA"), "I;16": Image.fromarray(hole.astype(np.uint16) * 257)}
    found = []
    for mode, name in ((mode, name) for mode in modes for name in FORMATS):
        buffer = io.BytesIO()
        with suppress(OSError, KeyError, ValueError, RuntimeError):  # a mode that this format has not
            modes[mode].save(buffer, format=name)
            found.append(buffer.getvalue())
    return found


def test_any_bytes_are_a_mask_or_a_reason(masks, tmp_path):
    rng = random.Random(SEED + 3)
    path = tmp_path / "mask.png"
    for _ in range(TRIES):
        path.write_bytes(damaged(rng.choice(masks), rng))
        with suppress(BadInput):
            mask = read_mask(path, max_megapixels=1)
            assert (mask.dtype, mask.ndim) == (np.uint8, 2)
            hole = hole_of(to_square(mask, 16, "crop"))
            assert hole.shape == (16, 16)
            assert 0 < hole.mean() <= 0.95


@pytest.fixture(scope="module")
def weights() -> list[bytes]:
    """The weights of a small network as different trainers write them."""
    state = nn.Linear(3, 2).state_dict()
    prefixed = {f"module.net_g.{name}": value for name, value in state.items()}
    contents = (
        *(state, prefixed, {"params_ema": state}, {"state_dict": {"generator": prefixed}, "epoch": 3}),
        *({"model": {"params": state, "params_ema": prefixed}, "lr": [0.1]}, [state], state["weight"]),
    )
    found = [safetensors.torch.save(state), safetensors.torch.save(prefixed)]
    for value in contents:
        for is_zip in (True, False):
            buffer = io.BytesIO()
            torch.save(value, buffer, _use_new_zipfile_serialization=is_zip)
            found.append(buffer.getvalue())
    return found


def test_any_bytes_are_weights_or_a_reason(weights, tmp_path):
    rng = random.Random(SEED + 4)
    path = tmp_path / "network.pth"
    for _ in range(TRIES):
        path.write_bytes(damaged(rng.choice(weights), rng))
        with suppress(BadInput):
            state = read_state_dict(path)
            assert all(isinstance(value, torch.Tensor) for value in state.values())
            fill(nn.Linear(3, 2), state, path, "a network")


def changed(tree: object, rng: random.Random) -> object:
    """A copy of a parameter tree with one branch renamed, dropped or replaced."""
    if not isinstance(tree, dict) or not tree or rng.random() < 0.15:
        return rng.choice(VALUES)
    key = rng.choice(list(tree))
    rest = {name: value for name, value in tree.items() if name != key}
    kind = rng.randrange(6)
    if kind == 0:
        return rest
    if kind == 1:
        return rest | {str(key)[::-1]: tree[key]}
    return rest | {key: changed(tree[key], rng)}


def test_any_parameters_are_valid_or_explained(tmp_path):
    rng = random.Random(SEED + 2)
    whole = all_entries()
    small = {
        "experiments": {
            name: whole["experiments"][name] for name in ("demo", "demo_methods", "difface_sr", "difface_real")
        }
    }
    path = tmp_path / "params.yaml"
    for _ in range(TRIES):
        tree = {**small, "experiments": {**small["experiments"]}}
        name = rng.choice(list(tree["experiments"]))
        tree["experiments"][name] = changed(tree["experiments"][name], rng)
        text = yaml.safe_dump(tree)
        if rng.random() < 0.1:
            text = damaged(text.encode(), rng).decode("latin-1")
        path.write_text(text, encoding="utf-8")
        with suppress(BadInput):
            load(path)


def test_a_parameter_file_that_grows_when_read_is_refused(tmp_path):
    path = tmp_path / "params.yaml"
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    path.write_text("\n".join(lines))
    with pytest.raises(BadInput, match="anchors and aliases"):
        load(path)
    path.write_text("a: &a [*a]")
    with pytest.raises(BadInput):
        load(path)
    path.write_text("x" * 2_000_000)
    with pytest.raises(BadInput, match="expected at most"):
        load(path)
    path.write_text("[" * 5000)
    with pytest.raises(BadInput, match="is not valid YAML"):
        load(path)
