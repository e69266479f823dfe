"""Meter: drives rounds of a scenario, one server after the other, and collects what came of them."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from bench.client import Round, run_round
from bench.exchange import Outcome, outcome
from bench.figures import CpuUse, Figures, fault_counts, round_figures
from bench.machine import busy_cpu_s
from bench.report import Result, Series
from bench.scenario import Lane, Scenario
from bench.server import Server

MIN_WINDOW_S = 0.2  # the system counts in ticks of 10 ms: in a shorter round they say nothing


def say(text: str) -> None:
    """Progress goes to stderr, the report to stdout."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class CpuReading:
    """Processor seconds used so far: by each server that is known, by this program and by the machine.

    `at` is `time.perf_counter()` seconds.
    """

    at: float
    client: float
    servers: dict[str, float]
    machine: float | None

    @classmethod
    def take(cls, servers: list[Server]) -> CpuReading:
        readings = {server.name: server.cpu_s() for server in servers}
        known = {name: seconds for name, seconds in readings.items() if seconds is not None}
        return cls(time.perf_counter(), time.process_time(), known, busy_cpu_s())


def play_round(
    server: Server, lanes: list[Lane], timeout_s: float, servers: list[Server], api_key: str | None = None
) -> tuple[list[Outcome], Figures]:
    """One round of load on one of the servers that are up. BenchError when one of them has died."""
    before = CpuReading.take(servers)
    raw = run_round(server.address, lanes, timeout_s, api_key)
    cpu = cpu_use(server, servers, raw, before, CpuReading.take(servers))
    for each in servers:
        each.check_alive()
    outcomes = [outcome(exchange) for exchange in raw.exchanges]
    return outcomes, round_figures(outcomes, raw.wall_s, cpu)


def cpu_use(server: Server, servers: list[Server], raw: Round, before: CpuReading, after: CpuReading) -> CpuUse:
    window_s = after.at - before.at
    if window_s < MIN_WINDOW_S:
        return CpuUse(client_s=raw.client_cpu_s)
    spent = {name: after.servers[name] - before.servers[name] for name in before.servers.keys() & after.servers.keys()}
    others_s = None
    # What other programs took is known only if the share of every server is.
    if before.machine is not None and after.machine is not None and len(spent) == len(servers):
        others_s = after.machine - before.machine - (after.client - before.client) - sum(spent.values())
    return CpuUse(
        client_s=raw.client_cpu_s,
        server_s=spent.get(server.name),
        idle_share=next((seconds / window_s for name, seconds in spent.items() if name != server.name), None),
        others_share=None if others_s is None else max(0.0, others_s / window_s),
    )


@dataclass(frozen=True, slots=True)
class Meter:
    """Measures `n_rounds` rounds a server after one of warm-up; `timeout_s` bounds each request."""

    servers: list[Server]
    n_rounds: int
    timeout_s: float
    api_key: str | None = None

    def measure(self, scenario: Scenario) -> Result:
        """Rounds in turn, A B A B. Faults of the warm-up count, its figures do not.

        BenchError when a server has died.
        """
        say(f"\n{scenario.title}")
        result = Result(scenario.title, [Series(server.name) for server in self.servers])
        # Both get the same token ids, so the smaller vocabulary decides.
        n_vocab = min(server.n_vocab for server in self.servers)
        for id_round in range(self.n_rounds + 1):
            for server, series in zip(self.servers, result.series, strict=True):
                lanes = scenario.lanes(id_round, n_vocab)
                outcomes, figures = play_round(server, lanes, self.timeout_s, self.servers, self.api_key)
                series.faults += fault_counts(outcomes)
                if id_round:
                    series.figures.append(figures)
                    series.outcomes.append(outcomes)
                self._tell(id_round, server, figures)
        return result

    def _tell(self, id_round: int, server: Server, figures: Figures) -> None:
        stage = f"round {id_round}/{self.n_rounds}" if id_round else "warm-up"
        tokens, requests = figures["tokens_per_s"], figures["requests_per_s"]
        say(f"{stage:<10} {server.name} {tokens:10.1f} tokens/s {requests:9.1f} requests/s")
