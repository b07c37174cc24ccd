"""Training: losses, discriminator and optimiser steps against the reference arrays; resuming; several processes."""

import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import ClassVar

import lpips
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from golden.restorer_weights import arrays, fill_module, load_manifest
from golden.restorer_weights import test_image as golden_image
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.basics import ROOT, WEIGHTS, BadInput
from tasks.diffusion.priors import load_prior
from tasks.diffusion.unet import UNet, UNetConfig
from tasks.restorers import srcnn, swinir
from tasks.running import interrupts
from tasks.running.read_ahead import read_ahead
from tasks.training import loop, losses, network, swinir_gan
from tasks.training.discriminator import PriorDiscriminator, UNetDiscriminator
from tasks.training.loop import Session
from tasks.weights.seeding import initial_weights

GOLDEN = ROOT / "tests" / "golden" / "data" / "restorers"
TINY = swinir.SwinIRConfig(12, (2, 2), (2, 2), 8, 2.0, unshuffle=8, feature_size=8, drop_path_rate=0.0)
SMALL = swinir.SwinIRConfig(12, (2,), (2,), 8, 2.0, unshuffle=4, feature_size=16, drop_path_rate=0.5)
GAN = swinir_gan.Adversarial(
    iterations=4, batch=4, micro_batch=2, lr=1e-3, lr_min=1e-4, lambda_lpips=0.1, lambda_gan=0.1
)
ALONE = network.Recipe(iterations=4, batch=2, lr=1e-3, lr_min=1e-4, ema=0.5)


def changed(recipe, **changes):
    """The same settings but for the changes, checked like any others."""
    return type(recipe).model_validate(recipe.model_dump() | changes)


class Stopped(Exception):
    """Raised by a test's callback: the run is over, or killed."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """The networks are tiny: on a busy machine, threads that wait for each other make these tests 20 times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


def images(*tags):
    """[N, 3, 64, 64] in [0, 1]."""
    pixels = np.stack([golden_image(f"pub1|{tag}", 64, 64) for tag in tags])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def numbered(tag, n):
    return images(*(f"{tag}{i}" for i in range(n)))


def golden_discriminator(width, manifest):
    return fill_module(UNetDiscriminator(width, seed=0), load_manifest(GOLDEN / "manifests" / manifest))


def mean_square(output, target):
    """A cheap stand-in for the perceptual distance."""
    return (output - target).square().mean(dim=(1, 2, 3))


@pytest.fixture(scope="module")
def golden_lpips():
    """LPIPS VGG with the goldens' trunk and the package's linear layers."""
    network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval().requires_grad_(False)
    trunk = arrays(load_manifest(GOLDEN.parent / "metrics" / "manifests" / "vgg16_features.json"))
    for key, parameter in network.net.named_parameters():
        _, layer, kind = key.split(".")
        parameter.copy_(torch.from_numpy(trunk[f"features.{layer}.{kind}"]))
    return lambda output, target: network(output, target, normalize=True).flatten()


# ---------------------------------------------------------------------------------- losses, discriminator


def test_the_perceptual_loss_is_a_sum_over_images():
    a, b = numbered("ft_lq", 3), numbered("ft_gt", 3)
    single = [losses.perceptual_sum(mean_square, a[i : i + 1], b[i : i + 1]).item() for i in range(3)]
    assert losses.perceptual_sum(mean_square, a, b).item() == pytest.approx(sum(single), rel=1e-6)


# ------------------------------------------------------------------------------------------- golden steps


def distance(model, start):
    """Per parameter, the distance from its start."""
    return [(p.detach() - start[name]).double().norm().item() for name, p in model.named_parameters()]


