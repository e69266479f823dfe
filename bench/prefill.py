"""Cases about long prompts: shared by many, arriving among streams, in front of a short one, and left halfway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan
from typing import ClassVar

from bench.address import Address
from bench.case import Flag, Host, Measure, Take, answer_of, completion, gaps_before, gaps_during, token_clock
from bench.client import quiet_collector
from bench.errors import BenchError
from bench.exchange import Exchange
from bench.figures import Figures, percentile
from bench.scenario import Request, random_tokens
from bench.slots import SlotWatch
from bench.stage import Stage, has_text

N_ENDING = 32  # tokens of its own that a prompt has behind a shared prefix
N_LEAD = 8  # reads of a stream before it counts as running
LEAD_S = 0.5  # that all streams run for before anything else happens
NEXT_TOKEN_S = 30.0
IDLE_TIMEOUT_S = 60.0
PARTS = (0.5, 0.25, 0.125)  # of the time for the whole prompt, after which the client leaves
STREAM_CELLS = 8_192  # context of a slot at least: a stream must outlast the long prompt


def context(n_slots: int, n_slot: int) -> list[Flag]:
    """Flags for `n_slots` slots of at least `n_slot` tokens each."""
    per_slot = -(-n_slot // 256) * 256  # libllama pads what a sequence gets
    return [("-np", str(n_slots)), ("-c", str(n_slots * per_slot))]


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """All clients send at once: one prefix in common, nothing of it cached."""

    n_clients: int = 16
    n_prefix: int = 3_000
    unified: bool = False

    name: ClassVar[str] = "shared-prefix"
    model: ClassVar[str] = "dense"
    # fmt: off
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("all_s", "until all have a first token", "s", 2, False,
                "from the first request sent to the first token of the last client"),
        Measure("first_s", "until one has a first token", "s", 2, False,
                "the same, of the first client"),
        Measure("computed", "prompt tokens computed", "", 0, False,
                "of all requests, as the servers' timings say"),
    )
    # fmt: on

    @property
    def variant(self) -> str:
        return "-kvu" if self.unified else ""

    @property
    def title(self) -> str:
        pool = "one unified KV pool" if self.unified else "a KV stream for each slot"
        return f"{self.n_clients} clients at once, {self.n_prefix} tokens in common + {N_ENDING} each, {pool}"

    def run(self, host: Host, seed: str) -> Take:
        take = Take()
        prefix = random_tokens(seed, self.n_prefix, host.n_vocab)
        requests = [
            completion(prefix + random_tokens(f"{seed}/{i}", N_ENDING, host.n_vocab), 1) for i in range(self.n_clients)
        ]
        flags = context(self.n_clients, self.n_prefix + N_ENDING + 64)
        with host.open(*flags, *([("-kvu",)] if self.unified else [])) as server:
            with Stage(server.address, host.timeout_s) as stage, quiet_collector():
                exchanges = stage.ask(requests)
                stage.finish(exchanges)
        firsts = first_tokens(take, exchanges)
        if len(firsts) == self.n_clients:
            take.figures = {"all_s": max(firsts), "first_s": min(firsts)}
            computed = [(answer_of(each).get("timings") or {}).get("prompt_n", nan) for each in exchanges]
            take.figures["computed"] = sum(computed)
        take.detail["first_token_s"] = firsts
        return take


def first_tokens(take: Take, exchanges: list[Exchange]) -> list[float]:
    """Seconds from sending the first of the requests to the first token of each one that had any."""
    outcomes = take.check(exchanges)
    return [
        exchange.sent_at - exchanges[0].sent_at + outcome.ttft
        for exchange, outcome in zip(exchanges, outcomes, strict=True)
        if outcome.ttft is not None
    ]


@dataclass(slots=True)
class Running:
    """Streams at work, and the stage that they are on."""

    stage: Stage
    streams: list[Exchange]
    address: Address

    def slots(self) -> SlotWatch:
        return SlotWatch(self.address)

    @property
    def clocks(self) -> list[list[float]]:
        """When the tokens of each stream came. For when the streams have ended."""
        return [token_clock(stream) for stream in self.streams]

    def wait_for_tokens(self) -> None:
        """Play until every stream has had one more."""
        seen = [len(stream.reads) for stream in self.streams]
        pairs = list(zip(self.streams, seen, strict=True))
        self.stage.play(lambda: all(len(s.reads) > n or s.ended_at is not None for s, n in pairs), NEXT_TOKEN_S)

    def end(self, take: Take) -> None:
        """Leave the streams. One that has ended already is a fault: it did not last as long as the measurement."""
        for stream in self.streams:
            if stream.ended_at is not None:
                take.check([stream])
                take.faults["a stream ended too early to measure with"] += 1
            self.stage.leave(stream)


@contextmanager
def running_streams(host: Host, seed: str, n_streams: int, n_long: int) -> Iterator[Running]:
    """A fresh server, `n_streams` streams that generate on it, and a free slot for a prompt of `n_long` tokens."""
    n_slot = max(n_long + 256, STREAM_CELLS)
    requests = [completion(random_tokens(f"{seed}/s{i}", 16, host.n_vocab), n_slot - 64) for i in range(n_streams)]
    with host.open(*context(n_streams + 1, n_slot)) as server:
        with Stage(server.address, host.timeout_s) as stage, quiet_collector():
            streams = stage.ask(requests)
            stage.play(lambda: all(has_run(stream) for stream in streams), host.timeout_s)
            stage.play(lambda: any(stream.ended_at is not None for stream in streams), LEAD_S)
            yield Running(stage, streams, server.address)


def has_run(stream: Exchange) -> bool:
    return stream.ended_at is not None or len(stream.reads) >= N_LEAD


def gap_figures(gaps: list[float]) -> Figures:
    """In milliseconds; empty when there is no gap."""
    if not gaps:
        return {}
    return {f"gap_p{percent}": percentile(gaps, percent) * 1e3 for percent in (50, 99)} | {"gap_max": max(gaps) * 1e3}


@dataclass(frozen=True, slots=True)
class LongAmongStreams:
    """A long prompt arrives while others generate: how long they stand still, and how long it takes."""

    n_streams: int = 8
    n_long: int = 8_000

    name: ClassVar[str] = "long-among-streams"
    variant: ClassVar[str] = ""
    model: ClassVar[str] = "dense"
    # fmt: off
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("gap_p99", "gap of the streams p99", "ms", 1, False,
                "between two tokens of a stream, all streams pooled, from sending the long prompt to its first token"),
        Measure("gap_p50", "gap of the streams p50", "ms", 1, False, "the same, median"),
        Measure("gap_max", "gap of the streams max", "ms", 1, False, "the same, the longest"),
        Measure("gap_before", "gap before, p50", "ms", 1, False, "the same, before the long prompt came"),
        Measure("long_s", "first token of the long prompt", "s", 2, False, "from sending it"),
        Measure("during_per_s", "streams' tokens/s meanwhile", "tok/s", 0, True, "of all streams, in that time"),
    )
    # fmt: on

    @property
    def title(self) -> str:
        return f"{self.n_streams} streams generate, a prompt of {self.n_long} tokens arrives"

    def run(self, host: Host, seed: str) -> Take:
        take = Take()
        with running_streams(host, seed, self.n_streams, self.n_long) as running:
            long = running.stage.ask([completion(random_tokens(seed, self.n_long, host.n_vocab), 1)])[0]
            running.stage.finish([long])
            running.wait_for_tokens()  # which end the gaps that the first token of the long prompt lies in
            running.end(take)
        begin, ttft = long.sent_at, take.check([long])[0].ttft
        if ttft is None:
            return take
        gaps = gaps_during(running.clocks, begin, begin + ttft)
        before = gaps_before(running.clocks, begin)
        n_during = sum(begin <= at < begin + ttft for clock in running.clocks for at in clock)
        take.figures = gap_figures(gaps) | {"long_s": ttft, "during_per_s": n_during / ttft}
        if before:
            take.figures["gap_before"] = percentile(before, 50) * 1e3
        take.detail["gaps_ms"] = [round(gap * 1e3, 3) for gap in gaps]
        return take


@dataclass(frozen=True, slots=True)
class ShortBehindLong:
    """A short prompt comes right behind a long one."""

    n_long: int = 8_000
    n_short: int = 10
    delay_s: float = 0.05

    name: ClassVar[str] = "short-behind-long"
    variant: ClassVar[str] = ""
    model: ClassVar[str] = "dense"
    # fmt: off
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("short_ms", "first token of the short prompt", "ms", 1, False, "from sending it"),
        Measure("long_s", "first token of the long prompt", "s", 2, False, "from sending it"),
    )
    # fmt: on

    @property
    def title(self) -> str:
        delay = f"{self.delay_s * 1e3:.0f} ms"
        return f"a prompt of {self.n_long} tokens, {delay} later one of {self.n_short} tokens, idle server"

    def run(self, host: Host, seed: str) -> Take:
        take = Take()
        requests = [completion(random_tokens(f"{seed}/{n}", n, host.n_vocab), 1) for n in (self.n_long, self.n_short)]
        with host.open(*context(4, self.n_long + 256)) as server:
            with Stage(server.address, host.timeout_s) as stage, quiet_collector():
                clients = stage.join(2)
                long = stage.send(clients[0], requests[0])
                stage.play(lambda: False, self.delay_s)
                short = stage.send(clients[1], requests[1])
                stage.finish([long, short])
        ends = take.check([long, short])
        take.figures = {
            key: outcome.ttft * scale
            for key, outcome, scale in zip(("long_s", "short_ms"), ends, (1, 1e3), strict=True)
            if outcome.ttft is not None
        }
        return take


@dataclass(frozen=True, slots=True)
class Visit:
    """A request whose client left. `time.perf_counter()` seconds."""

    sent_at: float
    left_at: float
    idle_at: float


@dataclass(frozen=True, slots=True)
class LeaveInPrefill:
    """A client leaves in the middle of its prompt, among streams: how long its slot stays busy."""

    n_streams: int = 4
    n_long: int = 8_000

    name: ClassVar[str] = "leave-in-prefill"
    variant: ClassVar[str] = ""
    model: ClassVar[str] = "dense"
    # fmt: off
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("idle_ms", "until the slot is idle", "ms", 1, False,
                "from closing the connection to the first answer of /slots that shows it"),
        Measure("idle_steps", "steps meanwhile", "", 1, False,
                "tokens that a stream got in that time, in the mean: each is a step of the server"),
        Measure("step_ms", "a step during the prompt", "ms", 1, False,
                "median gap of the streams from sending the prompt to leaving"),
    )
    # fmt: on

    @property
    def title(self) -> str:
        return f"{self.n_streams} streams generate, a client leaves halfway through a prompt of {self.n_long} tokens"

    def run(self, host: Host, seed: str) -> Take:
        take = Take()
        with running_streams(host, seed, self.n_streams, self.n_long) as running:
            whole = running.stage.ask([self._long(host, f"{seed}/whole")])[0]
            running.stage.finish([whole])
            whole_s = take.check([whole])[0].latency
            # A prompt that is done before its client leaves says nothing: the next client leaves sooner.
            for part in () if take.faults else PARTS:
                with running.slots() as watch:
                    visit = self._visit(running, watch, self._long(host, f"{seed}/{part}"), whole_s * part)
                if visit is not None:
                    break
            else:
                take.faults["no client could leave before its prompt was done"] += 1
            running.end(take)
        if not take.faults and visit is not None:
            take.figures = self._figures(running.clocks, visit)
        return take

    def _long(self, host: Host, seed: str) -> Request:
        return completion(random_tokens(seed, self.n_long, host.n_vocab), 1)

    def _visit(self, running: Running, watch: SlotWatch, request: Request, stay_s: float) -> Visit | None:
        """Send the request, leave after `stay_s`, wait for its slot; None when the prompt was done by then."""
        stage = running.stage
        long = stage.ask([request])[0]
        stage.play(lambda: has_text(long), stay_s)
        is_done = has_text(long)
        left_at = stage.leave(long)
        stage.play(lambda: watch.at_most(self.n_streams, left_at) is not None, IDLE_TIMEOUT_S)
        sight = watch.at_most(self.n_streams, left_at)
        if sight is None:
            raise BenchError(f"/slots does not show an idle slot {IDLE_TIMEOUT_S:g} s after its client has left")
        return None if is_done else Visit(long.sent_at, left_at, sight.seen_at)

    def _figures(self, clocks: list[list[float]], visit: Visit) -> Figures:
        n_meanwhile = sum(visit.left_at < at <= visit.idle_at for clock in clocks for at in clock)
        figures: Figures = {
            "idle_ms": (visit.idle_at - visit.left_at) * 1e3,
            "idle_steps": n_meanwhile / self.n_streams,
        }
        if steps := gaps_during(clocks, visit.sent_at, visit.left_at):
            figures["step_ms"] = percentile(steps, 50) * 1e3
        return figures
