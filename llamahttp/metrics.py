"""Metrics: what was counted and measured as text for Prometheus, under llama-server's names and some of our own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily as Counter
from prometheus_client.metrics_core import GaugeMetricFamily as Gauge
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from .histogram import Distribution
from .meter import HttpMeter, RequestMeter
from .task import EngineSnapshot, EngineStats, Miss, SlotState


class ServerMetrics(Collector):
    """Renders what was counted. Engines come and go, as a model sleeps and wakes; their counts go on.

    Keeps what was rendered last, since two of the gauges are averages since then.
    """

    def __init__(self) -> None:
        # one of its own: the global one belongs to the process, which may serve more than one model
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self.http = HttpMeter()
        self._snapshot = EngineSnapshot(slots=(), n_waiting=0)
        self._before = EngineStats()
        self._taken = time.monotonic()
        self._past = EngineStats()
        self._past_requests = Requests.of(RequestMeter())
        self._requests = RequestMeter()
        self._labels: Mapping[str, str] = {}

    def introduce(self, requests: RequestMeter) -> None:
        """Show the requests of this engine from now on, beside those of engines before it."""
        self._requests = requests

    def update(self, snapshot: EngineSnapshot) -> None:
        """Show this state of the engine from now on."""
        self._snapshot = replace(snapshot, stats=together(self._past, snapshot.stats))
        self._taken = time.monotonic()

    def retire(self, last: EngineSnapshot, requests: RequestMeter) -> None:
        """An engine ends like this; the next one's counts are added to its own."""
        self.update(last)
        self._past = self._snapshot.stats
        self._past_requests = self._past_requests.plus(requests)
        self._requests = RequestMeter()

    def render(self, accept: str = "", labels: Mapping[str, str] | None = None) -> tuple[bytes, str]:
        """The text and its content type: OpenMetrics where the `Accept` header asks for it, else Prometheus' own.

        `labels` tell what is served.
        """
        self._labels = labels or {}
        encode, content_type = choose_encoder(accept)
        body = encode(self._registry)
        self._before = self._snapshot.stats
        return body, content_type

    def collect(self) -> Iterator[Metric]:
        """All families; called by the registry."""
        stats = self._snapshot.stats
        yield from reference_counters(stats)
        yield from reference_gauges(self._snapshot, self._before)
        yield from own_counters(stats)
        yield from own_gauges(self._snapshot)
        yield from step_histograms(stats)
        yield from request_families(self._past_requests.plus(self._requests))
        yield from http_families(self.http)
        yield Gauge("llamahttp:snapshot_age_seconds", "Age of what the engine told", time.monotonic() - self._taken)
        served = Gauge("llamahttp:model_info", "What is served", labels=list(self._labels))
        served.add_metric(list(self._labels.values()), 1)
        yield served


@dataclass(frozen=True)
class Requests:
    """What the meters of several engines have counted together, by the names that `RequestMeter` has for it."""

    distributions: Mapping[str, Distribution]
    counters: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, meter: RequestMeter) -> Requests:
        return cls(meter.distributions(), meter.counters())

    def plus(self, meter: RequestMeter) -> Requests:
        return Requests(
            {name: self.distributions[name].plus(value) for name, value in meter.distributions().items()},
            {name: merged(self.counters[name], value) for name, value in meter.counters().items()},
        )


Key = TypeVar("Key")


def merged(one: Mapping[Key, int], other: Mapping[Key, int]) -> dict[Key, int]:
    """The sums for all keys; a Counter's own sum would leave out zeros."""
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


GAUGES = {"n_cells", "n_cells_used", "n_sequences", "ram_bytes", "disk_bytes"}
"""What is so now; the rest of EngineStats has been counted."""


def together(past: EngineStats, now: EngineStats) -> EngineStats:
    """The counts of engines that have ended and of the one there is; what holds only now is the latter's."""
    added: dict[str, Any] = {}
    for item in fields(EngineStats):
        a, b = getattr(past, item.name), getattr(now, item.name)
        if item.name == "n_tokens_max":
            added[item.name] = max(a, b)
        elif item.name == "misses":
            added[item.name] = tuple(merged(dict(a), dict(b)).items())
        elif item.name not in GAUGES:
            added[item.name] = a.plus(b) if isinstance(a, Distribution) else a + b
    return replace(now, **added)


def reference_counters(stats: EngineStats) -> Iterator[Metric]:
    """llama-server's, which takes inputs of embeddings for prompts; its speculative ones stay 0."""
    n_prompt, prompt_ms = prompts(stats)
    n_cached = stats.n_cached_resident + stats.n_cached_ram + stats.n_cached_disk
    for name, help, value in (
        ("prompt_tokens_total", "Prompt tokens computed, without cached ones", n_prompt),
        ("prompt_tokens_cached_total", "Prompt tokens reused instead of computed", n_cached),
        ("prompt_seconds_total", "Time that requests spent on their prompts", prompt_ms / 1e3),
        ("tokens_predicted_total", "Tokens generated", stats.n_predicted),
        ("tokens_predicted_seconds_total", "Time that requests spent generating", stats.predicted_ms / 1e3),
        ("n_decode_total", "Steps decoded", stats.n_steps + stats.n_embedding_steps),
        ("spec_decode_num_draft_tokens_total", "Tokens drafted", 0),
        ("spec_decode_num_accepted_tokens_total", "Drafted tokens that were accepted", 0),
        ("spec_decode_num_drafts_total", "Drafts verified", 0),
    ):
        yield Counter(f"llamacpp:{name}", help, value=value)