def copied(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    ("variant", "micro_batch", "has_leak"), [("mb4", 4, True), ("mb2_official", 2, True), ("mb2_noleak", 2, False)]
)
def test_three_steps_of_swinir_against_the_discriminator_are_the_references(
    tmp_path, accelerator, golden_lpips, variant, micro_batch, has_leak
):
    golden = np.load(GOLDEN / "finetune" / "swinir_gan_step.npz")
    generator = swinir.build(TINY)
    state = arrays(load_manifest(GOLDEN / "manifests" / "tiny_swinir.json"))
    swinir.load_official_state_dict(
        generator, swinir.official_state_dict(generator) | {k: torch.from_numpy(v) for k, v in state.items()}
    )
    discriminator = golden_discriminator(8, "tiny_unet_discriminator_sn.json")
    networks = {"g": generator, "d": discriminator}
    start = {which: copied(trained) for which, trained in networks.items()}
    batch = numbered("ft_lq", 4), numbered("ft_gt", 4), numbered("ft_hq", 4)
    assert [swinir.SPANDREL_TO_OFFICIAL.get(name, name) for name in start["g"]] == golden["names_g"].tolist()
    assert list(start["d"]) == golden["names_d"].tolist()

    def compare(step, step_losses):
        rows = golden[f"{variant}/losses_iter{step}"]
        np.testing.assert_allclose(step_losses, rows.mean(0), rtol=1e-5)
        for which, trained in networks.items():
            # not 1e-4: VGG's ReLUs and max-pools make the gradients differ by 1.5e-4 between convolution kernels
            if step == 1:
                norms = [parameter.grad.double().norm().item() for parameter in trained.parameters()]
                np.testing.assert_allclose(norms, golden[f"{variant}/grad_norm_{which}_iter1"], rtol=1e-3)
            if step in (1, 3):
                expected = golden[f"{variant}/delta_norm_{which}_iter{step}"]
                np.testing.assert_allclose(distance(trained, start[which]), expected, rtol=5e-3)
        if step == 3:
            raise Stopped

    recipe = changed(swinir_gan.FINETUNE, batch=4, micro_batch=micro_batch, has_leak=has_leak)
    session = Session(accelerator, tmp_path / "state.pt", 100, compare)
    with pytest.raises(Stopped):
        swinir_gan.train(generator, discriminator, golden_lpips, lambda step: batch, recipe, 10_000, session)
    with torch.no_grad():
        output = generator.eval()(batch[0][:1])
    expected = golden[f"{variant}/output_after_iter3"]
    np.testing.assert_allclose(output[..., ::2, ::2], expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def pixel_loss(run, lq, hq):
    return losses.l1(run(lq), hq)


def test_the_loss_of_difface_inpainting_estimator_is_the_references():
    golden = np.load(GOLDEN / "finetune" / "difface_estimator_step.npz")
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 4:20] = 1
    output, target = (
        torch.from_numpy(golden_image(f"pub1|{tag}", 32, 32)).permute(2, 0, 1)[None].float() / 255
        for tag in ("inp_pred", "inp_gt")
    )
    assert losses.inpainting_l1(output, target, mask).item() == pytest.approx(float(golden["inpaint_l1"]), rel=1e-6)


def test_three_steps_of_a_difface_estimator_are_the_references(tmp_path, accelerator):
    golden = np.load(GOLDEN / "finetune" / "difface_estimator_step.npz")
    model = fill_module(srcnn.build(srcnn.SRCNNConfig(16, 3)), load_manifest(GOLDEN / "manifests" / "tiny_srcnn.json"))
    start = copied(model)
    batch = numbered("est_lq", 2), numbered("est_gt", 2)
    state = tmp_path / "state.pt"

    def compare(step, step_losses):
        assert step_losses == pytest.approx([float(golden[f"loss_iter{step}"])], rel=1e-6)
        np.testing.assert_allclose(distance(model, start), golden[f"delta_norm_iter{step}"], rtol=1e-3)
        averaged = torch.load(state, weights_only=True)["averaged"]
        moved = [(averaged[name] - value).double().norm().item() for name, value in start.items()]
        np.testing.assert_allclose(moved, golden[f"ema_delta_norm_iter{step}"], rtol=1e-3)
        if step == 3:
            raise Stopped

    published = network.Recipe(iterations=300_000, batch=32, lr=5e-5, lr_min=5e-6, ema=0.999)
    with pytest.raises(Stopped):
        network.train(model, pixel_loss, lambda step: batch, published, 10_000, Session(accelerator, state, 0, compare))
    with torch.no_grad():
        output = model.eval()(batch[0][:1])
    expected = golden["output_after_iter3"]
    np.testing.assert_allclose(output[..., ::2, ::2], expected, rtol=0, atol=1e-4 * np.abs(expected).max())


