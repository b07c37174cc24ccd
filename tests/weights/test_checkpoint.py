"""Weights files as users have them: any suffix and wrapping is read, anything else is refused in our words."""

import gzip
import hashlib
import io
import os
import random
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from tasks.basics import ROOT, BadInput
from tasks.diffusion.priors import load_prior
from tasks.metrics.perceptual import lpips_seeded
from tasks.restorers import srcnn, swinir
from tasks.weights.checkpoint import fill, read_state_dict, spandrel_network, under_prefix
from tasks.weights.fetch import required

SWINIR = ROOT / "data" / "weights" / "demo" / "swinir.safetensors"
STATE = {"head.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.ones(2)}
OTHER = {key: value - 9 for key, value in STATE.items()}
AVERAGED = ("params_ema", "g_ema", "ema")
PLAIN = ("params", "generator", "model_state_dict", "state_dict", "model")
BESIDE = {"epoch": 3, "global_step": 10, "pytorch-lightning_version": "2.1", "optimizer_states": [{"state": {}}]}
prefixes = st.sampled_from(["", "module.", "model.", "generator.", "net_g.", "model.module.", "_orig_mod."])


def same(found, wanted=STATE):
    return found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


@given(st.lists(st.sampled_from([*AVERAGED, *PLAIN]), max_size=3), prefixes, st.booleans())
@settings(max_examples=60, deadline=None)
def test_weights_come_back_equal_out_of_any_wrapping(tmp_path_factory, wrappings, prefix, lightning):
    contents = prefixed(STATE, prefix)
    for key in wrappings:
        contents = {key: contents, **(BESIDE if lightning else {})}
    path = tmp_path_factory.getbasetemp() / "wrapped.ckpt"
    torch.save(contents, path)
    assert same(under_prefix(read_state_dict(path), STATE))
    model = nn.ModuleDict({"head": nn.Linear(3, 2)})
    fill(model, read_state_dict(path), path, "a head")
    assert same(model.state_dict())


@pytest.mark.parametrize("averaged", AVERAGED)
@pytest.mark.parametrize("plain", PLAIN)
def test_averaged_weights_go_before_others(tmp_path, averaged, plain):
    torch.save({plain: OTHER, averaged: STATE}, tmp_path / "both.pth")
    assert same(read_state_dict(tmp_path / "both.pth"))
    torch.save({plain: STATE, averaged: {}}, tmp_path / "both.pth")
    assert same(read_state_dict(tmp_path / "both.pth")), "an average that is empty is none"


@pytest.mark.parametrize("suffix", [".pth", ".PTH", ".pt", ".bin", ".ckpt", ".Ckpt", ".safetensors", ".SafeTensors"])
def test_a_weights_file_is_read_by_its_contents_whatever_its_suffix(tmp_path, suffix):
    torch.save(STATE, tmp_path / f"torch{suffix}")
    safetensors.torch.save_file(STATE, tmp_path / f"safe{suffix}")
    assert same(read_state_dict(tmp_path / f"torch{suffix}"))
    assert same(read_state_dict(tmp_path / f"safe{suffix}"))


def test_a_prefix_stays_where_the_network_has_it_or_not_all_tensors_do(tmp_path):
    torch.save({"module.a": torch.ones(1), "b": torch.zeros(1)}, tmp_path / "some.pth")
    assert read_state_dict(tmp_path / "some.pth").keys() == {"module.a", "b"}
    own = {"generator.weight": torch.ones(1)}
    assert under_prefix(own, own) == own
    assert under_prefix({"model.1": torch.ones(1)}, ["2"]).keys() == {"model.1"}


@pytest.mark.parametrize("prefix", ["model.", "net_g.", "generator.module."])
def test_a_restorer_is_read_from_a_training_framework_s_file(tmp_path, prefix):
    for restorer, model in ((swinir, swinir.build(swinir.DEMO)), (srcnn, srcnn.build(srcnn.SRCNNConfig(8, 2)))):
        state = swinir.official_state_dict(model) if restorer is swinir else model.state_dict()
        discriminator = {"discriminator.0.weight": torch.ones(1)}
        torch.save(BESIDE | {"state_dict": prefixed(state, prefix) | discriminator}, tmp_path / "lightning.ckpt")
        read = restorer.load(tmp_path / "lightning.ckpt")
        assert same(read.state_dict(), model.state_dict())


ENDLESS: dict[str, object] = {}
ENDLESS["ema"] = ENDLESS


def zipped(files):
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def saved(contents):
    torch.save(contents, buffer := io.BytesIO())
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "an empty one"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "a web page: it was downloaded instead of the file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "a pointer of Git LFS. Run `git lfs pull`"),
        (saved(STATE)[:-300], "the beginning of one: the download broke off"),
        (saved({"path": Path("x")}), r"also objects of Python \(pathlib\S*\), which could run code"),
        (saved([STATE, STATE]), "found a list"),
        (saved(torch.ones(2, 3)), r"found one tensor of shape \(2, 3\) without a name"),
        (saved({"optimizer": {0: torch.ones(1)}}), "found none of them under 'optimizer'"),
        (saved({}), "found an empty dictionary"),
        (saved({"w": torch.ones(2, dtype=torch.complex64)}), r"'w' \(complex64\), which is no table of real numbers"),
        (saved({"w": torch.ones(2, 2).to_sparse()}), r"'w' \(sparse_coo\), which is no table of real numbers"),
        (saved({"w": torch.ones(2, device="meta")}), r"'w' \(meta\), which is no table of real numbers"),
        (saved(ENDLESS), "found none of them under 'ema'"),
        (gzip.compress(saved(STATE)), "a packed archive. Unpack it"),
        (zipped({"network.pth": saved(STATE)}), r"an archive of other files \(network.pth\). Unpack it"),
        (zipped({"net/data.pkl": b"\0" * 10**7}), "an archive of .* bytes that unpacks to 10000000"),
        (b'{"error": "access denied"}', "a text .*access denied"),
        (hashlib.sha256(b"x").digest() * 9, "a damaged one or another kind"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_weights_file_is_said_in_our_words(tmp_path, data, reason, suffix):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=rf"net{suffix}: expected a file of .*{reason}") as said:
        read_state_dict(path)
    assert "weights_only" not in str(said.value)


def test_weights_of_another_network_are_said_in_a_few_lines(tmp_path):
    for name, state in (("other", {"w": torch.ones(2)}), ("more", load_file(SWINIR) | {"epoch": torch.tensor(3)})):
        torch.save(state, tmp_path / f"{name}.pth")
        with pytest.raises(BadInput, match=r"expected the weights of SwinIR, found other tensors: .+") as said:
            spandrel_network(tmp_path / f"{name}.pth", "SwinIR")
        assert len(str(said.value)) < 500 + len(str(tmp_path))


@pytest.mark.parametrize("seed", range(4))
def test_some_of_a_network_s_tensors_are_no_network(tmp_path, seed):
    rng, path = random.Random(seed), tmp_path / "net.pth"
    torch.save({key: value for key, value in load_file(SWINIR).items() if rng.random() < 0.7}, path)
    with pytest.raises(BadInput, match="expected the weights of SwinIR, found other tensors: "):
        spandrel_network(path, "SwinIR")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda value: (50 * value).to(torch.int8), "found .* of int8 .*: quantised weights cannot be used"),
        (lambda value: value * float("nan"), "found NaN or infinite ones in .*diverged"),
    ],
)
def test_weights_that_are_no_finite_real_numbers_are_refused(tmp_path, change, reason):
    state = load_file(SWINIR)
    torch.save(
        {key: change(value) if value.is_floating_point() else value for key, value in state.items()},
        tmp_path / "net.pth",
    )
    with pytest.raises(BadInput, match=reason):
        spandrel_network(tmp_path / "net.pth", "SwinIR")
    with pytest.raises(BadInput, match=reason):
        fill(nn.Linear(3, 2), {"weight": change(torch.ones(2, 3)), "bias": torch.ones(2)}, Path("net.pth"), "a network")
    network = srcnn.build(srcnn.SRCNNConfig(8, 2)).state_dict()
    torch.save({key: change(value) for key, value in network.items()}, tmp_path / "srcnn.pth")
    with pytest.raises(BadInput, match=reason):
        srcnn.load(tmp_path / "srcnn.pth")


