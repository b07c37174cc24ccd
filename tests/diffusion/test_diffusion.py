"""The diffusion prior against the official systems' arrays, and the properties that its formulas promise."""

import math

import numpy as np
import pytest
import torch
from golden.weights import fill_module, load_manifest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from tasks.basics import ROOT
from tasks.diffusion.lowpass import low_pass
from tasks.diffusion.samplers import ddim_sample, ddim_sample_raw, ddim_step, dpm_solver_step, p_sample, predict
from tasks.diffusion.schedule import Schedule, kept_steps
from tasks.diffusion.training_loss import discretized_log_likelihood, gaussian_kl, training_losses
from tasks.diffusion.unet import Attention, GroupNorm, UNet, UNetConfig

GOLDEN = ROOT / "tests" / "golden" / "data" / "diffusion"
FULL = Schedule.linear(1000)
seeded = settings(deadline=None, derandomize=True)
NETWORKS = {
    "tiny": UNetConfig(32, (1, 2, 4), (1, 2, 1), (16, 8), 32, num_head_channels=64),
    "tiny_gen2res": UNetConfig(32, (1, 2, 4), (2, 2, 2), (8,), 32, resblock_updown=True, dropout=0.1),
    "ffhq512": UNetConfig(32, (1, 2, 4, 8, 8, 16, 16), (1, 2, 2, 2, 2, 3, 4), (32, 16, 8), 512, num_head_channels=64),
    "ffhq256_inpainting": UNetConfig(128, (1, 1, 2, 2, 4, 4), (2,) * 6, (16, 8), 256, num_head_channels=64),
    "ffhq256_gen2res": UNetConfig(128, (1, 1, 2, 2, 4, 4), (2,) * 6, (16,), 256, resblock_updown=True, dropout=0.1),
}


def golden(file, key):
    """An array as a tensor; noise, stored as float16, in float32."""
    tensor = torch.from_numpy(np.load(GOLDEN / f"{file}.npz")[key])
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def assert_near(ours, theirs, atol):
    assert_close(ours, theirs, rtol=0, atol=atol)


def network(name, gain=None):
    return fill_module(UNet(NETWORKS[name]), load_manifest(GOLDEN / f"manifest_{name}.json"), gain=gain).eval()


@pytest.fixture(scope="module")
def tiny():
    return network("tiny").requires_grad_(False)


# The U-Net


@pytest.mark.parametrize("name", ["tiny", "tiny_gen2res"])
def test_a_new_unet_predicts_zero_and_learns_under_autocast(name):
    torch.manual_seed(0)
    model = UNet(NETWORKS[name]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, noise = torch.rand(2, 3, 32, 32) * 2 - 1, torch.randn(2, 3, 32, 32)
    losses = []
    for _ in range(6):
        with torch.autocast("cpu", torch.bfloat16):
            loss = training_losses(model, FULL, x, torch.tensor([700, 30]), noise)["mse"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx((noise**2).mean().item(), rel=1e-6)  # an output of exactly zero
    assert losses[-1] < 0.9 * losses[0]
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_bfloat16_autocast_returns_float32_near_the_full_precision_output(tiny):
    x, t, full = (golden("unet_tiny", f"a/{key}") for key in ("x", "t", "out"))
    with torch.autocast("cpu", torch.bfloat16):
        out = tiny(x, t)
    assert out.dtype == torch.float32
    assert_near(out, full, 0.03)


def test_group_norm_in_half_precision_survives_a_large_mean():
    x = torch.randn(2, 64, 16, 16, generator=torch.manual_seed(0)).bfloat16() * 2 + 200
    norm = GroupNorm(64)
    assert norm(x).dtype == torch.bfloat16
    assert_close(norm(x).float(), norm(x.float()), rtol=0.01, atol=0.01)


def test_the_unet_rejects_sizes_that_do_not_halve(tiny):
    with pytest.raises(ValueError, match=r"multiples of 4, found \(32, 30\)"):
        tiny(torch.zeros(1, 3, 32, 30), torch.zeros(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_res_blocks": (1, 2)}, "num_res_blocks has 2 levels, channel_mult 3"),
        ({"model_channels": 48}, "model_channels must be a multiple of 32, found 48"),
        ({"attention_sizes": (12,)}, r"attention_sizes \[12\] are no level's image size; choose from \[32, 16, 8\]"),
    ],
)
def test_a_config_that_does_not_fit_is_rejected(change, message):
    parts = {"model_channels": 32, "channel_mult": (1, 2, 4), "num_res_blocks": (1, 2, 1), "attention_sizes": (16,)}
    with pytest.raises(ValueError, match=message):
        UNetConfig(**(parts | change), image_size=32)


def test_attention_heads_that_do_not_divide_the_channels_are_rejected():
    with pytest.raises(ValueError, match="32 channels do not split into attention heads of 64"):
        UNet(UNetConfig(32, (1,), (1,), (), 32, num_head_channels=64))


# The schedule


@seeded
@given(count=st.integers(2, 1000))
def test_respacing_keeps_the_ends_and_the_noise_levels(count):
    schedule = FULL.respace(str(count))
    kept = schedule.timestep_map.tolist()
    assert len(kept) == len(schedule) == count
    assert kept == sorted(set(kept))
    assert (kept[0], kept[-1]) == (0, 999)
    assert_close(schedule.alphas_cumprod, FULL.alphas_cumprod[kept], rtol=1e-12, atol=0)


def test_the_first_parts_of_a_chain_take_its_remainder():
    assert kept_steps(11, "2,2,1") == [0, 3, 4, 7, 8]


def test_respacing_twice_still_names_steps_of_the_original_chain():
    assert FULL.respace("ddim250").respace("ddim10").timestep_map.tolist() == list(range(0, 1000, 100))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ddim999", "no whole stride takes 999 of 1000 steps; use '999'"),
        ("1001", "cannot keep 1001 of the 1000 steps in part 1"),
        ("10,600", "cannot keep 600 of the 500 steps in part 2"),
        ("", "expected a count"),
        ("0", "expected a count"),
        ("ddim10,20", "expected a count"),
        ("2.5", "expected a count"),
    ],
)
def test_a_bad_respacing_is_rejected(spec, message):
    with pytest.raises(ValueError, match=message):
        FULL.respace(spec)


