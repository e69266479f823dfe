"""Metrics: the text that Prometheus reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from llamahttp.histogram import Distribution
from llamahttp.meter import RequestMeter
from llamahttp.metrics import ServerMetrics
from llamahttp.task import CompletionTask, EngineSnapshot, EngineStats, Miss, SamplingParams, SlotSnapshot, SlotState

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
    step_seconds=Distribution((0.01, 0.1), (30, 9, 1), 0.9),
    step_rows=Distribution((8, 64), (20, 10, 10), 500.0),
    token_gaps=Distribution((0.01, 0.1), (80, 15, 1), 2.5),
)


def slot(state: SlotState) -> SlotSnapshot:
    return SlotSnapshot(0, 4096, 0, state, sampling=SamplingParams())


SNAPSHOT = EngineSnapshot((slot(SlotState.IDLE), slot(SlotState.WAITING), slot(SlotState.PROMPT)), 5, STATS)


def samples(text: bytes) -> dict[str, float]:
    """Value by name and labels, which are sorted by their names."""
    return {
        sample.name + "".join(f" {label}" for label in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def shown(snapshot: EngineSnapshot = SNAPSHOT, metrics: ServerMetrics | None = None) -> dict[str, float]:
    metrics = metrics or ServerMetrics()
    metrics.update(snapshot)
    return samples(metrics.render()[0])


def test_the_series_of_the_reference() -> None:
    assert {name: value for name, value in shown().items() if name.startswith("llamacpp:")} == {
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


def test_what_the_engine_told() -> None:
    expected = {
        "cached_tokens_total resident": 30,
        "cached_tokens_total ram": 20,
        "cached_tokens_total disk": 10,
        **{f"cache_misses_total {miss.value}": 0 for miss in Miss},
        "cache_misses_total new": 4,
        "cache_misses_total diverged": 3,
        "decode_seconds_total": 0.9,
        "preemptions_total": 2,
        "evictions_total": 3,
        "context_rebuilds_total": 1,
        "kv_cells used": 1000,
        "kv_cells free": 3096,
        "cache_bytes ram": 12345,
        "cache_bytes disk": 67890,
        "sequences": 6,
        "slots": 3,
        "step_seconds_bucket 0.01": 30,
        "step_seconds_bucket 0.1": 39,
        "step_seconds_bucket +Inf": 40,
        "step_seconds_count": 40,
        "step_seconds_sum": 0.9,
        "step_tokens_bucket 64.0": 30,
        "inter_token_seconds_bucket 0.01": 80,
        "inter_token_seconds_count": 96,
    }
    values = shown()
    assert {name: values[f"llamahttp:{name}"] for name in expected} == expected


def test_what_became_of_requests() -> None:
    metrics, requests = ServerMetrics(), RequestMeter()
    metrics.introduce(requests)
    requests.watch(CompletionTask(np.arange(100, dtype=np.int32))).leave(is_queued=True)
    requests.failed["engine"] += 2
    metrics.http.responses["/slots/{id_slot}", "POST", "200"] += 3
    metrics.http.refused["queue_full"] += 4
    metrics.http.n_open += 1
    values = shown(metrics=metrics)
    expected = {
        "prompt_tokens_bucket 64.0": 0,
        "prompt_tokens_bucket 128.0": 1,
        "queue_seconds_count": 1,
        "time_to_first_token_seconds_count": 0,
        "requests_aborted_total queued": 1,
        "requests_aborted_total running": 0,
        "requests_failed_total engine": 2,
        "requests_finished_total eos": 0,
        "requests_refused_total queue_full": 4,
        "requests_refused_total invalid": 0,
        "http_requests_total POST /slots/{id_slot} 200": 3,
        "http_requests_open": 1,
    }
    assert {name: values[f"llamahttp:{name}"] for name in expected} == expected


def test_inputs_of_embeddings_are_prompts() -> None:
    """As in llama-server; their time is that of their batches."""
    stats = replace(STATS, n_embedded=100, n_embedding_steps=2, embedding_ms=500.0)
    values = shown(replace(SNAPSHOT, stats=stats))
    assert values["llamacpp:prompt_tokens_total"] == 500
    assert values["llamacpp:prompt_seconds_total"] == 2.5
    assert values["llamacpp:n_decode_total"] == 42


def test_a_model_that_sleeps_shows_its_last_speed_once() -> None:
    metrics = ServerMetrics()
    metrics.update(SNAPSHOT)
    metrics.retire(SNAPSHOT, RequestMeter())
    speeds = [samples(metrics.render()[0])["llamacpp:predicted_tokens_seconds"] for _ in range(2)]
    assert speeds == [20, 0]


def test_speeds_are_those_since_the_last_question() -> None:
    metrics = ServerMetrics()
    later = replace(STATS, n_prompt=500, prompt_ms=2100.0, n_predicted=110, predicted_ms=5200.0)
    speeds = []
    for stats in (STATS, later, later):
        values = shown(replace(SNAPSHOT, stats=stats), metrics)
        speeds.append((values["llamacpp:prompt_tokens_seconds"], values["llamacpp:predicted_tokens_seconds"]))
    assert speeds == [(200, 20), (1000, 50), (0, 0)]


def test_an_engine_that_has_done_nothing_divides_by_nothing() -> None:
    values = shown(EngineSnapshot((), 0))
    assert {value for name, value in values.items() if name.startswith("llamacpp:")} == {0}


def test_every_family_has_its_type_and_help() -> None:
    lines = ServerMetrics().render()[0].decode().splitlines()
    assert "# TYPE llamacpp:prompt_tokens_total counter" in lines
    assert "# TYPE llamacpp:n_tokens_max gauge" in lines
    assert "# TYPE llamahttp:step_seconds histogram" in lines
    heads = [line.split()[1:3] for line in lines if line.startswith("#")]
    families = [name for kind, name in heads if kind == "TYPE"]
    assert families == [name for kind, name in heads if kind == "HELP"]
    assert len(families) == len(set(families)) > 40


def test_openmetrics_for_those_who_ask_for_it() -> None:
    metrics = ServerMetrics()
    metrics.update(SNAPSHOT)
    assert metrics.render()[1].startswith("text/plain; version=")
    body, content_type = metrics.render("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in openmetrics_families(body.decode())}
    assert families["llamacpp:prompt_tokens"].type == "counter"
    assert families["llamahttp:step_seconds"].type == "histogram"


def test_the_process_is_measured_too() -> None:
    assert shown()["process_resident_memory_bytes"] > 1e6


def test_what_is_served() -> None:
    labels = {"model": 'a "model"\n', "version": "1", "llama_cpp": "b1"}
    assert samples(ServerMetrics().render("", labels)[0])['llamahttp:model_info b1 a "model"\n 1'] == 1


def test_counts_go_on_when_a_model_was_asleep() -> None:
    metrics, first, second = ServerMetrics(), RequestMeter(), RequestMeter()
    for requests in (first, second):
        requests.finished["eos"] += 1
        requests.seconds.observe(0.3)
    metrics.introduce(first)
    before = shown(metrics=metrics)
    metrics.retire(SNAPSHOT, first)
    asleep = samples(metrics.render()[0])
    metrics.introduce(second)
    after = shown(metrics=metrics)
    for name, n in {
        "llamahttp:requests_finished_total eos": 1,
        "llamahttp:requests_finished_total limit": 0,
        "llamahttp:request_seconds_bucket 0.5": 1,
        "llamahttp:step_seconds_bucket 0.1": 39,
        "llamahttp:cache_misses_total new": 4,
        "llamacpp:tokens_predicted_total": 100,
        "llamacpp:n_decode_total": 40,
    }.items():
        assert (before[name], asleep[name], after[name]) == (n, n, 2 * n), name
    for name in ("llamahttp:kv_cells used", "llamahttp:cache_bytes ram", "llamacpp:n_tokens_max"):
        assert before[name] == asleep[name] == after[name], name


def test_two_servers_in_one_process_do_not_meet() -> None:
    one, other = ServerMetrics(), ServerMetrics()
    shown(metrics=one)
    assert samples(other.render()[0])["llamacpp:prompt_tokens_total"] == 0
