"""Trainings on a pretended GPU (the second of two) and on Apple's: one wait a step, AdamW's counters on the CPU."""

import pytest
import torch
from pydantic import TypeAdapter

from tasks.diffusion.priors import PRIORS
from tasks.diffusion.unet import UNet
from tasks.models.table import AnyTraining
from tasks.pixels import to_tensor
from tasks.restorers import swinir
from tasks.training import loop, swinir_gan
from tasks.training.discriminator import PriorDiscriminator, UNetDiscriminator
from tasks.training.loop import Alone, Session

DEVICES = {"cuda": torch.device("cuda", 1), "mps": torch.device("mps", 0)}
SETTINGS = {
    "seed": 0,
    "iterations": 3,
    "batch": 2,
    "micro_batch": 1,
    "lr": 1e-4,
    "lr_min": 1e-5,
    "ema": 0.9,
    "clip": 1.0,
}
KINDS = {
    "prior": {"kind": "prior", "arch": "demo128"},
    "idm": {"kind": "idm", "arch": "idm128", "degradation": "demo128"},
    "restorer": {"kind": "restorer", "arch": "swinir128", "degradation": "demo128"}
    | {"lambda_lpips": 0.1, "perceptual": "lpips_seeded"},
    "inpainting": {"kind": "inpainting", "arch": "lama128"},
}
SMALL = swinir.SwinIRConfig(12, (2,), (2,), 8, 2.0, unshuffle=4, feature_size=16, drop_path_rate=0.5)
GAN = swinir_gan.Adversarial(
    iterations=3, batch=2, micro_batch=1, lr=1e-3, lr_min=1e-4, lambda_lpips=0.1, lambda_gan=0.1
)


class Album:
    """As much of an ImageFolder as a training reads."""

    ids = ("0", "1")

    def __init__(self, side):
        random = torch.Generator().manual_seed(0)
        self.images = {n: torch.randint(0, 256, (side, side, 3), generator=random).byte().numpy() for n in self.ids}

    def read(self, image_id):
        return self.images[image_id]

    def batch(self, ids):
        return torch.stack([to_tensor(self.images[n]) for n in ids])


def settings_of(name, **changes):
    return TypeAdapter(AnyTraining).validate_python(SETTINGS | KINDS[name] | changes)


def trained(kind, device, resume=None, on_step=lambda step, losses: None):
    """The losses of its steps."""
    found = []

    def note(step, losses):
        found.append(losses)
        on_step(step, losses)

    album = Album(128 if kind.arch == "swinir128" else 32)  # of another size it makes its masks anew, on the CPU
    session = Session(Alone(device), resume, save_every_s=0, on_step=note)
    kind.train(kind.build(), kind.batches(album, None, album.ids), session)
    return found


@pytest.mark.parametrize("name", KINDS)
def test_a_training_waits_once_a_step_and_loses_what_it_loses_on_the_cpu(pretend, name):
    rates = {"lr": 1e-5, "lr_min": 1e-6}  # AdamW enlarges what is rounded in a gradient near zero to a whole step
    settings, its = settings_of(name, bf16=name == "inpainting", **rates), pretend("cuda")
    with its.devices():
        found = trained(settings, DEVICES["cuda"], on_step=lambda step, losses: step == 2 and its.waits.clear())
    assert len({wait.partition(": ")[2] for wait in its.waits}) == 1, its.waits
    torch.testing.assert_close(found, trained(settings, torch.device("cpu")), rtol=5e-4, atol=0)


@pytest.mark.parametrize("name", KINDS)
def test_a_training_runs_on_apple_s_gpu(pretend, name):
    with pretend("mps").devices():
        (losses,) = trained(settings_of(name, iterations=1), DEVICES["mps"])
    assert losses[0] > 0


@pytest.mark.parametrize("kind", DEVICES)
@pytest.mark.parametrize("has_prior", [False, True])
def test_the_training_against_a_discriminator_waits_once_a_step(pretend, kind, has_prior):
    image, its = Album(64).batch(Album.ids), pretend(kind)
    session = Session(Alone(DEVICES[kind]), on_step=lambda step, losses: step == 2 and its.waits.clear())
    with its.devices():
        generator, critic = swinir.build(SMALL), UNetDiscriminator(8, 0)
        if has_prior:
            prior = UNet(PRIORS["demo128"]).to(DEVICES[kind]).requires_grad_(False)
            critic = PriorDiscriminator(prior, image.to(DEVICES[kind]), 0)
        swinir_gan.train(generator, critic, distance, lambda step: (image, image, image), GAN, 0, session)
    if kind == "cuda":
        assert len({wait.partition(": ")[2] for wait in its.waits}) == 1, its.waits


def distance(a, b):
    """In place of LPIPS."""
    return (a - b).abs().mean(dim=(1, 2, 3))


def test_steps_draw_from_a_state_of_their_own_on_apple_s_gpu_too(pretend, monkeypatch):
    """Stochastic depth draws from the device's global generator."""
    generator = torch.Generator()
    pretend("mps")
    monkeypatch.setattr(torch.mps, "_get_default_mps_generator", lambda: generator)
    before, drawn = generator.get_state(), []
    for _ in range(2):
        with loop.step_randomness(0, 5, Alone(DEVICES["mps"])):
            drawn.append(torch.rand(3, generator=generator))
    assert torch.equal(*drawn)
    assert torch.equal(generator.get_state(), before)


def test_adamw_counts_its_steps_on_the_cpu_after_a_resume_too(pretend, monkeypatch, tmp_path):
    """A counter on the GPU is fetched twice for each parameter and step."""
    its, made, own, load = pretend("cuda"), [], loop.adamw, torch.load

    def loaded(file, map_location, **options):
        """What the unpickler does with a device."""
        found = load(file, map_location="cpu", **options)
        for tensor in torch.utils._pytree.tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                its.put(tensor, torch.device(map_location))
        return found

    monkeypatch.setattr(torch, "load", loaded)
    monkeypatch.setattr(loop, "adamw", lambda model, lr: made.append(own(model, lr)) or made[-1])

    def killed(step, losses):
        if step == 2:
            raise KeyboardInterrupt

    with its.devices():
        with pytest.raises(KeyboardInterrupt):
            trained(settings_of("prior"), DEVICES["cuda"], tmp_path / "state.pt", killed)
        trained(settings_of("prior"), DEVICES["cuda"], tmp_path / "state.pt")
        assert {str(state["step"].device) for state in made[-1].state.values()} == {"cpu"}
        assert {str(state["exp_avg"].device) for state in made[-1].state.values()} == {"cuda:1"}
