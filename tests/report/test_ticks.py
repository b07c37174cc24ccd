"""Axes: round values, where they belong."""

import pytest

from tasks.report.ticks import ticks


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (24.28, 25.82, ["24.5", "25.0", "25.5"]),
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (1, 250, ["50", "100", "150", "200", "250"]),
        (-0.003, 0.001, ["−0.003", "−0.002", "−0.001", "0.000", "0.001"]),
        (7.0, 7.0, ["7"]),
    ],
)
def test_the_values_are_round_and_few(low, high, texts):
    assert [tick.text for tick in ticks(low, high, 0, 1)] == texts


def test_a_value_lies_where_the_line_between_the_ends_has_it():
    (two, four) = ticks(1.5, 4.5, 30, 0)[:2]
    assert (two.text, four.text) == ("2", "3")
    assert (two.place, four.place) == pytest.approx((25, 15))


def test_a_negated_axis_runs_the_other_way():
    found = ticks(-30, -20, 0, 10, sign=-1)
    assert [(tick.text, tick.place) for tick in found] == [(str(30 - n), n) for n in range(0, 11, 2)]
