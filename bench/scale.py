"""Scale: what a step, a request or a connection costs as there are more of something."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import ClassVar, Protocol

from bench.case import Case, Flag, Host, Measure, Take, answer_of, completion
from bench.client import Client, run_round
from bench.errors import BenchError
from bench.exchange import Outcome
from bench.figures import fault_counts
from bench.scenario import Lane, Request, Streams, random_tokens
from bench.server import Server

N_MEASURED = 100
"""Requests that a point of the prompt cache is measured by, the last ones before it."""
N_FILES = 4_096  # open files that this process and the servers it starts may have


class Sweep(Case, Protocol):
    """A case whose figures are the points of a curve: for each of `points` one, under `key_of(point)`."""

    @property
    def points(self) -> tuple[int, ...]: ...

    @property
    def of(self) -> str:
        """What there are `points` of."""
        ...


def key_of(point: int) -> str:
    return f"us_{point}"


def measures_of(points: Sequence[int], of: str, meaning: str) -> tuple[Measure, ...]:
    """One a point, the largest first: it stands for the curve."""
    largest_first = sorted(points, reverse=True)
    return tuple(Measure(key_of(n), f"{n:,} {of}".replace(",", " "), "us", 0, False, meaning) for n in largest_first)


def step_us(outcomes: list[Outcome]) -> float:
    """Microseconds between two tokens of a stream, of each the mean, which events with several tokens leave alone."""
    spans = [
        (each.token_times[-1] - each.token_times[0]) / (each.n_predicted - 1)
        for each in outcomes
        if each.fault is None and each.n_predicted > 1
    ]
    return 1e6 * median(spans) if spans else float("nan")


@dataclass(frozen=True, slots=True)
class Slots:
    """All of one server's slots are there, and ever more of them generate."""

    points: tuple[int, ...] = (1, 4, 16, 64, 128, 256)
    n_predict: int = 48

    name: ClassVar[str] = "scale"
    variant: ClassVar[str] = "slots"
    model: ClassVar[str] = "dense"
    of: ClassVar[str] = "generating slots"
    title: ClassVar[str] = "a step as more slots generate"

    @property
    def measures(self) -> tuple[Measure, ...]:
        return measures_of(self.points, self.of, "between two tokens of a stream")

    def run(self, host: Host, seed: str) -> Take:
        n_most = max(self.points)
        server = host.keep(("-np", str(n_most)), ("-c", str(256 * n_most)))
        take = Take()
        for n in self.points:
            lanes = Streams(n, self.n_predict, n_prompt=8, seed=f"{seed}/{n}").lanes(0, host.n_vocab)
            outcomes, _ = host.measure(server, lanes)
            take.faults += fault_counts(outcomes)
            take.figures[key_of(n)] = step_us(outcomes)
            host.tell(f"{n} slots")
        return take