def reference_gauges(snapshot: EngineSnapshot, before: EngineStats) -> Iterator[Metric]:
    """llama-server's; the speeds are those since `before`. `n_tokens_max`, which it calls a counter, is a gauge here:
    the names of counters end in `_total`."""
    stats = snapshot.stats
    n_processing = sum(slot.state is not SlotState.IDLE for slot in snapshot.slots)
    n_prompt, prompt_ms = prompts(stats)
    n_before, ms_before = prompts(before)
    prompt_speed = _per_second(n_prompt - n_before, prompt_ms - ms_before)
    speed = _per_second(stats.n_predicted - before.n_predicted, stats.predicted_ms - before.predicted_ms)
    n_busy = stats.n_busy_slots / stats.n_steps if stats.n_steps else 0.0
    for name, help, value in (
        ("n_tokens_max", "Most tokens that a sequence has had", stats.n_tokens_max),
        ("prompt_tokens_seconds", "Prompt tokens computed per second of a request", prompt_speed),
        ("predicted_tokens_seconds", "Tokens generated per second of a request", speed),
        ("requests_processing", "Requests in a slot", n_processing),
        ("requests_deferred", "Requests that wait for a slot", snapshot.n_waiting),
        ("n_busy_slots_per_decode", "Slots at work in a step, on average", n_busy),
    ):
        yield Gauge(f"llamacpp:{name}", help, value=value)


def prompts(stats: EngineStats) -> tuple[int, float]:
    """Tokens computed that were not generated, and the milliseconds that it took."""
    return stats.n_prompt + stats.n_embedded, stats.prompt_ms + stats.embedding_ms


def _per_second(n: int, ms: float) -> float:
    return 1e3 * n / ms if ms > 0 else 0.0


def own_counters(stats: EngineStats) -> Iterator[Metric]:
    yield _by_label(
        Counter("llamahttp:cached_tokens_total", "Prompt tokens reused, by tier", labels=["tier"]),
        {"resident": stats.n_cached_resident, "ram": stats.n_cached_ram, "disk": stats.n_cached_disk},
    )
    counted = dict(stats.misses)
    yield _by_label(
        Counter("llamahttp:cache_misses_total", "Requests by why no more of the prompt was reused", labels=["reason"]),
        {miss.value: counted.get(miss, 0) for miss in Miss},
    )
    for name, help, value in (
        ("decode_seconds_total", "Time of the steps", stats.decode_ms / 1e3),
        ("preemptions_total", "Times that a request lost its place in memory and began anew", stats.n_preempted),
        ("evictions_total", "Cached sequences dropped to make room", stats.n_evicted),
        ("context_rebuilds_total", "Times the context was made anew after a fatal error", stats.n_rebuilt),
    ):
        yield Counter(f"llamahttp:{name}", help, value=value)


def own_gauges(snapshot: EngineSnapshot) -> Iterator[Metric]:
    stats = snapshot.stats
    yield _by_label(
        Gauge("llamahttp:kv_cells", "Cells of the KV cache", labels=["state"]),
        {"used": stats.n_cells_used, "free": stats.n_cells - stats.n_cells_used},
    )
    yield _by_label(
        Gauge("llamahttp:cache_bytes", "Bytes of cached prompts outside the KV cache", labels=["tier"]),
        {"ram": stats.ram_bytes, "disk": stats.disk_bytes},
    )
    yield Gauge("llamahttp:sequences", "Sequences in the KV cache, running or cached", value=stats.n_sequences)
    yield Gauge("llamahttp:slots", "Requests that can be computed at the same time", value=len(snapshot.slots))


def step_histograms(stats: EngineStats) -> Iterator[Metric]:
    yield _histogram("step_seconds", "Time to decode one step", stats.step_seconds)
    yield _histogram("step_tokens", "Tokens in the batch of one step", stats.step_rows)
    yield _histogram("inter_token_seconds", "Time between two tokens of one answer", stats.token_gaps)


def request_families(requests: Requests) -> Iterator[Metric]:
    """Of tasks: a request for two answers is two of them."""
    for key, name, help in (
        ("queued", "queue_seconds", "Time that a request waited for a slot"),
        ("first_token", "time_to_first_token_seconds", "Time from a request's arrival to its first token"),
        ("seconds", "request_seconds", "Time from a request's arrival to its end"),
        ("embedding_seconds", "embedding_seconds", "The same for embeddings and scores"),
        ("n_prompt", "prompt_tokens", "Tokens of a prompt, cached ones too"),
        ("n_predicted", "output_tokens", "Tokens of an answer"),
    ):
        yield _histogram(name, help, requests.distributions[key])
    for key, help, label in (
        ("finished", "Requests that came to their end, by what ended them", "reason"),
        ("failed", "Requests that were taken and ended with an error, by its kind", "reason"),
        ("aborted", "Requests that their client left, by what they did", "phase"),
    ):
        family = Counter(f"llamahttp:requests_{key}_total", help, labels=[label])
        yield _by_label(family, requests.counters[key])


def http_families(http: HttpMeter) -> Iterator[Metric]:
    responses = Counter("llamahttp:http_requests_total", "HTTP requests answered", labels=["route", "method", "status"])
    for labels, n in http.responses.items():
        responses.add_metric(labels, n)
    yield responses
    yield _by_label(
        Counter("llamahttp:requests_refused_total", "HTTP requests answered with an error", labels=["reason"]),
        http.refused,
    )
    yield Gauge("llamahttp:http_requests_open", "HTTP requests that are being answered", value=http.n_open)


def _by_label(family: Counter | Gauge, values: Mapping[str, float]) -> Metric:
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _histogram(name: str, help: str, distribution: Distribution) -> Metric:
    family = HistogramMetricFamily(f"llamahttp:{name}", help)
    family.add_metric([], distribution.cumulative(), distribution.sum)
    return family
