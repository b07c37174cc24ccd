"""DifFace and gen2res: what holds for any prior."""

from functools import partial

import pytest
import torch
from golden.weights import fill_module, load_manifest

from tasks import difface, gen2res
from tasks.diffusion.schedule import Schedule
from tasks.diffusion.unet import UNet, UNetConfig
from tasks.noise import ImageStreams
from tasks.priors import PRIORS
from tasks.store import ROOT
from tasks.training import album

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
    image = difface.inpaint(
        tiny, SCHEDULE, lq, mask, lq, lambda: streams.normal(3, 32, 32), start=5, eta=1.0, gamma=0.5
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
    photos, recipe = torch.rand(3, 3, 64, 64, generator=torch.manual_seed(0)), album.AlbumRecipe(4, 2, 1e-3, seed=5)

    def trained(state, stop_after=None):
        torch.manual_seed(0)
        model = UNet(PRIORS["demo64"])

        def on_step(step, loss):
            if step == stop_after:
                raise KeyboardInterrupt

        try:
            album.train(model, photos, recipe, torch.device("cpu"), resume=state, save_every=1, on_step=on_step)
        except KeyboardInterrupt:
            return None
        return model.state_dict()

    whole = trained(tmp_path / "whole.pt")
    assert trained(tmp_path / "killed.pt", stop_after=2) is None
    resumed = trained(tmp_path / "killed.pt")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
