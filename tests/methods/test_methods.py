"""DifFace and gen2res: what holds for any prior."""

from functools import partial

import pytest
import torch
from golden.weights import fill_module, load_manifest

from tasks.basics import ROOT
from tasks.diffusion.priors import PRIORS
from tasks.diffusion.schedule import Schedule
from tasks.diffusion.unet import UNet, UNetConfig
from tasks.methods import difbfsr, difface, difface_inpaint, gen2res
from tasks.methods.method import Networks
from tasks.noise import ImageStreams
from tasks.restorers import lama
from tasks.restorers.network import NetworkSpec
from tasks.training.loop import Alone, Session
from tasks.weights.checkpoint import write_state_dict

SCHEDULE = Schedule.linear().respace("10")
EVERY_SECOND = gen2res.skip_guidance(len(SCHEDULE), skip=2, last=1)
METHODS = {
    "difface": partial(difface.restore, start=5, eta=0.5),
    "gen2res": partial(gen2res.restore, start=5),
    "gen2res, guided": partial(gen2res.restore, start=5, is_guided=EVERY_SECOND, scale=0.1),
    "album": partial(gen2res.generative_album, is_guided=EVERY_SECOND, scale=0.1),
}


@pytest.fixture(scope="module")
def tiny():
    manifest = load_manifest(ROOT / "tests" / "golden" / "data" / "diffusion" / "manifest_tiny.json")
    model = UNet(UNetConfig(32, (1, 2, 4), (1, 2, 1), (16, 8), 32, num_head_channels=64))
    return fill_module(model, manifest).eval().requires_grad_(False)


def run(method, model, y0, ids):
    streams = ImageStreams(3, "test", ids)
    return METHODS[method](model, SCHEDULE, y0, lambda: streams.normal(*y0.shape[1:]))


@pytest.mark.parametrize("method", METHODS)
def test_an_image_is_the_same_alone_and_in_a_batch(tiny, method):
    y0, ids = torch.rand(3, 3, 32, 32, generator=torch.manual_seed(0)), ["a", "b", "c"]
    together = run(method, tiny, y0, ids)
    assert together.shape == y0.shape
    assert 0 <= together.min() <= together.max() <= 1
    assert not together.requires_grad
    for n, image_id in enumerate(ids):
        torch.testing.assert_close(run(method, tiny, y0[n : n + 1], [image_id])[0], together[n], rtol=0, atol=1e-4)


def test_inpainting_leaves_known_pixels_as_they_are(tiny):
    lq, mask = torch.rand(2, 3, 32, 32, generator=torch.manual_seed(0)), torch.zeros(2, 1, 32, 32)
    mask[:, :, 8:20, 8:20] = 1
    streams = ImageStreams(3, "test", ["a", "b"])
    image = difface_inpaint.inpaint(
        tiny,
        SCHEDULE,
        lq,
        mask,
        lq,
        lambda: streams.normal(3, 32, 32),
        start=5,
        eta=1.0,
        refine=partial(difface_inpaint.refine_gradient, gamma=0.5),
    )
    known = mask.expand_as(lq) == 0
    assert torch.equal(image[known], lq[known])
    assert not torch.equal(image[~known], lq[~known])


@pytest.mark.parametrize(("method", "start"), [(difface.restore, 0), (difface.restore, 10), (gen2res.restore, 11)])
def test_a_start_outside_the_schedule_is_rejected(tiny, method, start):
    options = {"eta": 0.0} if method is difface.restore else {}
    with pytest.raises(ValueError, match=f"found start = {start}"):
        method(tiny, SCHEDULE, torch.zeros(1, 3, 32, 32), lambda: torch.zeros(1, 3, 32, 32), start=start, **options)


