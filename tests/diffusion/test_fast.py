"""The U-Net as a GPU evaluates it in bfloat16, on the CPU: the same formula."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tasks.basics import ROOT
from tasks.diffusion import fast
from tasks.diffusion.fast import FastUNet, for_sampling, in_one, in_pairs, norm_silu, paired
from tasks.diffusion.unet import GroupNorm, UNet, UNetConfig
from tasks.metrics.seeded import fill_seeded
from tasks.running.graph import Graphed

SMALL = {"model_channels": 32, "channel_mult": (1, 2), "num_res_blocks": (1, 1), "attention_sizes": (8,)}
UNETS = {
    "strided": UNetConfig(**SMALL, image_size=16),
    "resampled in blocks": UNetConfig(**SMALL, image_size=16, resblock_updown=True, dropout=0.1),
    "halves add up to the width": UNetConfig(32, (2, 1), (1, 1), (), 16),
}


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def evaluated(network):
    with torch.no_grad():
        return network(images(2, 3, 16, 24), torch.tensor([300, 20]))


@pytest.mark.parametrize("name", UNETS)
def test_the_fast_network_is_the_same_function(name):
    unet = fill_seeded(UNet(UNETS[name]), name)
    torch.testing.assert_close(evaluated(FastUNet(unet, torch.float32)), evaluated(unet), rtol=1e-5, atol=1e-5)


def test_in_bfloat16_it_is_as_near_to_float32_as_autocast_and_leaves_the_prior_as_it_is():
    unet = fill_seeded(UNet(UNETS["strided"]), "strided")
    expected = evaluated(unet)
    with torch.autocast("cpu", torch.bfloat16):
        autocast, fast = evaluated(unet), evaluated(FastUNet(unet))
    assert fast.dtype == torch.float32
    assert (fast - expected).square().mean() < 1.5 * (autocast - expected).square().mean()
    assert torch.equal(evaluated(unet), expected)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7))
@settings(max_examples=20, deadline=None)
def test_repeating_pixels_and_convolving_is_one_transposed_convolution(channels, out, height, width):
    conv = nn.Conv2d(channels, out, 3, padding=1).double()
    x = images(2, channels, height, width).double()
    repeated = F.interpolate(x, scale_factor=2, mode="nearest")
    torch.testing.assert_close(in_one(conv)(x), conv(repeated), rtol=0, atol=1e-13)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 7), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_pairs_of_pixels_are_convolved_at_once(channels, out, height, half):
    x, weight = images(2, channels, height, 2 * half).double(), images(out, channels, 3, 3).double()
    pairs = F.conv2d(in_pairs(x), paired(weight), padding=(1, 0))
    both = pairs.permute(0, 2, 3, 1).reshape(2, height, 2 * half, out).permute(0, 3, 1, 2)
    torch.testing.assert_close(both, F.conv2d(x, weight, padding=1), rtol=0, atol=1e-13)


def test_one_pass_is_bias_norm_modulation_and_silu_of_both_halves():
    norm, x = fill_seeded(GroupNorm(96), "norm"), images(2, 96, 5, 7)
    scale, shift = images(2, 96), images(2, 96) / 2
    bias = images(96)
    expected = F.silu(norm(x + bias[:, None, None]) * (1 + scale[:, :, None, None]) + shift[:, :, None, None])
    halves = [(half, None) for half in x.split([64, 32], dim=1)]
    assert torch.equal(norm_silu(norm, halves, bias=bias, modulation=(scale, shift)), expected)


def test_the_kernels_for_cuda_compute_those_passes_and_the_network():
    """By Triton's interpreter, in a process of its own, for the choice is made as Triton is imported."""
    code = """
import torch
from tasks.diffusion import fast
from tasks.diffusion.unet import GroupNorm, UNet, UNetConfig
from tasks.metrics.seeded import fill_seeded
from tasks.running import unet_triton
torch.set_num_threads(1)
norm, draw = fill_seeded(GroupNorm(96), "norm"), torch.Generator().manual_seed(0)
scale, shift, bias = torch.randn(2, 192, generator=draw)[:, 96:], torch.randn(2, 96, generator=draw), torch.randn(96)
weight, last = torch.randn(96, 160, 1, 1, generator=draw) / 8, torch.randn(6, 96, 3, 3, generator=draw) / 8
changes = {"modulation": (scale, shift), "bias": bias}, {"is_active": False, "bias": bias}, {"dtype": torch.float32}
def near(ours, plain, limit=2e-6):
    assert ours.dtype == plain.dtype and ours.shape == plain.shape
    error, size = (ours.float() - plain.float()).abs().max(), plain.float().abs().max()
    print(bool(error < (limit if ours.dtype == torch.float32 else 1e-2) * size))
def both(name, *args, **more):
    return [getattr(module, name)(*args, **more) for module in (unet_triton, fast)]
for height, width, dtype in ((10, 30, torch.float32), (3, 5, torch.float32), (8, 8, torch.bfloat16)):
    x = 3 + torch.randn(2, 96, height, width, generator=draw).to(dtype)
    for parts in ([(x, None)], [(half, None) for half in x.split([64, 32], dim=1)]):
        for more in changes:
            ours, plain = both("norm_silu", norm, parts, **more)
            near(ours, plain)
            assert ours.is_contiguous(memory_format=torch.channels_last)
    if width % 2 == 0:
        near(*both("norm_silu", norm, parts, is_paired=True))
    products = [*zip((x, x[:, 32:].flip(2)), weight.split([96, 64], dim=1))] if dtype == torch.float32 else []
    for summands in (([x],), ([x, x.flip(1)], bias), ([x], bias, products[:1]), ([x], None, products)):
        ours, plain = both("added", *summands)
        near(ours[0], plain[0])
        assert ours[0].is_contiguous(memory_format=torch.channels_last)
    near(unet_triton.norm_silu(norm, [ours]), fast.norm_silu(norm, [plain]), 4e-6)
    halves = [unet_triton.added([half]) for half in x.split([64, 32], dim=1)]
    near(unet_triton.norm_silu(norm, halves), fast.norm_silu(norm, [(x, None)]))
    near(*both("last", norm, last, bias[:6], (x, None)), 1e-3)
unet = fill_seeded(UNet(UNetConfig(32, (1,), (1,), (8,), 8)), "one level")
given = torch.randn(1, 3, 8, 8, generator=draw), torch.tensor([300])
with torch.no_grad():
    near(fast.FastUNet(unet, torch.float32, unet_triton)(*given), unet(*given), 1e-3)
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.stdout.split() == ["True"] * 42, done.stdout + done.stderr[-2000:]


@pytest.mark.parametrize(("device", "is_half"), [("cpu", True), ("mps", True), ("cuda", False)])
def test_elsewhere_and_in_float32_the_prior_stays_as_it_is(device, is_half):
    prior = UNet(UNETS["strided"])
    assert for_sampling(prior, torch.device(device), is_half) is prior


def test_with_triton_it_is_a_graph(monkeypatch):
    monkeypatch.setattr(fast, "triton_passes", lambda device: fast.PYTORCH)
    sampling = for_sampling(UNet(UNETS["strided"]), torch.device("cuda"), True)
    assert isinstance(sampling, Graphed)
    assert isinstance(sampling.network, FastUNet)


def test_without_triton_the_passes_are_pytorch_s(caplog):
    """Here no GPU is for Triton to compute on."""
    assert fast.triton_passes(torch.device("cpu")) is None
    assert "no passes in Triton here" in caplog.text
    assert FastUNet(UNet(UNETS["strided"])).passes is fast
