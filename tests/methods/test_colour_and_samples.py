"""Colourisation by a known linear degradation, and free samples of the prior, on the demo's prior."""

import numpy as np
import pytest
import torch

from tasks.basics import ROOT
from tasks.degradation.preset import degrade
from tasks.degradation.presets import PRESETS
from tasks.methods.difface_colour import DifFaceColour, luminance, refine_luminance
from tasks.methods.free_samples import FreeSamples
from tasks.methods.method import Networks

CPU = torch.device("cpu")
PRIOR = Networks(ROOT / "data/weights/demo/prior.safetensors", "demo128")


def faces(count: int) -> torch.Tensor:
    return torch.rand((count, 3, 64, 64), generator=torch.Generator().manual_seed(0))


def test_a_gray_photo_has_its_luminance_in_every_channel():
    photo = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    gray = degrade(photo, PRESETS["gray"], np.random.default_rng(0))
    assert (gray == gray[..., :1]).all()
    assert np.abs(photo @ [0.299, 0.587, 0.114] - gray[..., 0]).max() <= 0.51


def test_the_closed_form_is_the_minimum():
    x_0, known = faces(1) * 2 - 1, luminance(faces(2)[1:] * 2 - 1)
    for lambda_ in (0.0, 0.5, 100.0):
        x = refine_luminance(x_0, known, lambda_=lambda_).double().requires_grad_()
        objective = (x - x_0).square().sum() + lambda_ * (luminance(x) - known).square().sum()
        (gradient,) = torch.autograd.grad(objective, x)
        assert gradient.abs().max() < 1e-4
    assert torch.allclose(luminance(refine_luminance(x_0, known, lambda_=1e6)), known, atol=1e-4)


@pytest.mark.parametrize("lambda_", [0.0, 100.0])
def test_a_colourised_photo_has_colours_and_with_lambda_the_luminance_of_the_photo(lambda_):
    method = DifFaceColour(kind="difface_colour", respacing="ddim20", start_t=600, eta=1, lambda_known=lambda_)
    gray = luminance(faces(1)).repeat(1, 3, 1, 1) * 0.5 + 0.25
    found = method.build(PRIOR, 0, CPU)(gray, ["a"])
    off = (luminance(found) - gray[:, :1]).abs().mean()
    assert (found - found.mean(dim=1, keepdim=True)).abs().mean() > 0.01
    assert off < 0.03 if lambda_ else off > 0.03


def test_free_samples_do_not_look_at_the_photo_and_differ_by_its_name():
    run = FreeSamples(kind="free_samples", respacing="10").build(PRIOR, 0, CPU)
    first, second = run(faces(2), ["a", "b"])
    assert not torch.equal(first, second)
    assert torch.equal(run(torch.zeros(1, 3, 64, 64), ["b"])[0], second) or torch.allclose(
        run(torch.zeros(1, 3, 64, 64), ["b"])[0], second, atol=1e-4
    )
    assert FreeSamples(kind="free_samples", respacing="10").evaluations == 10