def test_a_tensor_of_indices_gives_every_image_its_own_step():
    schedule, i = FULL.respace("50"), torch.tensor([0, 7, 49])
    x, noise = torch.randn(2, 3, 3, 8, 8, generator=torch.manual_seed(0))
    for operation in (schedule.q_sample, schedule.predict_x0, schedule.predict_eps):
        rows = [operation(x[n : n + 1], int(step), noise[n : n + 1]) for n, step in enumerate(i)]
        assert_close(operation(x, i, noise), torch.cat(rows))
    rows = [schedule.posterior_mean(x[n : n + 1], noise[n : n + 1], int(step)) for n, step in enumerate(i)]
    assert_close(schedule.posterior_mean(x, noise, i), torch.cat(rows))
    rows = [schedule.log_variance(x[n : n + 1], int(step)) for n, step in enumerate(i)]
    assert_close(schedule.log_variance(x, i), torch.cat(rows))
    assert schedule.t(i, x).tolist() == schedule.timestep_map[i].tolist()
    assert schedule.t(7, x).tolist() == [int(schedule.timestep_map[7])] * 3


@seeded
@given(i=st.integers(0, 999))
def test_the_noise_of_a_noised_image_is_found_again(i):
    x_0, noise = torch.randn(2, 1, 3, 4, 4, generator=torch.manual_seed(i), dtype=torch.float64).clamp(-1, 1)
    x_t = FULL.q_sample(x_0, i, noise)
    assert_close(FULL.predict_x0(x_t, i, noise), x_0, rtol=0, atol=1e-9)
    assert_close(FULL.predict_eps(x_t, i, x_0), noise, rtol=0, atol=1e-9)


@pytest.mark.parametrize("i", [-1, 1000])
def test_a_step_outside_the_schedule_is_rejected(i):
    with pytest.raises(IndexError, match=rf"step index {i} is outside this schedule's 0 … 999"):
        FULL.q_sample(torch.zeros(1, 3, 4, 4), i, torch.zeros(1, 3, 4, 4))


# The samplers


@pytest.mark.parametrize("sample", [ddim_sample, ddim_sample_raw])
def test_deterministic_ddim_with_the_true_noise_recovers_the_image(sample):
    schedule = FULL.respace("10")
    x_0, noise = torch.randn(2, 1, 3, 8, 8, generator=torch.manual_seed(0)).clamp(-0.9, 0.9)

    def knows_the_image(x_t, t):
        i = schedule.timestep_map.tolist().index(int(t[0]))
        eps = schedule.predict_eps(x_t, i, x_0)
        return torch.cat([eps, torch.zeros_like(eps)], dim=1)

    x = schedule.q_sample(x_0, 9, noise)
    for i in reversed(range(10)):
        x = sample(knows_the_image, schedule, x, i, noise, eta=0.0)
    assert_near(x, x_0, 1e-4)