# --------------------------------------------------------------------------------------- order, rate, seed


@settings(deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 12), batch=st.integers(1, 7))
def test_every_image_is_seen_once_an_epoch_in_full_batches(seed, n, batch):
    batches = [loop.batch_indices(seed, n, batch, step) for step in range(n)]
    assert {len(indices) for indices in batches} == {batch}
    seen = [index for indices in batches for index in indices]
    assert all(sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n)) for epoch in range(batch))


def test_the_order_changes_with_epoch_and_seed():
    assert loop.batch_indices(1, 50, 50, 0) != loop.batch_indices(1, 50, 50, 1)
    assert loop.batch_indices(1, 50, 50, 0) != loop.batch_indices(2, 50, 50, 0)


def test_batches_arrive_in_order_whatever_the_reader_threads_do():
    later = threading.Event()

    def batch_at(step):
        if step == 0:
            later.wait(timeout=10)
        if step == 2:
            later.set()
        return step

    assert list(read_ahead(batch_at, range(20))) == list(range(20))


def test_an_error_while_reading_a_batch_reaches_the_caller():
    def batch_at(step):
        if step == 3:
            raise BadInput("step 3 has no images")
        return step

    with pytest.raises(BadInput, match="step 3 has no images"):
        list(read_ahead(batch_at, range(9)))


@pytest.mark.parametrize(
    ("name", "lr", "lr_min", "iterations"),
    [
        ("dtbfr_swinir_finetune cosine 2e-5 to 5e-6, T 20000", 2e-5, 5e-6, 20_000),
        ("dtbfr_swinir_pretrain cosine 1e-4 to 5e-6, T 800000", 1e-4, 5e-6, 800_000),
        ("difface_estimator cosine 5e-5 to 5e-6, T 300000", 5e-5, 5e-6, 300_000),
    ],
)
def test_the_learning_rates_are_the_references(name, lr, lr_min, iterations):
    table = json.loads((GOLDEN / "finetune" / "lr_tables.json").read_text())[name]
    for iteration, expected in table.items():
        assert loop.cosine_lr(int(iteration) - 1, iterations, lr, lr_min) == pytest.approx(expected, rel=1e-8)


def test_a_step_leaves_the_global_generator_as_it_was(accelerator):
    before = torch.random.get_rng_state()
    with loop.step_randomness(1, 0, accelerator):
        first = torch.rand(3)
    with loop.step_randomness(1, 1, accelerator):
        second = torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(first, second)


# ------------------------------------------------------------------------------------- what a prior sees


def random_prior():
    with initial_weights(1):
        return UNet(UNetConfig(32, (1, 1, 1, 2), (1,) * 4, (), 64)).eval().requires_grad_(False)


def seeing(prior):
    return PriorDiscriminator(prior, numbered("hq", 6), seed=1)


def test_a_discriminator_judges_the_coarser_levels_of_the_prior_and_leaves_it_alone():
    prior, x = random_prior(), numbered("gt", 2).requires_grad_()
    critic = seeing(prior)
    logits = critic(x)
    assert logits.shape == (2, 2, 64, 64)  # of sides of 16 and 8: all but one of each 8 x 8 are repeated
    assert torch.equal(logits[:, 1, ::8, ::8], logits[:, 1, 7::8, 7::8])
    logits.sum().backward()
    assert x.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in prior.parameters())
    assert {name.partition(".")[0] for name in critic.state_dict()} == {"heads"}