def test_a_killed_personalisation_goes_on_bit_equally(tmp_path):
    photos = torch.rand(3, 3, 64, 64, generator=torch.manual_seed(0))
    settings = gen2res.Personalization(iterations=4, batch=2, lr=1e-3)

    def trained(state, stop_after=None):
        torch.manual_seed(0)
        model = UNet(PRIORS["demo128"])

        def on_step(step, losses):
            if step == stop_after:
                raise KeyboardInterrupt

        try:
            gen2res.tune(model, photos, settings, 5, Session(Alone(torch.device("cpu")), state, 0, on_step))
        except KeyboardInterrupt:
            return None
        return model.state_dict()

    whole = trained(tmp_path / "whole.pt")
    assert trained(tmp_path / "killed.pt", stop_after=2) is None
    resumed = trained(tmp_path / "killed.pt")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.parametrize("changes", [{}, {"gamma": 0.0}, {"lambda_known": 1.0}])
def test_inpainting_fills_what_is_black_and_nothing_else(tiny, changes, tmp_path, monkeypatch):
    write_state_dict(tmp_path / "tiny.safetensors", tiny.state_dict())
    write_state_dict(tmp_path / "lama.safetensors", lama.build(lama.DEMO).state_dict())
    monkeypatch.setitem(PRIORS, "tiny", UNetConfig(32, (1, 2, 4), (1, 2, 1), (16, 8), 32, num_head_channels=64))
    estimator = NetworkSpec(arch="lama", weights=tmp_path / "lama.safetensors")
    networks = Networks(tmp_path / "tiny.safetensors", "tiny", estimator)
    settings = difface_inpaint.DifFaceInpaint(kind="difface_inpaint", respacing="10", start_t=480, eta=1, **changes)
    restore = settings.build(networks, 3, torch.device("cpu"))
    lq, ids = torch.rand(2, 3, 32, 32, generator=torch.manual_seed(0)).clamp_min(1 / 255), ["a", "b"]
    lq[0, :, 8:20, 8:20] = 0
    lq[1, :, :, 16:] = 0
    together = restore(lq, ids)
    hole = lama.hole_of(lq).bool().expand_as(lq)
    assert torch.equal(together[~hole], lq[~hole])
    assert (together[hole] > 0).float().mean() > 0.5
    torch.testing.assert_close(restore(lq[1:], ids[1:])[0], together[1], rtol=0, atol=1e-4)


SMALL = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def guesses(photos, ids, modules="both", steps=6):
    settings = difbfsr.DifBfsr(kind="difbfsr", respacing="5", scale=2, factor=2, width=8, modules=modules)
    guides = settings.guides(photos, ids, seed=0)
    return torch.stack([guides.step() for _ in range(steps)])


@pytest.mark.parametrize("modules", ["both", "srm", "cfm"])
def test_the_networks_of_a_photo_are_fitted_alone_and_in_a_batch_to_the_same_bits(modules):
    together = guesses(SMALL, ["a", "b", "c"], modules)
    for n, image_id in enumerate("abc"):
        assert torch.equal(guesses(SMALL[n : n + 1], [image_id], modules)[:, 0], together[:, n])


def test_a_photo_s_networks_learn_nothing_from_the_others():
    others = torch.cat([SMALL[:1], -SMALL[1:]])
    assert torch.equal(guesses(SMALL, ["a", "b", "c"])[:, 0], guesses(others, ["a", "x", "y"])[:, 0])


def test_photos_convolved_in_groups_get_what_each_gets_alone():
    """A GPU's way against the CPU's, with gradients."""
    layer = difbfsr.ConvOfEach(3, 4, 5).double()
    x = torch.randn(1, 12, 6, 7, dtype=torch.float64, generator=torch.manual_seed(0), requires_grad=True)
    ways = layer(x), torch.nn.Conv2d.forward(layer, x)
    torch.testing.assert_close(*ways, rtol=0, atol=1e-12)
    alone, grouped = (torch.autograd.grad(y.square().sum(), (x, *layer.parameters())) for y in ways)
    torch.testing.assert_close(alone, grouped, rtol=0, atol=1e-11)