@seeded
@given(i=st.integers(1, 249))
def test_ddim_with_eta_one_draws_from_the_posterior(i):
    schedule = FULL.respace("250")
    x_0, eps, noise = torch.randn(3, 1, 3, 4, 4, generator=torch.manual_seed(i), dtype=torch.float64)
    x_t = schedule.q_sample(x_0, i, eps)
    posterior = schedule.posterior_mean(x_0, x_t, i) + schedule.posterior_variance[i].sqrt() * noise
    assert_close(ddim_step(schedule, i, x_0, eps, noise, eta=1.0), posterior, rtol=0, atol=1e-9)


def distance_to_the_exact_end(steps, order):
    """From t = 600 to 100 with the exact denoiser of images N(0, 0.04), whose flow only scales the state."""
    schedule, deviation = FULL.respace(f"ddim{steps}"), 0.2
    start, last = (int((schedule.timestep_map <= t).sum()) - 1 for t in (600, 100))

    def exact(x, t):
        a_bar = float(FULL.alphas_cumprod[int(t[0])])
        eps = math.sqrt(1 - a_bar) / (a_bar * deviation**2 + 1 - a_bar) * x
        return torch.cat([eps, eps], dim=1)

    def spread(i):
        a_bar = float(schedule.alphas_cumprod[i])
        return math.sqrt(a_bar * deviation**2 + 1 - a_bar)

    x = torch.randn(1, 1, 8, 8, generator=torch.manual_seed(0)).double() * spread(start) * 0.3
    end, older = x * spread(last) / spread(start), None
    for i in range(start, last, -1):
        x_0 = predict(exact, schedule, x, i).x_0
        x, older = dpm_solver_step(schedule, x, i, x_0, older), x_0 if order == 2 else None
    return float((x - end).abs().max())


def test_the_second_order_solver_gains_a_quarter_of_the_error_for_twice_the_steps():
    coarse, fine = (distance_to_the_exact_end(steps, 2) for steps in (50, 100))
    assert fine < coarse / 3
    assert coarse < distance_to_the_exact_end(50, 1) / 3


def test_the_first_step_of_the_solver_is_ddim_without_noise():
    schedule = FULL.respace("20")
    x_0, x_t = torch.randn(2, 1, 3, 4, 4, generator=torch.manual_seed(0), dtype=torch.float64)
    eps = schedule.predict_eps(x_t, 9, x_0)
    mean = math.sqrt(schedule.alphas_cumprod[8]) * x_0 + math.sqrt(1 - schedule.alphas_cumprod[8]) * eps
    assert_close(dpm_solver_step(schedule, x_t, 9, x_0, None), mean, rtol=0, atol=1e-9)


def test_the_last_step_is_free_of_noise(tiny):
    schedule, x = FULL.respace("20"), golden("unet_tiny", "a/x")
    unused = torch.full_like(x, torch.nan)
    for step in (p_sample(tiny, schedule, x, 0, unused), ddim_sample(tiny, schedule, x, 0, unused, eta=1.0)):
        assert step.isfinite().all()


# The low-pass filter


sizes = st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 2, 3, 4, 8]))


@seeded
@given(size=sizes, seed=st.integers(0, 2**31))
def test_the_low_pass_filter_is_linear_and_keeps_flat_images(size, seed):
    rows, columns, factor = size
    shape = (2, 1, 3, rows * factor, columns * factor)
    x, y = torch.randn(shape, generator=torch.manual_seed(seed), dtype=torch.float64)
    assert_close(low_pass(2 * x - y, factor), 2 * low_pass(x, factor) - low_pass(y, factor))
    flat = torch.full_like(x, 0.7)
    assert_close(low_pass(flat, factor), flat)


@seeded
@given(size=sizes, seed=st.integers(0, 2**31))
def test_the_low_pass_filter_has_no_preferred_direction(size, seed):
    rows, columns, factor = size
    x = torch.randn(1, 3, rows * factor, columns * factor, generator=torch.manual_seed(seed), dtype=torch.float64)
    for turned in (lambda a: a.flip(-1), lambda a: a.flip(-2), lambda a: a.transpose(-1, -2)):
        assert_close(low_pass(turned(x), factor), turned(low_pass(x, factor)))