def test_features_of_the_real_photos_have_mean_0_and_deviation_1():
    critic, seen = seeing(random_prior()), []
    for head in critic.heads:
        head[0].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    critic(numbered("hq", 6))
    for features in seen:
        torch.testing.assert_close(features.mean((0, 2, 3)), torch.zeros(features.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(features.std((0, 2, 3)), torch.ones(features.shape[1]), atol=1e-2, rtol=0)


def test_what_a_prior_sees_tells_blur_at_once_where_the_unet_knows_nothing():
    prior = load_prior("demo128", WEIGHTS / "demo" / "prior.safetensors", torch.device("cpu"))
    sharp = numbered("hq", 6)
    blurred = F.interpolate(F.avg_pool2d(sharp, 2), scale_factor=2.0, mode="bilinear")
    found = {}
    for name, critic in (("prior", seeing(prior)), ("unet", UNetDiscriminator(16, seed=1))):
        step = loop.adamw(critic, 1e-3)
        for _ in range(25):
            step.zero_grad()
            loss = losses.labelled_real(critic(sharp)) + losses.labelled_fake(critic(blurred))
            loss.backward()
            step.step()
        found[name] = loss.item()
    assert found["prior"] < 1.36
    assert found["unet"] > 1.38  # chance: 1.386


# ------------------------------------------------------------------------------------------------- resume


def run_gan(accelerator, state, recipe=GAN, seed=1, on_step=lambda step, losses: None, critic=None):
    """A short run on 6 images; returns the trained networks and the losses of its steps."""
    generator, discriminator = swinir.build(SMALL), critic() if critic else UNetDiscriminator(8, seed=1)
    lq, target, real = numbered("lq", 6), numbered("gt", 6), numbered("hq", 6)

    def batch_at(step):
        rows = loop.batch_indices(seed, 6, recipe.batch, step)
        return lq[rows], target[rows], real[loop.batch_indices(seed + 1, 6, recipe.batch, step)]

    history = []

    def record(step, step_losses):
        history.append(step_losses)
        on_step(step, step_losses)

    session = Session(accelerator, state, 0, record)
    swinir_gan.train(generator, discriminator, mean_square, batch_at, recipe, seed, session)
    return generator, discriminator, history


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("critic", [None, lambda: seeing(random_prior())], ids=["unet", "prior"])
def test_a_killed_run_goes_on_bit_equally(tmp_path, accelerator, critic):
    def kill(step, step_losses):
        if step == 3:
            raise Stopped

    generator, discriminator, history = run_gan(accelerator, tmp_path / "whole.pt", critic=critic)
    with pytest.raises(Stopped):
        run_gan(accelerator, tmp_path / "killed.pt", on_step=kill, critic=critic)
    torch.rand(5)  # the global generator has moved on meanwhile
    resumed_generator, resumed_discriminator, rest = run_gan(accelerator, tmp_path / "killed.pt", critic=critic)
    assert same_weights(generator, resumed_generator)
    assert same_weights(discriminator, resumed_discriminator)
    assert [list(step_losses) for step_losses in rest] == [list(step_losses) for step_losses in history]


def test_a_finished_run_is_not_trained_further(tmp_path, accelerator):
    generator, _, _ = run_gan(accelerator, tmp_path / "state.pt")
    again, _, _ = run_gan(accelerator, tmp_path / "state.pt")
    assert same_weights(generator, again)


def test_a_state_of_other_settings_is_refused(tmp_path, accelerator):
    run_gan(accelerator, tmp_path / "state.pt", changed(GAN, iterations=1))
    with pytest.raises(BadInput, match=r"state\.pt belongs to a run with other settings .*'lr': '0\.001 -> 0\.5'"):
        run_gan(accelerator, tmp_path / "state.pt", changed(GAN, iterations=1, lr=0.5))


def test_stochastic_depth_is_active_and_follows_the_seed(tmp_path, accelerator):
    runs = [run_gan(accelerator, tmp_path / f"{i}.pt", changed(GAN, iterations=1))[0] for i in range(2)]
    still = run_gan(accelerator, tmp_path / "2.pt", changed(GAN, iterations=1), seed=2)[0]
    assert same_weights(runs[0], runs[1])
    assert not same_weights(runs[0], still)
    assert runs[0].training


def test_bfloat16_autocast_stays_near_float32(tmp_path, accelerator):
    recipe = changed(GAN, iterations=1)
    exact = run_gan(accelerator, tmp_path / "float32.pt", recipe)[2][0]
    rounded = run_gan(accelerator, tmp_path / "bf16.pt", changed(recipe, bf16=True))[2][0]
    assert rounded != exact
    np.testing.assert_allclose(rounded, exact, rtol=0.02)


# --------------------------------------------------------------------------------------------- supervised


def run_alone(accelerator, state, on_step=lambda step, losses: None, config=SMALL, loss=None, every_s=0, **changes):
    model = swinir.build(config)
    recipe = changed(ALONE, **changes)
    lq, hq = numbered("lq", 4), numbered("gt", 4)

    def batch_at(step):
        rows = loop.batch_indices(3, 4, recipe.batch, step)
        return lq[rows], hq[rows]

    session = Session(accelerator, state, every_s, on_step)
    return model, network.train(model, loss or pixel_loss, batch_at, recipe, 3, session)


def test_a_killed_run_of_one_network_goes_on_bit_equally(tmp_path, accelerator):
    def kill(step, loss):
        if step == 3:
            raise Stopped

    whole = run_alone(accelerator, tmp_path / "whole.pt")
    with pytest.raises(Stopped):
        run_alone(accelerator, tmp_path / "killed.pt", on_step=kill)
    resumed = run_alone(accelerator, tmp_path / "killed.pt")
    assert all(same_weights(a, b) for a, b in zip(whole, resumed, strict=True))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_the_step_that_it_was_at(tmp_path, accelerator, number):
    """The signal comes in the middle of step 3, long before the next state would be saved."""
    state, usual = tmp_path / "state.pt", signal.signal(number, signal.default_int_handler)
    steps = []

    def loss(*images):
        if len(steps) == 2:
            signal.raise_signal(number)
        return pixel_loss(*images)

    try:
        with pytest.raises(KeyboardInterrupt):
            run_alone(accelerator, state, on_step=lambda step, _: steps.append(step), loss=loss, every_s=99)
    finally:
        signal.signal(number, usual)
    assert loop.read_contents(state)["step"] == steps[-1] == 3
    resumed = run_alone(accelerator, state)
    whole = run_alone(accelerator, tmp_path / "whole.pt")
    assert all(same_weights(a, b) for a, b in zip(whole, resumed, strict=True))


def test_a_training_in_a_thread_that_is_asked_to_stop_keeps_the_step_that_it_was_at(tmp_path, accelerator):
    """Where no signal comes: behind a page."""
    state, asked, steps, raised = tmp_path / "state.pt", threading.Event(), [], []

    def loss(*images):
        if len(steps) == 2:
            asked.set()
        return pixel_loss(*images)

    def train() -> None:
        with interrupts.stopped_by(asked), pytest.raises(interrupts.Stopped):
            run_alone(accelerator, state, on_step=lambda step, _: steps.append(step), loss=loss, every_s=99)
        raised.append(True)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert raised
    assert loop.read_contents(state)["step"] == steps[-1] == 3
    resumed = run_alone(accelerator, state)
    whole = run_alone(accelerator, tmp_path / "whole.pt")
    assert all(same_weights(a, b) for a, b in zip(whole, resumed, strict=True))


def test_the_state_is_saved_by_time(tmp_path, accelerator, monkeypatch):
    saved, now = [], iter(range(0, 1000, 50))
    monkeypatch.setattr(loop, "monotonic", lambda: next(now))
    monkeypatch.setattr(loop, "save_state", lambda path, parts, recipe, history: saved.append(len(history)))
    run_alone(accelerator, tmp_path / "state.pt", every_s=90, iterations=5)
    assert saved == [2, 4, 5]


def test_micro_batches_add_up_to_the_batch(tmp_path, accelerator):
    config = replace(SMALL, drop_path_rate=0.0)
    whole, _ = run_alone(accelerator, tmp_path / "whole.pt", config=config, iterations=1)
    parts, _ = run_alone(accelerator, tmp_path / "parts.pt", config=config, iterations=1, micro_batch=1)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-5 * one.grad.abs().max().item() + 1e-9)


def test_training_of_one_network_lowers_the_loss(tmp_path, accelerator):
    history = []
    model, averaged = run_alone(
        accelerator, tmp_path / "state.pt", on_step=lambda step, losses: history.append(losses[0])
    )
    assert history[-1] < history[0]
    assert not same_weights(model, averaged)


# ---------------------------------------------------------------------------------------------- processes


class SharedAccelerator:
    """Stands for accelerate in one of two processes, here threads. (The real one agrees, under torchrun with gloo.)"""

    device = torch.device("cpu")
    num_processes = 2
    slots: ClassVar[dict[int, torch.Tensor]] = {}
    barrier = threading.Barrier(2, timeout=60)

    def __init__(self, process_index):
        self.process_index = process_index
        self.is_main_process = process_index == 0

    def backward(self, loss):
        loss.backward()

    def reduce(self, tensor, reduction):
        assert reduction == "sum"
        self.slots[self.process_index] = tensor
        self.barrier.wait()
        total = self.slots[0] + self.slots[1]
        self.barrier.wait()
        return total


def shared_run(accelerator, state):
    """Gradients and losses of one step with two micro-batches. D's power iterations have converged before."""
    recipe = changed(GAN, iterations=1, has_leak=False)
    generator = swinir.build(replace(SMALL, drop_path_rate=0.0), seed=1)
    discriminator = UNetDiscriminator(4, seed=1)
    batch = numbered("lq", 4), numbered("gt", 4), numbered("hq", 4)
    with torch.no_grad():
        for _ in range(300):
            discriminator(batch[0][:1, :, :8, :8])
    history = []
    session = Session(accelerator, state, 0, lambda step, step_losses: history.append(step_losses))
    swinir_gan.train(generator, discriminator, mean_square, lambda step: batch, recipe, 1, session)
    return [parameter.grad for network in (generator, discriminator) for parameter in network.parameters()], history


def test_two_processes_take_the_step_of_one(tmp_path, accelerator):
    expected, expected_losses = shared_run(accelerator, tmp_path / "one.pt")
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(shared_run, SharedAccelerator(index), tmp_path / "two.pt") for index in range(2)]
    for run in runs:
        gradients, step_losses = run.result()
        np.testing.assert_allclose(step_losses, expected_losses, rtol=1e-4)
        for one, two in zip(expected, gradients, strict=True):
            torch.testing.assert_close(two, one, rtol=0, atol=1e-3 * one.abs().max().item())


def test_a_diverging_run_stops_and_keeps_its_last_good_state(tmp_path):
    state, steps = tmp_path / "state.pt", []
    recipe = network.Recipe(iterations=5, batch=1, lr=1e-4, lr_min=1e-4, ema=0.0)
    session = Session(Accelerator(cpu=True), state, 0, lambda step, _: steps.append(step))

    def loss(run, lq, hq):
        return pixel_loss(run, lq, hq) * (torch.nan if len(steps) == 2 else 1.0)

    def batch_at(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)

    with pytest.raises(loop.Diverged, match=r"the loss of step 3 is \[nan\]\. The last good state is"):
        network.train(swinir.build(TINY), loss, batch_at, recipe, 0, session)
    kept = torch.load(state, weights_only=True)
    assert kept["step"] == 2
    assert all(value.isfinite().all() for value in kept["model"].values())
