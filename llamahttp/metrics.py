"""Metrics: copies of the engine's state as text for Prometheus, under llama-server's names and some of our own."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .task import EngineSnapshot, EngineStats, Miss, SlotState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class EngineMetrics(Collector):
    """Renders snapshots; keeps the stats of the last one, since two of the gauges are averages since then."""

    def __init__(self) -> None:
        # one of its own: the global one belongs to the process, which may serve more than one model
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._snapshot = EngineSnapshot(slots=(), n_waiting=0)
        self._before = EngineStats()

    def render(self, snapshot: EngineSnapshot) -> bytes:
        """The text format, version 0.0.4, in UTF-8."""
        self._before, self._snapshot = self._snapshot.stats, snapshot
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The snapshot as families; called by the registry."""
        yield from reference_counters(self._snapshot.stats)
        yield from reference_gauges(self._snapshot, self._before)
        yield from own_counters(self._snapshot.stats)
        yield from own_gauges(self._snapshot)


def reference_counters(stats: EngineStats) -> Iterator[Metric]:
    """llama-server's; its speculative ones stay 0."""
    n_cached = stats.n_cached_resident + stats.n_cached_ram + stats.n_cached_disk
    for name, help, value in (
        ("prompt_tokens_total", "Prompt tokens computed, without cached ones", stats.n_prompt),
        ("prompt_tokens_cached_total", "Prompt tokens reused instead of computed", n_cached),
        ("prompt_seconds_total", "Time that requests spent on their prompts", stats.prompt_ms / 1e3),
        ("tokens_predicted_total", "Tokens generated", stats.n_predicted),
        ("tokens_predicted_seconds_total", "Time that requests spent generating", stats.predicted_ms / 1e3),
        ("n_decode_total", "Steps decoded", stats.n_steps),
        ("spec_decode_num_draft_tokens_total", "Tokens drafted", 0),
        ("spec_decode_num_accepted_tokens_total", "Drafted tokens that were accepted", 0),
        ("spec_decode_num_drafts_total", "Drafts verified", 0),
    ):
        yield CounterMetricFamily(f"llamacpp:{name}", help, value=value)


def reference_gauges(snapshot: EngineSnapshot, before: EngineStats) -> Iterator[Metric]:
    """llama-server's; the speeds are those since `before`. `n_tokens_max`, which it calls a counter, is a gauge here:
    the names of counters end in `_total`."""
    stats = snapshot.stats
    n_processing = sum(slot.state is not SlotState.IDLE for slot in snapshot.slots)
    prompt_speed = _per_second(stats.n_prompt - before.n_prompt, stats.prompt_ms - before.prompt_ms)
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
        yield GaugeMetricFamily(f"llamacpp:{name}", help, value=value)


def _per_second(n: int, ms: float) -> float:
    return 1e3 * n / ms if ms > 0 else 0.0


def own_counters(stats: EngineStats) -> Iterator[Metric]:
    cached = CounterMetricFamily("llamahttp:cached_tokens_total", "Prompt tokens reused, by tier", labels=["tier"])
    for tier, n in (
        ("resident", stats.n_cached_resident),
        ("ram", stats.n_cached_ram),
        ("disk", stats.n_cached_disk),
    ):
        cached.add_metric([tier], n)
    yield cached
    misses = CounterMetricFamily(
        "llamahttp:cache_misses_total", "Requests by why no more of the prompt was reused", labels=["reason"]
    )
    counted = dict(stats.misses)
    for miss in Miss:
        misses.add_metric([miss.value], counted.get(miss, 0))
    yield misses
    for name, help, value in (
        ("requests_failed_total", "Requests that ended with an error", stats.n_failed),
        ("preemptions_total", "Times that a request lost its place in memory and began anew", stats.n_preempted),
        ("evictions_total", "Cached sequences dropped to make room", stats.n_evicted),
        ("context_rebuilds_total", "Times the context was made anew after a fatal error", stats.n_rebuilt),
    ):
        yield CounterMetricFamily(f"llamahttp:{name}", help, value=value)


def own_gauges(snapshot: EngineSnapshot) -> Iterator[Metric]:
    stats = snapshot.stats
    cells = GaugeMetricFamily("llamahttp:kv_cells", "Cells of the KV cache", labels=["state"])
    cells.add_metric(["used"], stats.n_cells_used)
    cells.add_metric(["free"], stats.n_cells - stats.n_cells_used)
    yield cells
    held = GaugeMetricFamily("llamahttp:cache_bytes", "Bytes of cached prompts outside the KV cache", labels=["tier"])
    held.add_metric(["ram"], stats.ram_bytes)
    held.add_metric(["disk"], stats.disk_bytes)
    yield held
    yield GaugeMetricFamily(
        "llamahttp:sequences", "Sequences in the KV cache, running or cached", value=stats.n_sequences
    )
    yield GaugeMetricFamily("llamahttp:requests_waiting", "Requests that wait for a slot", value=snapshot.n_waiting)