def test_the_low_pass_filter_rejects_sizes_that_the_factor_does_not_divide():
    with pytest.raises(ValueError, match="multiples of factor 16, found 64 x 40"):
        low_pass(torch.zeros(1, 3, 64, 40), 16)


# The training loss


@pytest.mark.parametrize("i", [0, 500])
def test_the_variational_term_trains_the_variance_alone(i):
    x_start, noise = torch.randn(2, 1, 3, 8, 8, generator=torch.manual_seed(0)).clamp(-1, 1)
    output = torch.cat([noise + 0.1, torch.zeros_like(noise)], dim=1).requires_grad_()
    training_losses(lambda x, t: output, FULL, x_start, torch.tensor([i]), noise)["vb"].sum().backward()
    eps_gradient, v_gradient = output.grad.chunk(2, dim=1)
    assert eps_gradient.eq(0).all()
    assert v_gradient.isfinite().all()
    assert v_gradient.ne(0).any()


@seeded
@given(i=st.integers(1, 999))
def test_the_true_noise_costs_nothing_but_the_variance(i):
    x_start, noise = torch.randn(2, 1, 3, 8, 8, generator=torch.manual_seed(i)).clamp(-1, 1)
    posterior = torch.cat([noise, torch.full_like(noise, -1.0)], dim=1)
    losses = training_losses(lambda x, t: posterior, FULL, x_start, torch.tensor([i]), noise)
    assert losses["mse"].item() == 0
    assert losses["vb"].item() == pytest.approx(0, abs=1e-5)


@seeded
@given(mean=st.floats(-1, 1), log_sigma=st.floats(-6, 1))
def test_the_probabilities_of_all_grey_levels_sum_to_one(mean, log_sigma):
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    log_likelihood = discretized_log_likelihood(levels, torch.tensor(mean), torch.tensor(log_sigma))
    assert log_likelihood.exp().sum().item() == pytest.approx(1, abs=1e-6)


@seeded
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_the_kl_divergence_is_that_of_torch(numbers):
    mean1, log_variance1, mean2, log_variance2 = torch.tensor(numbers, dtype=torch.float64)
    p = torch.distributions.Normal(mean1, (log_variance1 / 2).exp())
    q = torch.distributions.Normal(mean2, (log_variance2 / 2).exp())
    ours = gaussian_kl(mean1, log_variance1, mean2, log_variance2)
    assert_close(ours, torch.distributions.kl_divergence(p, q))


def test_a_fixed_number_of_heads_grows_with_the_channels_and_has_the_same_tensors():
    """guided-diffusion's num_heads, by default 4, beside num_head_channels."""
    shape = {
        "model_channels": 32,
        "channel_mult": (1, 2, 4),
        "num_res_blocks": (1, 1, 1),
        "attention_sizes": (16, 8),
        "image_size": 32,
    }
    fixed, single = UNet(UNetConfig(**shape, num_heads=4)), UNet(UNetConfig(**shape))
    heads = {
        layer.qkv.in_channels: (layer.heads, layer.qkv.in_channels // layer.heads)
        for layer in fixed.modules()
        if isinstance(layer, Attention)
    }
    assert heads == {64: (4, 16), 128: (4, 32)}
    assert {key: value.shape for key, value in fixed.state_dict().items()} == {
        key: value.shape for key, value in single.state_dict().items()
    }


def test_channels_that_do_not_split_into_the_heads_are_refused():
    with pytest.raises(ValueError, match="64 channels do not split into 5 attention heads"):
        UNet(UNetConfig(32, (1, 2), (1, 1), (16,), 32, num_heads=5))


@pytest.mark.parametrize("spec", ["1000", "250", "ddim100", "20"])
def test_a_batch_of_indices_takes_each_image_s_own_step(spec):
    schedule, x = Schedule.linear().respace(spec), torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    for i in range(0, len(schedule) - 2, 7):
        steps = torch.arange(i, i + 3)
        for step in (schedule.predict_x0, schedule.predict_eps, lambda x, i, eps: schedule.posterior_mean(eps, x, i)):
            alone = [step(x[n : n + 1], int(steps[n]), x[n : n + 1]) for n in range(3)]
            assert torch.allclose(step(x, steps, x), torch.cat(alone), rtol=1e-5)
        assert schedule.t(steps, x).tolist() == [int(schedule.t(int(n), x)[0]) for n in steps]
