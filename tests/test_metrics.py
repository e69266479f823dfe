from __future__ import annotations

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from llamahttp.metrics import EngineMetrics
from llamahttp.task import EngineSnapshot, EngineStats, Miss, SamplingParams, SlotSnapshot, SlotState

STATS = EngineStats(
    n_tasks=7,
    n_failed=1,
    n_steps=40,
    n_rows=500,
    decode_ms=900.0,
    n_busy_slots=100,
    n_tokens_max=77,
    n_prompt=400,
    prompt_ms=2000.0,
    n_predicted=100,
    predicted_ms=5000.0,
    n_cached_resident=30,
    n_cached_ram=20,
    n_cached_disk=10,
    misses=((Miss.NEW, 4), (Miss.DIVERGED, 3)),
    n_preempted=2,
    n_evicted=3,
    n_rebuilt=1,
    n_cells=4096,
    n_cells_used=1000,
    n_sequences=6,
    ram_bytes=12345,
    disk_bytes=67890,
)


def slot(state: SlotState) -> SlotSnapshot:
    return SlotSnapshot(0, 0, state, 4096, 0, 0, 0, -1, SamplingParams())


SNAPSHOT = EngineSnapshot((slot(SlotState.IDLE), slot(SlotState.WAITING), slot(SlotState.PROMPT)), 5, STATS)


def samples(text: bytes) -> dict[str, float]:
    """Value by name and labels."""
    return {
        sample.name + "".join(f" {label}" for label in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_the_series_of_the_reference() -> None:
    shown = samples(EngineMetrics().render(SNAPSHOT))
    assert {name: value for name, value in shown.items() if name.startswith("llamacpp:")} == {
        "llamacpp:prompt_tokens_total": 400,
        "llamacpp:prompt_tokens_cached_total": 60,
        "llamacpp:prompt_seconds_total": 2,
        "llamacpp:tokens_predicted_total": 100,
        "llamacpp:tokens_predicted_seconds_total": 5,
        "llamacpp:n_decode_total": 40,
        "llamacpp:n_tokens_max": 77,
        "llamacpp:spec_decode_num_draft_tokens_total": 0,
        "llamacpp:spec_decode_num_accepted_tokens_total": 0,
        "llamacpp:spec_decode_num_drafts_total": 0,
        "llamacpp:prompt_tokens_seconds": 200,
        "llamacpp:predicted_tokens_seconds": 20,
        "llamacpp:requests_processing": 2,
        "llamacpp:requests_deferred": 5,
        "llamacpp:n_busy_slots_per_decode": 2.5,
    }


def test_the_series_of_our_own() -> None:
    shown = samples(EngineMetrics().render(SNAPSHOT))
    assert {name.removeprefix("llamahttp:"): value for name, value in shown.items() if "llamahttp:" in name} == {
        "cached_tokens_total resident": 30,
        "cached_tokens_total ram": 20,
        "cached_tokens_total disk": 10,
        **{f"cache_misses_total {miss.value}": 0 for miss in Miss},
        "cache_misses_total new": 4,
        "cache_misses_total diverged": 3,
        "requests_failed_total": 1,
        "preemptions_total": 2,
        "evictions_total": 3,
        "context_rebuilds_total": 1,
        "kv_cells used": 1000,
        "kv_cells free": 3096,
        "cache_bytes ram": 12345,
        "cache_bytes disk": 67890,
        "sequences": 6,
        "requests_waiting": 5,
    }


def test_speeds_are_those_since_the_last_question() -> None:
    metrics = EngineMetrics()
    metrics.render(SNAPSHOT)
    later = replace(STATS, n_prompt=500, prompt_ms=2100.0, n_predicted=110, predicted_ms=5200.0)
    shown = samples(metrics.render(replace(SNAPSHOT, stats=later)))
    assert (shown["llamacpp:prompt_tokens_seconds"], shown["llamacpp:predicted_tokens_seconds"]) == (1000, 50)
    shown = samples(metrics.render(replace(SNAPSHOT, stats=later)))
    assert (shown["llamacpp:prompt_tokens_seconds"], shown["llamacpp:predicted_tokens_seconds"]) == (0, 0)


def test_an_engine_that_has_done_nothing_divides_by_nothing() -> None:
    shown = samples(EngineMetrics().render(EngineSnapshot((), 0)))
    assert set(shown.values()) == {0}


def test_every_family_has_its_type_and_help() -> None:
    lines = EngineMetrics().render(SNAPSHOT).decode().splitlines()
    assert "# TYPE llamacpp:prompt_tokens_total counter" in lines
    assert "# TYPE llamacpp:n_tokens_max gauge" in lines
    assert sum(line.startswith("# TYPE") for line in lines) == sum(line.startswith("# HELP") for line in lines) == 25


def test_two_servers_in_one_process_do_not_meet() -> None:
    one, other = EngineMetrics(), EngineMetrics()
    one.render(SNAPSHOT)
    assert samples(other.render(EngineSnapshot((), 0)))["llamacpp:prompt_tokens_total"] == 0
