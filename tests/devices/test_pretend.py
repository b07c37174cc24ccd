"""The pretended devices refuse and note what real ones do."""

import pytest
import torch
from devices.pretend import Mixed


def test_tensors_of_two_devices_do_not_meet(pretend):
    with pretend("cuda").devices():
        here, there = torch.ones(3, device="cuda:0"), torch.ones(3).to("cuda:1")
        assert str((here + 1).device) == "cuda:0"
        for other in (there, torch.ones(3)):
            with pytest.raises(Mixed, match="test_pretend"):
                here + other
        with pytest.raises(Mixed, match="a table on the CPU"):
            torch.ones(3)[here.long()]


def test_arrays_of_a_device_s_tensors_are_refused(pretend):
    with pretend("cuda").devices(), pytest.raises(TypeError, match="numpy"):
        torch.ones(3, device="cuda").numpy()


def test_apple_has_no_float64(pretend):
    with pretend("mps").devices():
        x = torch.ones(3, device="mps")
        for refused in (x.double, lambda: x.to(torch.float64), lambda: torch.ones(3, dtype=torch.float64).to("mps")):
            with pytest.raises(TypeError, match="float64"):
                refused()


def test_waits_are_noted(pretend):
    its = pretend("cuda")
    with its.devices():
        x = torch.ones(3, device="cuda")
        x = x * 2 + torch.arange(3, device="cuda")
        y = torch.ones(3).pin_memory()[1:].to("cuda", non_blocking=True)
        assert not its.waits
        for waiting in (
            x.cpu,
            x.sum().item,
            x.tolist,
            lambda: x[x > 1],
            lambda: torch.ones(3).to("cuda"),
            lambda: bool(y[0] > 0),
        ):
            its.waits.clear()
            waiting()
            assert its.waits
