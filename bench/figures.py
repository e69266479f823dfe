"""Figures: from the outcomes of a round to numbers, from the numbers of rounds to medians and ratios. Pure.

What each figure means is said in `METRICS`; nothing else decides it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from statistics import median
from typing import Literal

from bench.exchange import Outcome


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the report. `higher` says which direction is better; None for rows that are no contest.

    `when` says in which tables the row stands: of streamed answers, of whole ones, or in all.
    """

    key: str
    label: str
    digits: int
    higher: bool | None
    when: Literal["streamed", "whole", "always"]
    meaning: str


# fmt: off
METRICS = (
    Metric("tokens_per_s", "tokens/s", 1, True, "always",
           "tokens of all streams, from the first request sent to the last one answered"),
    Metric("requests_per_s", "requests/s", 1, True, "whole",
           "answers without a fault, over the same time"),
    Metric("ttft_p50", "TTFT p50 ms", 2, False, "streamed",
           "from sending a request to its first event with text; median"),
    Metric("ttft_p95", "TTFT p95 ms", 2, False, "streamed",
           "the same, 95th percentile of the requests of a round"),
    Metric("ttft_p99", "TTFT p99 ms", 2, False, "streamed",
           "the same, 99th percentile"),
    Metric("gap_p50", "inter-token p50 ms", 3, False, "streamed",
           "between token events of a stream, all gaps of a round pooled; median"),
    Metric("gap_p95", "inter-token p95 ms", 3, False, "streamed",
           "the same, 95th percentile"),
    Metric("gap_p99", "inter-token p99 ms", 3, False, "streamed",
           "the same, 99th percentile"),
    Metric("latency_p50", "latency p50 ms", 2, False, "whole",
           "from sending a request to the last byte of its answer; median"),
    Metric("latency_p95", "latency p95 ms", 2, False, "whole",
           "the same, 95th percentile"),
    Metric("events_per_token", "events/token", 3, None, "streamed",
           "below 1 when the server sends several tokens in one event"),
    Metric("server_cpu_per_token", "server CPU us/token", 0, False, "always",
           "processor time of the server's processes"),
    Metric("client_cpu", "client CPU %", 1, None, "always",
           "processor time of this program, in percent of one core"),
    Metric("idle_cpu", "idle server CPU %", 1, None, "always",
           "processor time of the other server meanwhile, in percent of one core"),
    Metric("others_cpu", "other programs CPU %", 1, None, "always",
           "processor time of everything else on the machine, in percent of one core"),
)
# fmt: on

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class CpuUse:
    """What a round took of the processors: seconds, or shares of one core; None where it cannot be known."""

    client_s: float
    server_s: float | None = None
    idle_share: float | None = None
    others_share: float | None = None


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of the values lie, linear between neighbours (numpy's default rule).

    ValueError when there are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    low, high = ordered[floor(at)], ordered[ceil(at)]
    return low + (high - low) * (at - floor(at))


def round_figures(outcomes: list[Outcome], wall_s: float, cpu: CpuUse) -> Figures:
    """The figures of one round, keyed as in METRICS; a figure without data is absent.

    Tokens of faulty answers count, since the server made them; their times and the answers themselves do not.
    """
    whole = [outcome for outcome in outcomes if outcome.fault is None]
    n_tokens = sum(outcome.n_predicted for outcome in outcomes)
    figures: Figures = {"tokens_per_s": n_tokens / wall_s, "requests_per_s": len(whole) / wall_s}
    ttfts = [outcome.ttft for outcome in whole if outcome.ttft is not None]
    gaps = [gap for outcome in whole for gap in outcome.gaps]
    latencies = [outcome.latency for outcome in whole]
    for name, values, percents in (
        ("ttft", ttfts, (50, 95, 99)),
        ("gap", gaps, (50, 95, 99)),
        ("latency", latencies, (50, 95)),
    ):
        if values:
            figures |= {f"{name}_p{percent}": percentile(values, percent) * 1e3 for percent in percents}
    n_events = sum(len(outcome.token_times) for outcome in outcomes)
    if n_events and n_tokens:
        figures["events_per_token"] = n_events / n_tokens
    if cpu.server_s is not None and n_tokens:
        figures["server_cpu_per_token"] = cpu.server_s / n_tokens * 1e6
    figures["client_cpu"] = cpu.client_s / wall_s * 100
    if cpu.idle_share is not None:
        figures["idle_cpu"] = cpu.idle_share * 100
    if cpu.others_share is not None:
        figures["others_cpu"] = cpu.others_share * 100
    return figures


def fault_counts(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(outcome.fault for outcome in outcomes if outcome.fault is not None)


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over rounds, of which there is one at least."""

    values: tuple[float, ...]

    @classmethod
    def over(cls, values: Sequence[float]) -> Spread:
        return cls(tuple(values))

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


def across_rounds(rounds: list[Figures], key: str) -> Spread | None:
    """One figure over all rounds that have it; None when none has."""
    values = [figures[key] for figures in rounds if key in figures]
    return Spread.over(values) if values else None


def ratios(ours: list[Figures], theirs: list[Figures], key: str) -> Spread | None:
    """A / B round by round, so that what slows a machine for a while slows both halves of a ratio.

    A round that only one of them has, because the run was interrupted, has none.
    """
    pairs = [(a[key], b[key]) for a, b in zip(ours, theirs, strict=False) if key in a and b.get(key)]
    return Spread.over([a / b for a, b in pairs]) if pairs else None