def test_a_folder_is_no_missing_file(tmp_path):
    with pytest.raises(BadInput, match="found a folder"):
        read_state_dict(tmp_path)
    with pytest.raises(BadInput, match="is a folder"):
        required(tmp_path, "a method")


def garbled(data, rng):
    data = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.randint(1, len(data))] if rng.random() < 0.5 else data)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_random_files_are_read_or_refused_in_our_words(tmp_path):
    rng, path, refusals = random.Random(0), tmp_path / "net.pth", []
    torch.save(STATE, old := io.BytesIO(), _use_new_zipfile_serialization=False)
    whole = [saved(STATE), old.getvalue(), safetensors.torch.save(STATE)]
    for number in range(int(os.environ.get("BFR_FUZZ", "2000"))):
        path.write_bytes(rng.randbytes(rng.randint(0, 300)) if number % 4 == 3 else garbled(whole[number % 3], rng))
        try:
            read_state_dict(path)
        except BadInput as error:
            refusals.append(str(error))
    assert len(refusals) > 1000 or "BFR_FUZZ" in os.environ
    assert not [text for text in refusals if "weights_only" in text]


def test_a_network_that_is_filled_next_draws_no_first_weights(tmp_path):
    """They took longer than reading the file, and moved the generator that everybody shares."""
    weights = torch.random.get_rng_state()
    load_prior("demo128", ROOT / "data" / "weights" / "demo" / "prior.safetensors", torch.device("cpu"))
    swinir.load(SWINIR)
    lpips_seeded()
    assert torch.equal(torch.random.get_rng_state(), weights)
