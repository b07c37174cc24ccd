"""Restorers: the networks against the official systems' arrays, their files, and the one interface over them."""

import copy
import hashlib
from functools import partial
from pathlib import Path

import pytest
import torch
from golden.restorer_weights import load_manifest
from golden.restorer_weights import test_image as golden_image
from pydantic import ValidationError
from spandrel import ModelLoader

from tasks.basics import ROOT, BadInput
from tasks.restorers import faces as official
from tasks.restorers import lama, srcnn, swinir
from tasks.restorers.network import NETWORKS, NetworkSpec

GOLDEN = ROOT / "tests" / "golden" / "data" / "restorers"
CPU = torch.device("cpu")
TINY = swinir.SwinIRConfig(12, (2, 2), (2, 2), 8, 2.0, unshuffle=8, feature_size=8, drop_path_rate=0.0)


def image(tag, height, width):
    """[1, 3, H, W] in [0, 1]."""
    return torch.from_numpy(golden_image(f"pub1|{tag}", height, width)).permute(2, 0, 1)[None].float() / 255


def test_the_tiny_swinir_of_the_goldens_has_the_reference_keys():
    state = swinir.official_state_dict(swinir.build(TINY))
    assert list(state) == list(load_manifest(GOLDEN / "manifests" / "tiny_swinir.json")["tensors"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_saved_swinir_is_read_back_by_us_and_by_spandrel(tmp_path, suffix):
    model = swinir.build(swinir.DEMO, seed=3)
    path = tmp_path / f"demo{suffix}"
    swinir.save(model, path)
    lq = image("swinir128", 64, 64)
    expected = swinir.restore(model, lq)
    assert torch.equal(swinir.restore(swinir.load(path), lq), expected)
    assert torch.equal(ModelLoader().load_from_file(path)(lq), expected)


def test_a_saved_swinir_has_the_official_key_layout(tmp_path):
    path = tmp_path / "demo.pth"
    swinir.save(swinir.build(swinir.DEMO), path)
    keys = torch.load(path, weights_only=True).keys()
    assert {"conv_first.1.weight", "conv_first.1.bias"} <= keys
    assert not {"conv_first.weight", "conv_first.bias"} & keys
    assert [file.name for file in tmp_path.iterdir()] == ["demo.pth"]


def test_loading_leaves_the_callers_state_dict_alone():
    model = swinir.build(swinir.DEMO)
    state = swinir.official_state_dict(model)
    before = list(state)
    swinir.load_official_state_dict(model, state)
    assert list(state) == before


def test_building_repeats_for_a_seed_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    one, same, other = (swinir.build(swinir.DEMO, seed).conv_first.weight for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (70, 64), (33, 90)])
def test_any_size_is_restored_to_the_same_size_and_range(height, width):
    model = swinir.build(swinir.DEMO).train()
    lq = image("odd", height, width)
    restored = swinir.restore(model, lq)
    assert restored.shape == lq.shape
    assert restored.min() >= 0
    assert restored.max() <= 1
    assert not model.training
    assert torch.equal(restored, swinir.restore(model, lq))


def test_srcnn_is_read_back_with_its_size(tmp_path):
    model = srcnn.build(srcnn.SRCNNConfig(16, 3))
    srcnn.save(model, tmp_path / "srcnn.safetensors")
    lq = image("odd", 30, 34)
    assert torch.equal(srcnn.restore(srcnn.load(tmp_path / "srcnn.safetensors"), lq), srcnn.restore(model, lq))


def test_every_restorer_keeps_shape_and_range_and_gives_an_image_the_same_result_in_any_batch(tmp_path):
    swinir.save(swinir.build(swinir.DEMO), tmp_path / "swinir.safetensors")
    srcnn.save(srcnn.build(srcnn.SRCNNConfig(16, 2)), tmp_path / "srcnn.safetensors")
    lq = torch.cat([image(f"batch{i}", 64, 64) for i in range(3)])
    for arch in ("swinir", "srcnn"):
        restore = NetworkSpec(arch=arch, weights=tmp_path / f"{arch}.safetensors").load(CPU)
        restored = restore(lq, ["a", "b", "c"])
        assert restored.shape == lq.shape
        assert restored.min() >= 0
        assert restored.max() <= 1
        torch.testing.assert_close(restore(lq[1:2], ["b"]), restored[1:2], rtol=0, atol=1e-4)


def test_an_unknown_restorer_is_answered_with_the_valid_names():
    with pytest.raises(ValidationError, match=r"unknown restorer 'swinr'. Did you mean 'swinir'\? Valid: codeformer"):
        NetworkSpec(arch="swinr", weights=Path("weights.pth"))


@pytest.mark.parametrize("arch", sorted(set(NETWORKS) & {"swinir", "srcnn"}))
def test_a_weights_file_that_is_missing_damaged_or_foreign_is_named(tmp_path, arch):
    def load(path):
        return NetworkSpec(arch=arch, weights=path).load(CPU)

    with pytest.raises(BadInput, match=r"gone\.pth is missing: expected restorer weights there"):
        load(tmp_path / "gone.pth")
    for name in ("damaged.safetensors", "damaged.pth"):
        (tmp_path / name).write_bytes(hashlib.sha256(b"x").digest() * 9)
        with pytest.raises(BadInput, match=rf"{name}: expected a file of tensors"):
            load(tmp_path / name)
    (tmp_path / "weights.onnx").write_bytes(b"")
    with pytest.raises(BadInput, match=r"expected a \*\.safetensors, .* or \*\.bin file, found '\.onnx'"):
        load(tmp_path / "weights.onnx")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "foreign.pth")
    with pytest.raises(BadInput, match=r"foreign\.pth: expected .* found other tensors"):
        load(tmp_path / "foreign.pth")


@pytest.mark.parametrize("restore", [official.gfpgan, official.restoreformer, partial(official.codeformer, fidelity=1)])
def test_a_restorer_of_fixed_size_names_the_size_that_it_needs(restore):
    with pytest.raises(BadInput, match=r"restores 512 x 512 images, found 64 x 48\. Set dataset\.size: 512"):
        restore(None, torch.zeros(1, 3, 64, 48))


@pytest.mark.parametrize(
    "wrap", [lambda s: {"params_ema": s, "params": {}}, lambda s: {"module." + k: s[k] for k in s}]
)
def test_wrapped_checkpoints_are_read(tmp_path, wrap):
    model = swinir.build(swinir.DEMO)
    torch.save(wrap(swinir.official_state_dict(model)), tmp_path / "wrapped.pth")
    lq = image("odd", 64, 64)
    assert torch.equal(swinir.restore(swinir.load(tmp_path / "wrapped.pth"), lq), swinir.restore(model, lq))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    torch.save({"path": Path("x")}, tmp_path / "unsafe.pth")
    with pytest.raises(BadInput, match=r"unsafe\.pth: expected a file of tensors"):
        NetworkSpec(arch="swinir", weights=tmp_path / "unsafe.pth").load(CPU)


def test_lama_takes_its_fourier_transforms_in_float32_under_autocast_too(monkeypatch):
    """GPUs have none of bfloat16."""
    seen, own = [], torch.fft.rfftn
    monkeypatch.setattr(torch.fft, "rfftn", lambda x, **options: seen.append(x.dtype) or own(x, **options))
    model = copy.deepcopy(lama.build(lama.DEMO))
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.rand(1, 4, 64, 64))
    assert set(seen) == {torch.float32}
