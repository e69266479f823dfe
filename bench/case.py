"""Case: one named scenario in one variant, what it measures and what a run of it gave."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from bench.exchange import Exchange, MalformedError, Outcome, body_pieces, data_events, outcome, parse_json
from bench.figures import Figures
from bench.scenario import Lane, Request
from bench.server import Server

Flag = tuple[str, ...]
"""A flag of a server with its value, if it has one: `("-np", "16")`."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of a case's table. `higher` says which direction is better; None for rows that are no contest."""

    key: str
    label: str
    unit: str
    digits: int
    higher: bool | None
    meaning: str


@dataclass(slots=True)
class Take:
    """What one run of a case gave: figures by the keys of its measures, faults, and raw values for the JSON."""

    figures: Figures = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    detail: dict[str, Any] = field(default_factory=dict)

    def check(self, exchanges: list[Exchange]) -> list[Outcome]:
        """Outcomes of ended exchanges; their faults are counted here."""
        outcomes = [outcome(exchange) for exchange in exchanges]
        self.faults.update(each.fault for each in outcomes if each.fault is not None)
        return outcomes


class Host(Protocol):
    """What a case gets to run on: fresh servers of one make, with one model."""

    @property
    def timeout_s(self) -> float:
        """For each request."""
        ...

    @property
    def n_vocab(self) -> int: ...

    @property
    def model(self) -> Path: ...

    def measure(self, server: Server, lanes: list[Lane]) -> tuple[list[Outcome], Figures]:
        """One round of load on one of its servers. BenchError when it has died."""
        ...

    def keep(self, *flags: Flag) -> Server:
        """A warm server that may have been asked before and will be asked again, with these flags."""
        ...

    def open(self, *flags: Flag, environment: Mapping[str, str] | None = None) -> AbstractContextManager[Server]:
        """A fresh, warm server, with more variables in its environment; flags that it does not know are left out."""
        ...

    def knows(self, flag: str) -> bool: ...

    def begin(self, heading: str) -> None:
        """Show that another run begins."""
        ...

    def tell(self, text: str) -> None:
        """Show how far the run is."""
        ...


class Case(Protocol):
    """A scenario. `measures` begins with the figure that stands for it in the summary."""

    @property
    def name(self) -> str: ...

    @property
    def variant(self) -> str:
        """Distinguishes cases of one name; may be empty."""
        ...

    @property
    def title(self) -> str: ...

    @property
    def model(self) -> str:
        """What it needs: a key of `bench.models.WRITERS`."""
        ...

    @property
    def measures(self) -> tuple[Measure, ...]: ...

    def run(self, host: Host, seed: str) -> Take:
        """Run once; the same seed gives the same prompts. BenchError when a server does not start or dies."""
        ...


def label_of(case: Case) -> str:
    return f"{case.name} {case.variant}".rstrip()


def completion(prompt: list[int], n_predict: int, *, stream: bool = True, **extra: Any) -> Request:
    """A greedy `/completion` of exactly `n_predict` tokens."""
    body = {"prompt": prompt, "n_predict": n_predict, "temperature": 0, "ignore_eos": True, "stream": stream} | extra
    return Request("native", json.dumps(body).encode(), n_predict, stream)


def answer_of(exchange: Exchange) -> dict[str, Any]:
    """The JSON object of an answer, the last one of a stream; empty when there is none."""
    if exchange.head is None:
        return {}
    try:
        if exchange.request.stream:
            return parse_json([data for _, data in data_events(exchange) if data != b"[DONE]"][-1])
        return parse_json(b"".join(piece for _, piece in body_pieces(exchange)))
    except (MalformedError, IndexError):
        return {}


def token_clock(exchange: Exchange) -> list[float]:
    """When its events with text arrived, in `time.perf_counter()` seconds."""
    return [exchange.sent_at + t for t in outcome(exchange).token_times]


def gaps_during(clocks: list[list[float]], begin: float, end: float) -> list[float]:
    """Seconds between neighbouring tokens of each stream, of those gaps that touch [begin, end)."""
    return list(_touching(clocks, lambda left, right: right > begin and left < end))


def gaps_before(clocks: list[list[float]], begin: float) -> list[float]:
    """The same, of the gaps that ended before `begin`."""
    return list(_touching(clocks, lambda left, right: right <= begin))


def _touching(clocks: list[list[float]], wanted: Callable[[float, float], bool]) -> Iterator[float]:
    for clock in clocks:
        for left, right in pairwise(clock):
            if wanted(left, right):
                yield right - left
