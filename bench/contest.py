"""Contest: cases run by the contenders in turn, A B B A, and what came of it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench.case import Case, Host, Measure, Take
from bench.errors import BenchError
from bench.figures import Figures, Spread, across_rounds, ratios


@dataclass(slots=True)
class Series:
    """All rounds of one contender in one case. A round that failed has no figures."""

    name: str
    figures: list[Figures] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    details: list[dict[str, Any]] = field(default_factory=list)

    def add(self, take: Take) -> None:
        # a figure that the system does not tell is NaN, which is absent here
        self.figures.append({key: float(value) for key, value in take.figures.items() if value == value})
        self.faults += take.faults
        self.details.append(take.detail)


@dataclass(slots=True)
class Bout:
    """One case, measured: ours first, then the other if there is one."""

    case: Case
    series: list[Series]
    wall_s: float = 0.0

    def spread(self, series: Series, measure: Measure) -> Spread | None:
        return across_rounds(series.figures, measure.key)

    def gain(self, measure: Measure) -> Spread | None:
        """How many times better ours is, round by round; None where that cannot be said."""
        if len(self.series) != 2 or measure.higher is None:
            return None
        ours, theirs = (series.figures for series in self.series)
        return ratios(ours, theirs, measure.key) if measure.higher else ratios(theirs, ours, measure.key)


def order(n_rounds: int, n_contenders: int) -> list[tuple[int, int]]:
    """Pairs (round, contender): A B, B A, A B and so on, so that no one always comes second."""
    turns = range(n_contenders)
    return [(i, j) for i in range(n_rounds) for j in (turns if i % 2 == 0 else reversed(turns))]


def hold(case: Case, hosts: dict[str, Host], n_rounds: int, seed: int) -> Bout:
    """Run the case `n_rounds` times on each host, with the same prompts for both of a round.

    A server that does not start or dies is a fault of its round; the contest goes on.
    """
    bout = Bout(case, [Series(name) for name in hosts])
    pairs = list(zip(bout.series, hosts.values(), strict=True))
    began = time.perf_counter()
    for id_round, id_contender in order(n_rounds, len(pairs)):
        series, host = pairs[id_contender]
        host.begin(f"round {id_round + 1}/{n_rounds}")
        try:
            take = case.run(host, f"{seed}/{id_round}")
        except (BenchError, OSError) as error:
            take = Take(faults=Counter([str(error)]))
        series.add(take)
    bout.wall_s = time.perf_counter() - began
    return bout
