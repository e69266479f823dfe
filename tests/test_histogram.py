from __future__ import annotations

import pytest

from llamahttp.histogram import Distribution, Histogram


@pytest.mark.parametrize(
    ("value", "counts"),
    [(0, (1, 0, 0)), (1, (1, 0, 0)), (1.5, (0, 1, 0)), (2, (0, 1, 0)), (3, (0, 0, 1)), (float("inf"), (0, 0, 1))],
)
def test_a_bound_belongs_to_what_is_below_it(value: float, counts: tuple[int, ...]) -> None:
    histogram = Histogram((1, 2))
    histogram.observe(value)
    assert histogram.copy() == Distribution((1, 2), counts, value)


def test_values_that_come_several_times_are_counted_so() -> None:
    histogram = Histogram((1, 2))
    histogram.observe(1.5, 4)
    histogram.observe(0.5)
    assert histogram.copy() == Distribution((1, 2), (1, 4, 0), 6.5)


def test_two_together() -> None:
    one, other = Distribution((1, 2), (1, 4, 0), 6.5), Distribution((1, 2), (0, 1, 2), 9.0)
    assert one.plus(other) == Distribution((1, 2), (1, 5, 2), 15.5)
    assert one.plus(Distribution()) == Distribution().plus(one) == one


def test_a_copy_does_not_change() -> None:
    histogram = Histogram((1,))
    before = histogram.copy()
    histogram.observe(0)
    assert (before.counts, histogram.copy().counts) == ((0, 0), (1, 0))


def test_prometheus_counts_up_to_each_bound() -> None:
    assert Distribution((0.5, 1), (3, 0, 2), 9.0).cumulative() == [("0.5", 3), ("1.0", 3), ("+Inf", 5)]
    assert Distribution().cumulative() == [("+Inf", 0)]
