"""IDM's ablations: DDIM instead of ancestral steps, a network that predicts the noise; and the size of its network."""

import pytest
import torch

from tasks.methods import idm
from tasks.methods.idm import NETWORKS, IdmNetwork
from tasks.models.idm import clean_image_l1, noise_l1

LEVELS = idm.sampling_levels(10)


def photos() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand((2, 3, 8, 8), generator=generator), torch.rand((2, 3, 8, 8), generator=generator)


def drawn() -> torch.Tensor:
    return torch.randn((2, 3, 8, 8), generator=torch.Generator().manual_seed(1))


def knows_noise(clean: torch.Tensor):
    """A network that predicts the noise of a known clean image."""
    return lambda x, y, gamma: (
        (y - gamma.sqrt().view(-1, 1, 1, 1) * (2 * clean - 1)) / (1 - gamma).sqrt().view(-1, 1, 1, 1)
    )


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_a_network_that_predicts_the_noise_restores_as_one_that_predicts_the_clean_image(sampler):
    lq, clean = photos()
    predict = idm.clean_of(knows_noise(clean), "noise")
    found = idm.restore(predict, LEVELS, lq, drawn, sampler=sampler)
    assert torch.allclose(found, clean, atol=1e-3)


def test_ddim_draws_for_the_start_alone_and_goes_straight_through_the_levels():
    lq, clean = photos()
    draws, seen = [], []

    def draw() -> torch.Tensor:
        draws.append(drawn())
        return draws[-1]

    def predict(x, y, gamma):
        seen.append((float(gamma[0]), y))
        return 2 * clean - 1

    idm.restore(predict, LEVELS, lq, draw, sampler="ddim")
    assert len(draws) == 1
    eps = (draws[0] - LEVELS[-1].sqrt() * (2 * clean - 1)) / (1 - LEVELS[-1]).sqrt()
    for gamma, y in seen:
        level = torch.tensor(gamma)
        assert torch.allclose(y, level.sqrt() * (2 * clean - 1) + (1 - level).sqrt() * eps, atol=1e-4)


def test_both_losses_are_zero_for_a_network_that_knows():
    lq, clean = photos()
    gamma, eps = torch.tensor([0.3, 0.9]), drawn()
    assert noise_l1(knows_noise(clean), lq, clean, gamma, eps) < 1e-5
    assert clean_image_l1(lambda x, y, g: 2 * clean - 1, lq, clean, gamma, eps) == 0
    assert noise_l1(lambda x, y, g: torch.zeros_like(y), lq, clean, gamma, eps) == pytest.approx(
        float(eps.abs().mean())
    )


def test_the_network_has_the_published_120_million_parameters_within_two_per_cent():
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in IdmNetwork(NETWORKS["idm512"]).parameters())
    assert abs(count / 120e6 - 1) < 0.02