@dataclass(frozen=True, slots=True)
class Context:
    """One stream behind an ever longer prompt, which a cache knows all but the end of."""

    points: tuple[int, ...] = (64, 4_096, 8_192, 16_384, 32_000)
    n_predict: int = 48

    name: ClassVar[str] = "scale"
    variant: ClassVar[str] = "context"
    model: ClassVar[str] = "dense"
    of: ClassVar[str] = "tokens of context"
    title: ClassVar[str] = "a step as the context grows"

    @property
    def measures(self) -> tuple[Measure, ...]:
        return measures_of(self.points, self.of, "between two tokens of the stream")

    def run(self, host: Host, seed: str) -> Take:
        server = host.keep(("-np", "1"), ("-c", str(-(-(max(self.points) + self.n_predict) // 256) * 256)))
        tokens = random_tokens(seed, max(self.points), host.n_vocab)
        take = Take()
        for n in self.points:
            outcomes, _ = host.measure(server, [[completion(tokens[:n], self.n_predict)]])
            take.faults += fault_counts(outcomes)
            take.figures[key_of(n)] = step_us(outcomes)
            host.tell(f"{n} tokens")
        return take


@dataclass(frozen=True, slots=True)
class Entries:
    """Requests that nothing is cached for, while the prompt cache holds ever more of those that were."""

    points: tuple[int, ...] = (100, 1_000, 2_500, 5_000, 7_500, 10_000)
    n_clients: int = 4
    n_prompt: int = 48

    name: ClassVar[str] = "scale"
    variant: ClassVar[str] = "cache"
    model: ClassVar[str] = "small"
    of: ClassVar[str] = "cached prompts"
    title: ClassVar[str] = "a request as the prompt cache grows"

    @property
    def measures(self) -> tuple[Measure, ...]:
        return measures_of(self.points, self.of, "wall time of a one-token request, of all clients together")

    def run(self, host: Host, seed: str) -> Take:
        flags: list[Flag] = [("-np", str(self.n_clients)), ("-c", str(512 * self.n_clients)), ("--cache-ram", "-1")]
        take = Take()
        n_done = 0
        with host.open(*flags) as server:
            for n in self.points:
                if n - n_done > N_MEASURED:
                    self._ask(host, server, self._lanes(f"{seed}/{n}", n - n_done - N_MEASURED, host.n_vocab), take)
                lanes = self._lanes(f"{seed}/{n}/measured", N_MEASURED, host.n_vocab)
                take.figures[key_of(n)] = self._ask(host, server, lanes, take)
                n_done = n
                host.tell(f"{n} prompts")
            rss = server.rss_bytes()
            first = self._lanes(f"{seed}/{self.points[0]}/measured", N_MEASURED, host.n_vocab)[0][0]
            self._check_cached(host, server, first, take)
        take.detail["rss_mib"] = rss and rss / 2**20
        return take

    def _lanes(self, seed: str, n: int, n_vocab: int) -> list[Lane]:
        """`n` requests in all."""
        n_each = n // self.n_clients
        return Streams(self.n_clients, 1, self.n_prompt, n_requests=n_each, stream=False, seed=seed).lanes(0, n_vocab)

    def _ask(self, host: Host, server: Server, lanes: list[Lane], take: Take) -> float:
        """Microseconds for each request."""
        outcomes, figures = host.measure(server, lanes)
        take.faults += fault_counts(outcomes)
        return 1e6 / figures["requests_per_s"] if figures["requests_per_s"] else float("nan")

    def _check_cached(self, host: Host, server: Server, request: Request, take: Take) -> None:
        """The points are what they say only if nothing was dropped meanwhile."""
        exchange = run_round(server.address, [[request]], host.timeout_s).exchanges[0]
        timings = answer_of(exchange).get("timings") or {}
        if timings.get("cache_n", 0) < self.n_prompt - 1:
            take.faults["the first prompt is not cached any more"] += 1


@dataclass(frozen=True, slots=True)
class Connections:
    """Clients that ask for one token again and again, beside others that are connected and say nothing."""

    n_idle: int = 1_000
    points: tuple[int, ...] = (25, 50, 100, 200)
    n_requests: int = 5

    name: ClassVar[str] = "scale"
    model: ClassVar[str] = "small"
    of: ClassVar[str] = "active clients"

    @property
    def variant(self) -> str:
        return f"connections, {self.n_idle} idle"

    @property
    def title(self) -> str:
        return f"a request as there are more clients, beside {self.n_idle} idle connections"

    @property
    def measures(self) -> tuple[Measure, ...]:
        return measures_of(self.points, self.of, "wall time of a one-token request, of all clients together")

    def run(self, host: Host, seed: str) -> Take:
        server = host.keep(("-np", "16"), ("-c", "8192"))
        take = Take()
        with idle(server, self.n_idle):
            for n in self.points:
                streams = Streams(n, 1, 16, n_requests=self.n_requests, stream=False, seed=f"{seed}/{n}")
                outcomes, figures = host.measure(server, streams.lanes(0, host.n_vocab))
                take.faults += fault_counts(outcomes)
                take.figures[key_of(n)] = 1e6 / figures["requests_per_s"]
                host.tell(f"{n} clients")
        return take


@contextmanager
def idle(server: Server, n: int) -> Iterator[None]:
    """`n` connections that are open meanwhile. BenchError when the server or the system does not take so many."""
    clients = [Client(server.address, [], 10.0) for _ in range(n)]
    try:
        for client in clients:
            client.connect()
        yield
    except OSError as error:
        raise BenchError(f"{n} idle connections: {error}") from None
    finally:
        for client in clients:
            client.disconnect()


def allow_files() -> None:
    """Let this process and those that it starts have enough connections, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < N_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(N_FILES, hard), hard))
