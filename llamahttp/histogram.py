"""Histograms: how values are distributed, as counts between fixed bounds.

One that is written by one thread is read by that thread only; others get copies. Not prometheus_client's, which takes a
lock and walks all bounds for each value: five times as long on the way of every token.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple


class Distribution(NamedTuple):
    """A copy of a histogram.

    bounds         b0    b1    b2       ascending
    counts     [0] | [1] | [2] | [3]    values v with b0 < v <= b1 are in [1]; one more than there are bounds
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)
    sum: float = 0.0

    def plus(self, other: Distribution) -> Distribution:
        """Both together; of histograms with the same bounds, or of an empty one."""
        if not self.bounds or not other.bounds:
            return self if self.bounds else other
        assert self.bounds == other.bounds
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Distribution(self.bounds, counts, self.sum + other.sum)

    def cumulative(self) -> list[tuple[str, int]]:
        """Pairs (upper bound, values up to it), the last one for +Inf, as Prometheus shows them."""
        pairs, n = [], 0
        for bound, count in zip((*map(repr, map(float, self.bounds)), "+Inf"), self.counts, strict=True):
            n += count
            pairs.append((bound, n))
        return pairs


EMPTY = Distribution()
"""Of nobody who observed anything."""


class Histogram:
    """Counts of the values that were observed."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, n: int = 1) -> None:
        """Count `value` `n` times."""
        self._counts[bisect_left(self._bounds, value)] += n
        self._sum += value * n

    def copy(self) -> Distribution:
        return Distribution(self._bounds, tuple(self._counts), self._sum)
