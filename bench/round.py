"""One round of load on one server, with what it took of the processors."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.client import Round, run_round
from bench.exchange import Outcome, outcome
from bench.figures import CpuUse, Figures, round_figures
from bench.machine import busy_cpu_s
from bench.scenario import Lane
from bench.server import Server

MIN_WINDOW_S = 0.2  # the system counts in ticks of 10 ms: in a shorter round they say nothing


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
