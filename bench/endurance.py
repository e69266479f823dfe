"""Cases that last: a KV pool that is too small for its clients, and ten thousand requests in a row."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import ClassVar

from bench.case import Flag, Host, Measure, Take, answer_of, completion
from bench.client import Client
from bench.equality import N_TOP, Answer, Equality, compare
from bench.exchange import Exchange, outcome
from bench.scenario import Request, random_tokens
from bench.server import Server
from bench.slots import act, n_busy
from bench.stage import Stage, has_text

PAUSE_S = 0.1  # after a fault, so that a server that refuses at once is not asked a thousand times a second
SETTLE_S = 2.0  # for a server to see that its clients have left
TELL_S = 1.0
KIB, MIB = 2**10, 2**20


def rss_mib(server: Server) -> float:
    """Resident memory now; NaN where the system does not tell."""
    n_bytes = server.rss_bytes()
    return float("nan") if n_bytes is None else n_bytes / MIB


def busy_after(server: Server) -> float:
    """Slots still at work when nobody is there any more."""
    deadline = time.perf_counter() + SETTLE_S
    while (busy := n_busy(server.address)) and time.perf_counter() < deadline:
        time.sleep(0.02)
    return float("nan") if busy is None else float(busy)


@dataclass(slots=True)
class Sample:
    """A request that was answered under load, and its answer."""

    prompt: list[int]
    answer: Answer


@dataclass(slots=True)
class Load:
    """What came of a closed loop."""

    n_answered: int = 0
    n_failed: int = 0
    n_predicted: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    wall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Oversubscribed:
    """A unified KV pool that has room for a quarter of what its clients ask for, all the time."""

    seconds: float = 300.0
    n_clients: int = 8
    n_pool: int = 4_096
    n_predict: int = 256
    n_checks: int = 24

    name: ClassVar[str] = "oversubscribed"
    variant: ClassVar[str] = "-kvu"
    model: ClassVar[str] = "dense"
    # fmt: off
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("tokens_per_s", "generated tokens/s", "tok/s", 1, True, "of requests that were answered"),
        Measure("n_ok", "requests answered", "", 0, True, "whole, as long as asked for"),
        Measure("n_failed", "requests failed", "", 0, False, "an error, a broken or a short answer"),
        Measure("right", "answers right", "%", 1, True,
                "of a sample: the same tokens as the same request alone, or a tie of two tokens"),
        Measure("ties", "of these, by a tie", "%", 1, None, "see bench/equality.py"),
        Measure("busy_after", "slots busy afterwards", "", 0, False, "when all clients are gone"),
        Measure("rss_begin", "RSS at the beginning", "MiB", 1, False, "after a warm-up"),
        Measure("rss_end", "RSS at the end", "MiB", 1, False, "under the same server, after the load"),
    )
    # fmt: on

    @property
    def n_request(self) -> int:
        """Cells that a request needs: half the pool, whatever libllama adds left aside."""
        return self.n_pool // 2

    @property
    def n_prompt(self) -> int:
        return self.n_request - self.n_predict

    @property
    def title(self) -> str:
        return (
            f"{self.n_clients} clients, each request needs {self.n_request} of {self.n_pool} cells "
            f"({self.n_predict} of them generated), for {self.seconds:g} s"
        )

    def flags(self) -> list[Flag]:
        return [("-np", str(self.n_clients)), ("-kvu",), ("-c", str(self.n_pool))]

    def run(self, host: Host, seed: str) -> Take:
        take = Take()
        with host.open(*self.flags()) as server:
            take.figures["rss_begin"] = rss_mib(server)
            with Stage(server.address, host.timeout_s) as stage:
                load = ClosedLoop(self, host, server, stage, seed).run()
            take.figures["busy_after"] = busy_after(server)
            take.figures["rss_end"] = rss_mib(server)
            equalities = [self._check(host, server, sample) for sample in load.samples]
        take.faults = load.faults
        take.figures |= {"n_ok": load.n_answered, "n_failed": load.n_failed}
        take.figures["tokens_per_s"] = load.n_predicted / load.wall_s
        if equalities:
            counts = Counter(equalities)
            take.figures["right"] = 100 - 100 * counts[Equality.DIFFERENT] / len(equalities)
            take.figures["ties"] = 100 * counts[Equality.TIE] / len(equalities)
            if counts[Equality.DIFFERENT]:
                take.faults["the answer is not that of the same request alone"] += counts[Equality.DIFFERENT]
        return take

    def request(self, prompt: list[int], **extra: int | bool) -> Request:
        return completion(prompt, self.n_predict, stream=False, **extra)

    def _check(self, host: Host, server: Server, sample: Sample) -> Equality:
        request = self.request(sample.prompt, cache_prompt=False, n_probs=N_TOP)
        with Stage(server.address, host.timeout_s) as stage:
            exchanges = stage.ask([request])
            stage.finish(exchanges)
        return compare(sample.answer, Answer.of(answer_of(exchanges[0])))


@dataclass(slots=True)
class Asking:
    """A client of a closed loop, its request in flight, and when it may ask again."""

    client: Client
    seed: str
    n_sent: int = 0
    prompt: list[int] = field(default_factory=list)
    exchange: Exchange | None = None
    not_before: float = 0.0

    @property
    def is_answered(self) -> bool:
        return self.exchange is not None and self.exchange.ended_at is not None


class ClosedLoop:
    """Every client sends its next request as soon as the last one is answered, until the time is over."""

    def __init__(self, case: Oversubscribed, host: Host, server: Server, stage: Stage, seed: str) -> None:
        self._case, self._host, self._server, self._stage = case, host, server, stage
        self._asking = [Asking(client, f"{seed}/{i}") for i, client in enumerate(stage.join(case.n_clients))]
        self._load = Load()

    def run(self) -> Load:
        began = next_tell = time.perf_counter()
        while self._asking:
            now = time.perf_counter()
            self._asking = [each for each in self._asking if self._goes_on(each, now, now - began)]
            if now >= next_tell:
                next_tell = now + TELL_S
                self._tell(now - began)
            self._stage.play(lambda: any(each.is_answered for each in self._asking), PAUSE_S)
        self._load.wall_s = time.perf_counter() - began
        return self._load

    def _tell(self, passed_s: float) -> None:
        load, seconds = self._load, self._case.seconds
        self._host.tell(f"{passed_s:.0f}/{seconds:g} s, {load.n_answered} ok, {load.n_failed} failed")
        self._server.check_alive()

    def _goes_on(self, each: Asking, now: float, passed_s: float) -> bool:
        """Take what a client was answered and let it ask again; False when it has nothing more to do."""
        if each.is_answered:
            self._take(each, now)
        if each.exchange is None and passed_s >= self._case.seconds:
            return False
        if each.exchange is None and now >= each.not_before:
            each.n_sent += 1
            each.prompt = random_tokens(f"{each.seed}/{each.n_sent}", self._case.n_prompt, self._host.n_vocab)
            each.exchange = self._stage.send(each.client, self._case.request(each.prompt, return_tokens=True))
        return True

    def _take(self, each: Asking, now: float) -> None:
        assert each.exchange is not None
        ended, each.exchange = each.exchange, None
        each.client.lane.clear()  # of ten thousand answers nothing but the figures stays
        each.client.exchanges.clear()
        result, load = outcome(ended), self._load
        if result.fault is not None:
            load.faults[result.fault] += 1
            load.n_failed += 1
            each.not_before = now + PAUSE_S
            return
        load.n_answered += 1
        load.n_predicted += result.n_predicted
        # Spread over the run: the first of each client, then ever more rarely.
        if len(load.samples) < self._case.n_checks and load.n_answered >= 2 ** (len(load.samples) // 4):
            load.samples.append(Sample(each.prompt, Answer.of(answer_of(ended))))


@dataclass(slots=True, eq=False)
class Short:
    """A short request; `client` and `exchange` are there once it is sent."""

    request: Request
    to_leave: bool
    client: Client = field(init=False)
    exchange: Exchange = field(init=False)

    @property
    def is_over(self) -> bool:
        """Answered, or so far that its client may leave."""
        return self.exchange.ended_at is not None or (self.to_leave and has_text(self.exchange))


@dataclass(frozen=True, slots=True)
class Leak:
    """Short requests in a row, some broken off, some with their slot saved and restored: does memory grow?"""

    n_requests: int = 10_000
    n_batch: int = 500
    n_clients: int = 8
    n_prompt: int = 32
    n_predict: int = 8

    name: ClassVar[str] = "leak"
    variant: ClassVar[str] = ""
    model: ClassVar[str] = "dense"
    # fmt: off
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("slope", "RSS growth", "KiB/1000 req", 1, None,
                "least squares over the readings after each batch, without the first fifth of them"),
        Measure("rss_begin", "RSS after the first batch", "MiB", 1, False, "resident memory of the server"),
        Measure("rss_end", "RSS after the last batch", "MiB", 1, False, "the same"),
        Measure("n_ok", "requests answered", "", 0, None, "whole, as long as asked for"),
        Measure("n_left", "requests broken off", "", 0, None, "by the client, after the first token"),
        Measure("n_failed", "requests failed", "", 0, False, "an error, a broken or a short answer"),
        Measure("n_actions", "slot actions", "", 0, None, "save, restore and erase, where the server has them"),
        Measure("busy_after", "slots busy afterwards", "", 0, False, "when all clients are gone"),
        Measure("requests_per_s", "requests/s", "1/s", 0, True, "broken off ones included"),
    )
    # fmt: on

    @property
    def title(self) -> str:
        return (
            f"{self.n_requests} requests of {self.n_prompt} + {self.n_predict} tokens by {self.n_clients} clients, "
            f"every tenth broken off, {self.n_clients} slots saved and restored after each {self.n_batch}"
        )

    def flags(self, folder: str) -> list[Flag]:
        # Small RAM tiers: what is kept on purpose is no leak, and must be full before the first fifth is over.
        return [
            *(("-np", str(self.n_clients)), ("-c", str(self.n_clients * 512))),
            *(("--cache-ram", "16"), ("--slot-save-path", folder)),
        ]

    def run(self, host: Host, seed: str) -> Take:
        take = Take()
        readings: list[tuple[int, float]] = []
        counts: Counter[str] = Counter()
        spent_s = 0.0
        with TemporaryDirectory(prefix="bench-slots-") as folder, host.open(*self.flags(folder)) as server:
            for n_done in range(0, self.n_requests, self.n_batch):
                n = min(self.n_batch, self.n_requests - n_done)
                began = time.perf_counter()
                self._batch(host, server, f"{seed}/{n_done}", n, take, counts)
                spent_s += time.perf_counter() - began
                if host.knows("--slot-save-path"):
                    self._slot_actions(host, server, f"{seed}/{n_done}", take, counts)
                busy = busy_after(server)
                readings.append((n_done + n, rss_mib(server)))
                host.tell(f"{n_done + n}/{self.n_requests} requests, RSS {readings[-1][1]:.0f} MiB")
        take.figures = {f"n_{key}": float(counts[key]) for key in ("ok", "left", "failed", "actions")}
        take.figures |= {"rss_begin": readings[0][1], "rss_end": readings[-1][1], "busy_after": busy}
        take.figures["requests_per_s"] = self.n_requests / spent_s
        if (growth := slope(readings[len(readings) // 5 :])) is not None:
            take.figures["slope"] = growth * 1000 * MIB / KIB
        take.detail["rss_mib"] = readings
        return take

    def _batch(self, host: Host, server: Server, seed: str, n: int, take: Take, counts: Counter[str]) -> None:
        """`n` requests; each client sends its next one when the last is answered, or left."""
        todo = [self._short(f"{seed}/{i}", i, host.n_vocab) for i in range(n)]
        with Stage(server.address, host.timeout_s) as stage:
            free: list[Client] = []
            waiting: list[Short] = []
            while todo or waiting:
                while todo and len(waiting) < self.n_clients:
                    short = todo.pop()
                    short.client = free.pop() if free else stage.join(1)[0]
                    short.exchange = stage.send(short.client, short.request)
                    waiting.append(short)
                stage.play(lambda: any(short.is_over for short in waiting), host.timeout_s)
                for short in [each for each in waiting if each.is_over]:
                    waiting.remove(short)
                    if self._end(short, stage, take, counts):
                        free.append(short.client)

    def _short(self, seed: str, i: int, n_vocab: int) -> Short:
        """The `i`-th request of a batch: every other one streamed, and every tenth to be left."""
        to_leave = i % 10 == 9
        # What is to be left is so long that its client is gone before the end.
        n_predict = self.n_predict * (16 if to_leave else 1)
        return Short(completion(random_tokens(seed, self.n_prompt, n_vocab), n_predict, stream=i % 2 == 1), to_leave)

    def _end(self, short: Short, stage: Stage, take: Take, counts: Counter[str]) -> bool:
        """Count a request that is over; whether its client can go on."""
        if short.exchange.ended_at is None:
            stage.leave(short.exchange)
            counts["left"] += 1
            return False
        fault = take.check([short.exchange])[0].fault
        counts["failed" if fault else "ok"] += 1
        return True

    def _slot_actions(self, host: Host, server: Server, seed: str, take: Take, counts: Counter[str]) -> None:
        """Give every slot something to hold, save it, restore it from the file, and erase every other one."""
        for id_slot in range(self.n_clients):
            prompt = random_tokens(f"{seed}/slot{id_slot}", self.n_prompt, host.n_vocab)
            with Stage(server.address, host.timeout_s) as stage:
                filling = stage.ask([completion(prompt, 1, stream=False, id_slot=id_slot)])
                stage.finish(filling)
            take.check(filling)
            actions = ["save", "restore", *(["erase"] if id_slot % 2 else [])]
            for action in actions:
                status, body = act(server.address, id_slot, action, "slot.bin")
                if status == 501:
                    return
                counts["actions"] += 1
                if status != 200:
                    take.faults[f"slot {action}: HTTP {status} {body[:100]}"] += 1


def slope(points: list[tuple[int, float]]) -> float | None:
    """Of the straight line nearest to the points; None for fewer than two."""
    if len(points) < 2:
        return None
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread: float = sum((x - mean_x) ** 2 for x, _ in points)
    covariance: float = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return covariance / spread
