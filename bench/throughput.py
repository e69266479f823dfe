"""Throughput: equal clients that ask at once and go on asking, on a warm server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from bench.case import Flag, Host, Measure, Take
from bench.figures import METRICS, Metric, fault_counts
from bench.scenario import Streams

SERVER: tuple[Flag, ...] = (("-np", "32"), ("-c", "32768"))
"""For all of them the same flags, so that one server of each make serves them all."""


def measure_of(metric: Metric) -> Measure:
    return Measure(metric.key, metric.label, "", metric.digits, metric.higher, metric.meaning)


@dataclass(frozen=True, slots=True)
class Throughput:
    """Rounds of one scenario. `headline` is the key of the metric that stands for it."""

    name: str
    streams: Streams
    model: str = "dense"
    flags: tuple[Flag, ...] = SERVER
    headline: str = "tokens_per_s"
    variant: str = ""

    @property
    def title(self) -> str:
        return self.streams.title

    @property
    def measures(self) -> tuple[Measure, ...]:
        kinds = ("always", "streamed" if self.streams.stream else "whole")
        has_tokens = self.streams.dialect != "embedding"
        fitting = [metric for metric in METRICS if metric.when in kinds and (has_tokens or "token" not in metric.key)]
        fitting.sort(key=lambda metric: metric.key != self.headline)
        return tuple(measure_of(metric) for metric in fitting)

    def run(self, host: Host, seed: str) -> Take:
        server = host.keep(*self.flags)
        # The first request of each client pays for what is done once, which is not what is asked here.
        short = replace(self.streams, n_predict=2, n_requests=1, seed=f"{seed}/warm-up")
        warm, _ = host.measure(server, short.lanes(0, host.n_vocab))
        lanes = replace(self.streams, seed=seed).lanes(0, host.n_vocab)
        outcomes, figures = host.measure(server, lanes)
        known = {measure.key for measure in self.measures}
        faults = fault_counts(warm + outcomes)
        return Take({key: value for key, value in figures.items() if key in known}, faults)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a fresh server holds in memory, before and after load."""

    n_streams: int = 16
    model: str = "dense"

    name: ClassVar[str] = "memory"
    # fmt: off
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("rss_load", "RSS after load", "MiB", 0, False, "resident memory of all its processes"),
        Measure("rss_start", "RSS at the start", "MiB", 0, False, "the same, after a few short requests"),
    )
    # fmt: on

    @property
    def variant(self) -> str:
        return "" if self.model == "dense" else self.model

    @property
    def title(self) -> str:
        return f"resident memory, before and after {self.n_streams} streams of 512 + 128 tokens"

    def run(self, host: Host, seed: str) -> Take:
        streams = Streams(self.n_streams, n_prompt=512, seed=seed)
        with host.open(("-np", str(self.n_streams)), ("-c", str(self.n_streams * 1024))) as server:
            before = server.rss_bytes()
            outcomes, _ = host.measure(server, streams.lanes(0, host.n_vocab))
            after = server.rss_bytes()
        figures = {"rss_start": before, "rss_load": after}
        known = {key: n_bytes / 2**20 for key, n_bytes in figures.items() if n_bytes is not None}
        return Take(known, fault_counts(outcomes))
