"""IDM and DifBFSR have no released code: the numbers of our reading of the papers, worked out elsewhere."""

import numpy as np
import pytest
import torch

from tasks.diffusion.schedule import Schedule
from tasks.methods import difbfsr, idm


@pytest.mark.golden("restorers/paper_only/idm.npz")
def test_idm(case, near):
    with np.load(case) as file:
        golden = {name: torch.from_numpy(file[name]) for name in file.files}
    levels = idm.sampling_levels(10)
    near("training levels", idm.training_levels()[::200], golden["gamma_every_200"], 1e-12)
    near("sampling levels", levels, golden["gamma10"], 1e-12)

    x, y0, eps, gamma = (golden[name] for name in ("x", "y0", "eps", "gamma"))
    y_noisy = idm.noised(y0, gamma, eps)
    near("noisy image", y_noisy, golden["y_noisy"], 1e-12)
    for name, target in (("x0", y0), ("eps", eps)):
        for norm in (1, 2):
            found = idm.distance(golden["prediction"], target, norm)
            near(f"loss of {name}, norm {norm}", found, golden[f"loss_{name}_l{norm}"], 1e-12)

    def predict(x, y, gamma):
        root = gamma.double().sqrt().reshape(-1, 1, 1, 1)
        return (0.6 * x + 0.4 * root * y).clamp(-1, 1)

    noise = golden["noise"]
    for variance in ("sr3", "posterior"):
        y_0 = predict(x[None], noise[10][None], levels[10:11])[0]
        mean, sigma = idm.ancestral(levels, 10, noise[10], y_0, variance)
        near(f"{variance}, first mean", mean, golden[f"{variance}_mean_step10"], 1e-12)
        near(f"{variance}, first sigma", sigma, golden[f"{variance}_sigma_step10"], 1e-12)
        draws = iter(noise[1:].flip(0)[:, None])
        image = idm.restore(predict, levels, (x[None] + 1) / 2, lambda d=draws: next(d), variance=variance)
        final = (golden[f"{variance}_final"][None] / 2 + 0.5).clamp(0, 1)
        near(f"{variance}, image", image, final, 1e-6)  # gamma goes to the network in float32


@pytest.mark.golden("restorers/paper_only/difbfsr.npz")
def test_difbfsr(case, near):
    with np.load(case) as file:
        golden = {name: torch.from_numpy(file[name]) for name in file.files}
    step, x_t, eps = int(golden["step"]), golden["x_t"], golden["eps"]
    a_bar = golden["alpha_bar_100"]
    schedule = Schedule(1 - a_bar[1:] / a_bar[:-1], golden["tau"][1:])  # the golden's index counts from a-bar = 1
    i = step - 1
    x_0 = schedule.predict_x0(x_t, i, eps)
    near("clean estimate", x_0, golden["x0_estimate"], 1e-12)
    x_hat = difbfsr.contract(x_0, golden["y_hat"], 4)
    near("contracted", x_hat, golden["x_hat"], 2e-6)  # their cubic is torch's, its weights in float32
    near("low frequencies", difbfsr.low_pass(golden["y_hat"], 4), golden["low_y_hat"], 2e-6)
    near("mean", schedule.posterior_mean(x_hat, x_t, i), golden["mean_recommended"], 2e-6)
    near("sigma", schedule.posterior_variance[i].sqrt(), golden["sigma_posterior"], 1e-12)
    near("loss", difbfsr.loss(golden["lr"], golden["hr"].double(), 4), golden["loss_mean_half"], 1e-8)
