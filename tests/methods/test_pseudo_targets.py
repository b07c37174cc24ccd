"""Algorithm 1 of DT-BFR against the official system's arrays, and what holds for any prior."""

from collections.abc import Sequence

import pytest
import torch
from golden.weights import fill_module, load_manifest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tasks.basics import ROOT
from tasks.diffusion.lowpass import low_pass
from tasks.diffusion.schedule import Schedule
from tasks.diffusion.unet import UNet, UNetConfig
from tasks.methods.dt_bfr import (
    PseudoTargets,
    pseudo_targets,
    second_order_targets,
    step_indices,
    targets_of,
    unconditional_targets,
)
from tasks.noise import ImageStreams

GOLDEN = ROOT / "tests" / "golden" / "data" / "diffusion"
FULL = Schedule.linear(1000)
seeded = settings(deadline=None, derandomize=True)
TINY = UNetConfig(32, (1, 2, 4), (1, 2, 1), (16, 8), 32, num_head_channels=64)


@pytest.fixture(scope="module")
def tiny():
    return fill_module(UNet(TINY), load_manifest(GOLDEN / "manifest_tiny.json")).eval()


def white_prior(x, t):
    """The exact denoiser of white-noise images, whose E[eps | x_t] is √(1 - a-bar) x_t; middle variance."""
    a_bar = FULL.alphas_cumprod[t].float()[:, None, None, None]
    return torch.cat([(1 - a_bar).sqrt() * x, torch.zeros_like(x)], dim=1)


def photos(count):
    return torch.rand(count, 3, 16, 16, generator=torch.manual_seed(0))


def streams_of(ids):
    streams = ImageStreams(0, "pseudo_targets", ids)
    return lambda: streams.normal(3, 16, 16)


SETTINGS = {"start": 12, "reg_end": 7, "factor": 8}


@seeded
@given(cut=st.integers(1, 4), targets=st.sampled_from([pseudo_targets, second_order_targets]))
def test_an_image_gets_the_same_pseudo_target_in_any_batch(cut, targets):
    schedule, ids, y0 = FULL.respace("20"), list("abcde"), photos(5)
    whole = targets(white_prior, schedule, y0, streams_of(ids), **SETTINGS)
    parts = [
        targets(white_prior, schedule, y0[part], streams_of(ids[part]), **SETTINGS)
        for part in (slice(0, cut), slice(cut, 5))
    ]
    assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("targets", [pseudo_targets, second_order_targets])
def test_the_constraint_keeps_the_low_frequencies_of_the_restoration(targets):
    schedule, ids, y0 = FULL.respace("250"), list("abcd"), torch.full((4, 3, 16, 16), 0.9)
    free = unconditional_targets(white_prior, schedule, y0, streams_of(ids), start=150)
    held = targets(white_prior, schedule, y0, streams_of(ids), start=150, reg_end=10, factor=8)

    def distance(image):
        return low_pass(image - y0, 8).abs().mean()

    assert distance(held) < 0.5 * distance(free)


def test_the_targets_stay_in_range_and_need_no_gradient():
    y0 = photos(2).requires_grad_()
    targets = pseudo_targets(white_prior, FULL.respace("20"), y0, streams_of("ab"), **SETTINGS)
    assert targets.shape == y0.shape
    assert not targets.requires_grad
    assert targets.min() >= 0
    assert targets.max() <= 1


@pytest.mark.parametrize("variant", [unconditional_targets, pseudo_targets, second_order_targets])
def test_every_step_is_reported(variant):
    constraint = {"reg_end": 2, "factor": 4} if variant is not unconditional_targets else {}
    reported = []
    variant(white_prior, FULL.respace("20"), photos(1), streams_of("a"), start=6, on_step=reported.append, **constraint)
    assert reported == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(("start", "reg_end"), [(20, 3), (7, 7), (5, 9), (5, -1)])
def test_steps_that_do_not_fit_the_schedule_are_rejected(start, reg_end):
    with pytest.raises(ValueError, match=rf"0 <= reg_end < start < 20.*start = {start}, reg_end = {reg_end}"):
        pseudo_targets(
            white_prior, FULL.respace("20"), photos(1), streams_of("a"), start=start, reg_end=reg_end, factor=4
        )


