"""Every sampler and method on a pretended GPU (the second of two) and on Apple's; no wait inside a sampler's loop."""

from functools import cache, partial

import pytest
import torch
from pydantic import TypeAdapter
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.basics import WEIGHTS
from tasks.diffusion.fast import for_sampling
from tasks.diffusion.priors import load_prior
from tasks.diffusion.samplers import ddim_sample, ddim_sample_raw
from tasks.diffusion.schedule import Schedule
from tasks.methods import difface, idm
from tasks.methods.dt_bfr import pseudo_targets, second_order_targets, unconditional_targets
from tasks.methods.method import Networks
from tasks.methods.table import Settings
from tasks.noise import ImageStreams
from tasks.restorers.network import NetworkSpec

DEMO = WEIGHTS / "demo"
DEVICES = {"cuda": torch.device("cuda", 1), "mps": torch.device("mps", 0)}
IDS = ["a", "b"]
CHAIN = {"respacing": "5"}
METHODS = {
    "difface": {"kind": "difface", "start_t": 400, "eta": 0.5} | CHAIN,
    "difface of second order": {"kind": "difface", "start_t": 400, "eta": 0.5, "sampler": "dpm_solver"} | CHAIN,
    "noise_denoise": {"kind": "noise_denoise", "start_t": 300} | CHAIN,
    "gen2res": {"kind": "gen2res", "start_t": 300, "album": 1, "skip": 2, "guided_t": 200, "scale": 0.3}
    | {"iterations": 1, "batch": 1, "lr": 1e-5, "respacing": "4"},
    "idm": {"kind": "idm", "arch": "idm128", "steps": 2},
    **{
        f"difbfsr {modules}": {"kind": "difbfsr", "respacing": "3", "scale": 4, "factor": 4, "width": 8}
        | {"modules": modules}
        for modules in ("both", "srm", "cfm", "none")
    },
    "difface_inpaint": {"kind": "difface_inpaint", "start_t": 480, "eta": 1} | CHAIN,
    "difface_inpaint, closed form": {"kind": "difface_inpaint", "start_t": 480, "eta": 1, "lambda_known": 1.0} | CHAIN,
    "swinir": {"kind": "feed_forward", "arch": "swinir"},
    "lama": {"kind": "feed_forward", "arch": "lama"},
}


def networks_of(name):
    if name in ("swinir", "lama", "idm"):
        return Networks(DEMO / f"{name}.safetensors")
    estimator = "lama" if name.startswith("difface_inpaint") else "swinir"
    return Networks(
        DEMO / "prior.safetensors", "demo128", NetworkSpec(arch=estimator, weights=DEMO / f"{estimator}.safetensors")
    )


def restored(name: str, device: torch.device) -> torch.Tensor:
    lq = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    lq[:, :, 5:15, 5:20] = 0
    method = TypeAdapter(Settings).validate_python(METHODS[name])
    return method.build(networks_of(name), 0, device)(lq.to(device), IDS)


@cache
def restored_on_the_cpu(name: str) -> torch.Tensor:
    return restored(name, torch.device("cpu"))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", DEVICES)
def test_a_method_stays_on_its_device_and_gives_what_the_cpu_gives(pretend, kind, name):
    expected = restored_on_the_cpu(name)
    its, device = pretend(kind), DEVICES[kind]
    with its.devices():
        made = restored(name, device)
        assert made.device == device
        found = made.cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


class Counting(TorchDispatchMode):
    """How many operations the device is given."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_on_a_gpu_difbfsr_fits_the_networks_of_a_batch_by_the_operations_of_one_photo(pretend):
    method = TypeAdapter(Settings).validate_python(METHODS["difbfsr both"])
    counts = []
    for n in (1, 8):
        with pretend("cuda").devices():
            guides = method.guides(torch.zeros(n, 3, 16, 16).to(DEVICES["cuda"]), [str(k) for k in range(n)], 0)
            with Counting() as counting:
                guides.step()
        counts.append(counting.count)
    assert counts[1] == counts[0]


SCHEDULE = Schedule.linear().respace("8")  # steps are whole numbers here, so it keeps nothing of a device
SAMPLERS = {
    "Algorithm 1": lambda prior, y0, draw: pseudo_targets(prior, SCHEDULE, y0, draw, start=3, reg_end=2, factor=4),
    "without its constraint": lambda prior, y0, draw: unconditional_targets(prior, SCHEDULE, y0, draw, start=3),
    "of second order": lambda prior, y0, draw: second_order_targets(
        prior, SCHEDULE, y0, draw, start=3, reg_end=2, factor=4
    ),
    "difface": lambda prior, y0, draw: difface.restore(prior, SCHEDULE, y0, draw, start=3, eta=0.5),
    "ddim": lambda prior, y0, draw: ddim_sample(prior, SCHEDULE, y0, 3, draw(), eta=0.5),
    "ddim of DifFace": lambda prior, y0, draw: ddim_sample_raw(prior, SCHEDULE, y0, 3, draw(), eta=0.5),
    "idm": lambda prior, y0, draw: idm.restore(lambda x, y, gamma: y, idm.sampling_levels(3), y0, draw),
}


@pytest.mark.parametrize(("name", "is_half"), [*((name, False) for name in SAMPLERS), ("Algorithm 1", True)])
@torch.no_grad()
def test_no_step_of_a_sampler_waits_for_the_device(pretend, name, is_half):
    its, device = pretend("cuda"), DEVICES["cuda"]
    with its.devices(), torch.autocast("cuda", torch.bfloat16, enabled=is_half):
        prior = for_sampling(load_prior("demo128", DEMO / "prior.safetensors", device), device, is_half)
        y0 = torch.rand(2, 3, 32, 32).to(device)
        draw = partial(ImageStreams(0, "s", IDS, device).normal, 3, 32, 32)
        draw()
        SAMPLERS[name](prior, y0, draw)  # fills caches
        its.waits.clear()
        result = SAMPLERS[name](prior, y0, draw)
        assert result.device == device
    assert not its.waits
