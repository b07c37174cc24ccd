"""How long a run will take: what is measured, when, and how it is said."""

import pytest
import torch

from flows import cost
from flows.cost import Line, Speed, Timed, table
from tasks.params.load import load_experiment


def test_a_speed_is_measured_again_until_the_device_is_idle_and_then_remembered(monkeypatch):
    measured = [Speed(4.0, 0.8), Speed(1.0, 0.02)]
    monkeypatch.setattr(Timed, "_measured", lambda *_: measured.pop(0))
    timed = Timed("prior", load_experiment("demo"))
    assert [timed.speed.seconds for _ in range(4)] == [4.0, 1.0, 1.0, 1.0]


def test_the_table_says_when_others_were_at_work():
    lines = [Line("restore", 10, 1, Speed(6.0, 0.01)), Line("prior", 2, 30, Speed(1.0, 0.64))]
    text = table(lines)
    assert "restore: 10 x 1 x 6 s" in text
    assert "about 2 min 0 s of networks" in text
    assert "(measured while other programs took 64% of it" in text
    assert "other programs" not in table(lines[:1])
    assert table([]) == "No network has anything to do: all results are there."


@pytest.mark.parametrize(("busy", "others"), [(100, (0.3, 1.0)), (0, (0.0, 0.0))])
def test_what_others_take_of_the_processors_is_what_is_not_ours(monkeypatch, busy, others):
    monkeypatch.setattr(cost.psutil, "cpu_percent", lambda: float(busy))
    monkeypatch.setattr(cost.psutil, "cpu_count", lambda: 4)
    speed = cost.quickest(lambda: torch.rand(300, 300) @ torch.rand(300, 300), torch.device("cpu"))
    assert others[0] <= speed.others <= others[1]
    assert speed.seconds > 0