def test_the_papers_steps_are_the_official_codes():
    assert step_indices(FULL.respace("250"), start_t=600, stop_t=360) == (150, 90)


@seeded
@given(count=st.integers(20, 1000), start_t=st.integers(200, 999), gap=st.integers(100, 199))
def test_the_steps_enclose_the_papers_timesteps(count, start_t, gap):
    schedule, stop_t = FULL.respace(str(count)), start_t - gap
    start, reg_end = step_indices(schedule, start_t=start_t, stop_t=stop_t)
    t = schedule.timestep_map.tolist()
    assert t[start - 1] < start_t <= t[start]
    assert t[reg_end - 1] <= stop_t < t[reg_end]
    assert reg_end < start


@pytest.mark.parametrize(
    ("start_t", "stop_t", "message"),
    [(1000, 360, "K = 1000 is above the last kept step, t = 999"), (600, 590, "no kept step lies between L = 590")],
)
def test_timesteps_that_the_schedule_cannot_meet_are_rejected(start_t, stop_t, message):
    with pytest.raises(ValueError, match=message):
        step_indices(FULL.respace("20"), start_t=start_t, stop_t=stop_t)


def test_the_settings_choose_the_variant():
    schedule, y0 = FULL.respace("20"), photos(1)
    base = PseudoTargets(respacing="20", start_t=600, stop_t=300, factor=4)
    start, reg_end = step_indices(schedule, start_t=600, stop_t=300)
    for changes, variant, options in (
        ({}, pseudo_targets, {"reg_end": reg_end, "factor": 4}),
        ({"is_constrained": False}, unconditional_targets, {}),
        ({"sampler": "dpm_solver"}, second_order_targets, {"reg_end": reg_end, "factor": 4}),
        ({"sampler": "dpm_solver", "is_constrained": False}, second_order_targets, {"reg_end": start, "factor": 4}),
    ):
        chosen = targets_of(base.model_copy(update=changes), schedule)
        expected = variant(white_prior, schedule, y0, streams_of("a"), start=start, **options)
        assert torch.equal(chosen(white_prior, schedule, y0, streams_of("a")), expected)


BASE = PseudoTargets(respacing="20", start_t=600, stop_t=300, factor=4)
VARIANTS: list[dict[str, object]] = [{}, {"is_constrained": False}, {"sampler": "dpm_solver"}]


def mean_of(samples: int, ids: Sequence[str], y0: Tensor, **changes: object) -> Tensor:
    schedule = FULL.respace("20")
    chosen = targets_of(BASE.model_copy(update={"samples": samples, **changes}), schedule)
    return chosen(white_prior, schedule, y0, streams_of(ids))


@pytest.mark.parametrize("changes", VARIANTS)
def test_a_target_is_the_mean_of_draws_that_follow_one_another_in_the_image_s_stream(changes):
    schedule, y0 = FULL.respace("20"), photos(2)
    one, noise = targets_of(BASE.model_copy(update=changes), schedule), streams_of("ab")
    draws = [one(white_prior, schedule, y0, noise) for _ in range(3)]
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(mean_of(3, "ab", y0, **changes), (draws[0] + draws[1] + draws[2]) / 3)
    assert torch.equal(mean_of(1, "ab", y0, **changes), draws[0])


def test_the_mean_of_more_draws_varies_less():
    y0 = photos(1).expand(64, -1, -1, -1)
    spread = {samples: mean_of(samples, [f"{n}" for n in range(64)], y0).std(0).mean() for samples in (1, 4, 16)}
    assert spread[4] < 0.6 * spread[1]
    assert spread[16] < 0.6 * spread[4]


def test_an_image_s_mean_does_not_depend_on_its_batch():
    y0 = photos(3)
    whole = mean_of(3, "abc", y0)
    assert_close(torch.cat([mean_of(3, name, y0[n : n + 1]) for n, name in enumerate("abc")]), whole, rtol=0, atol=1e-6)


def test_each_draw_costs_a_chain():
    assert BASE.model_copy(update={"samples": 3}).evaluations == 3 * BASE.evaluations
