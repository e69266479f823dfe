"""Contest: cases played by the contenders in turn, A B B A, and what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bench.case import Case, Measure, Take
from bench.errors import BenchError
from bench.figures import Figures, Spread, across_rounds, ratios


class Player(Protocol):
    """One who plays cases: a server of some make, or libllama without any."""

    def begin(self, heading: str) -> None:
        """Show that another run begins."""
        ...

    def play(self, case: Case, seed: str) -> Take:
        """One run; the same seed gives the same prompts. BenchError when that cannot be done."""
        ...


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
    """One case, measured: ours first, then those that it is compared with."""

    case: Case
    series: list[Series]
    wall_s: float = 0.0

    @classmethod
    def of(cls, case: Case, names: Sequence[str]) -> Bout:
        return cls(case, [Series(name) for name in names])

    @property
    def has_figures(self) -> bool:
        return any(figures for series in self.series for figures in series.figures)

    def spread(self, series: Series, measure: Measure) -> Spread | None:
        return across_rounds(series.figures, measure.key)

    def gain(self, measure: Measure, versus: int = 1) -> Spread | None:
        """How many times better ours is than another, round by round; None where that cannot be said."""
        if len(self.series) <= versus or measure.higher is None:
            return None
        ours, theirs = self.series[0].figures, self.series[versus].figures
        return ratios(ours, theirs, measure.key) if measure.higher else ratios(theirs, ours, measure.key)


def order(n_rounds: int, n_contenders: int) -> list[tuple[int, int]]:
    """Pairs (round, contender): A B, B A, A B and so on, so that no one always comes second."""
    turns = range(n_contenders)
    return [(i, j) for i in range(n_rounds) for j in (turns if i % 2 == 0 else reversed(turns))]


def hold(bout: Bout, players: Mapping[str, Player], n_rounds: int, seed: int, until: float | None = None) -> None:
    """Play the bout's case `n_rounds` times with each player, with the same prompts for all of a round.

    No round but the first begins after `until`, in `time.monotonic()` seconds. A server that does not start or dies is
    a fault of its round; the contest goes on.
    """
    began = time.perf_counter()
    try:
        for id_round, id_player in order(n_rounds, len(bout.series)):
            n_played = [len(series.figures) for series in bout.series]
            if id_round and until is not None and time.monotonic() > until and len(set(n_played)) == 1:
                return
            series = bout.series[id_player]
            player = players[series.name]
            player.begin(f"round {id_round + 1}/{n_rounds}")
            try:
                take = player.play(bout.case, f"{seed}/{id_round}")
            except (BenchError, OSError) as error:
                take = Take(faults=Counter([str(error)]))
            series.add(take)
    finally:
        bout.wall_s += time.perf_counter() - began
