"""Count: what clients do shows in the metrics, and nothing that they can make up."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

from prometheus_client.parser import text_string_to_metric_families

from llamahttp.api import admin
from llamahttp.api.state import STATE
from tests.fakes import FakeDecoder, fake_engine

from .conftest import Client, Start, get, post


async def scrape(client: Client) -> dict[str, float]:
    """Value by name and labels, which are sorted by their names."""
    async with client.get("/metrics") as response:
        assert response.status == 200
        text = await response.text()
    return {
        sample.name.removeprefix("llamahttp:") + "".join(f" {label}" for label in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def responses(values: dict[str, float]) -> dict[str, float]:
    head = "http_requests_total "
    return {name.removeprefix(head): value for name, value in values.items() if name.startswith(head)}


async def test_requests_are_counted_by_route_and_status(start: Start) -> None:
    client = await start(metrics=True, api_keys=frozenset({"key"}))
    key = {"Authorization": "Bearer key"}
    client.session.headers.update(key)
    await get(client, "/health")
    await post(client, "/completion", {"prompt": "abc", "n_predict": 2})
    await post(client, "/completion", {"prompt": 5}, 400)
    await post(client, "/slots/0?action=dance", {}, 501)
    for i in range(3):
        await get(client, f"/nowhere/{i}", 404)
    async with client.request("PROPFIND", "/health") as response:
        assert response.status == 405
    del client.session.headers["Authorization"]
    await get(client, "/slots", 401)
    client.session.headers.update(key)
    values = await scrape(client)
    assert responses(values) == {
        "GET /health 200": 1,
        "POST /completion 200": 1,
        "POST /completion 400": 1,
        "POST /slots/{id_slot} 501": 1,
        "GET unmatched 404": 3,
        "other unmatched 405": 1,
        "GET /slots 401": 1,
    }
    assert (values["requests_refused_total invalid"], values["requests_refused_total unauthorized"]) == (1, 1)
    assert values["http_requests_open"] == 1, "the one that asks"


async def test_a_request_leaves_its_marks(start: Start) -> None:
    client = await start(metrics=True)
    for stream in (False, True):
        async with client.post("/completion", json={"prompt": "abc" * 10, "n_predict": 5, "stream": stream}) as answer:
            await answer.read()
    values = await scrape(client)
    for name in ("queue_seconds", "time_to_first_token_seconds", "request_seconds", "prompt_tokens", "output_tokens"):
        assert values[f"{name}_count"] == 2, name
    assert values["requests_finished_total limit"] == 2
    assert values["output_tokens_sum"] == values["llamacpp:tokens_predicted_total"] == 10
    assert values["inter_token_seconds_count"] == 8
    assert values["step_seconds_count"] == values["llamacpp:n_decode_total"]
    assert values["step_tokens_sum"] >= 10 + 8


async def test_clients_that_leave_are_no_errors_of_the_server(start: Start) -> None:
    decoder = FakeDecoder()
    decoder.step_seconds = 0.01
    client = await start(decoder, metrics=True)
    async with client.post("/completion", json={"prompt": "abc", "n_predict": 2000, "stream": True}) as answer:
        await answer.content.readline()
    for _ in range(200):
        values = await scrape(client)
        if values["requests_aborted_total running"]:
            break
        await asyncio.sleep(0.01)
    assert values["requests_aborted_total running"] == 1
    assert responses(values)["POST /completion 499"] == 1


async def test_a_queue_that_is_full_is_counted(start: Start) -> None:
    decoder = FakeDecoder()
    decoder.step_seconds = 0.02
    client = await start(decoder, metrics=True, queue_size=1)
    statuses: Counter[int] = Counter()
    async with AsyncExitStack() as stack:
        for _ in range(20):
            body = {"prompt": "abc", "n_predict": 500, "stream": True}
            post = asyncio.ensure_future(client.post("/completion", json=body))
            stack.callback(post.cancel)
            await asyncio.sleep(0.02)
            if post.done():
                statuses[post.result().status] += 1
                await stack.enter_async_context(post.result())
    assert statuses[429] > 0
    assert (await scrape(client))["requests_refused_total queue_full"] == statuses[429]


async def test_monitors_are_answered_while_the_engine_is_in_a_long_step(start: Start) -> None:
    decoder = FakeDecoder()
    client = await start(decoder, metrics=True)
    await post(client, "/completion", {"prompt": "abc", "n_predict": 2})
    before = await scrape(client)
    decoder.step_seconds = admin.SNAPSHOT_S + 1
    busy = asyncio.create_task(post(client, "/completion", {"prompt": "xyz", "n_predict": 1}))
    await asyncio.sleep(0.1)
    values = await asyncio.wait_for(scrape(client), admin.SNAPSHOT_S + 0.5)
    assert values["snapshot_age_seconds"] >= admin.SNAPSHOT_S
    assert values["llamacpp:tokens_predicted_total"] == before["llamacpp:tokens_predicted_total"]
    assert values["prompt_tokens_count"] == 2, "the request that is being computed has been seen"
    await busy
    assert (await scrape(client))["snapshot_age_seconds"] < 0.5


async def test_counters_never_go_back(start: Start) -> None:
    client = await start(metrics=True)
    before: dict[str, float] = {}
    for i in range(4):
        await post(client, "/completion", {"prompt": "abc" * (i + 1), "n_predict": 3})
        values = await scrape(client)
        for name, value in before.items():
            if "_total" in name or "_bucket" in name or name.endswith(("_count", "_sum")):
                assert values[name] >= value, name
        before = values


async def test_counters_go_on_when_the_model_was_asleep(start: Start) -> None:
    client = await start(metrics=True)
    assert client.app is not None
    state = client.app[STATE]
    await post(client, "/completion", {"prompt": "abc", "n_predict": 3})
    engine = state.require_engine()
    state.fall_asleep(await engine.snapshot())
    await engine.close()
    asleep = await scrape(client)
    state.wake_up(fake_engine())
    await post(client, "/completion", {"prompt": "abc", "n_predict": 3})
    values = await scrape(client)
    for name in ("llamacpp:tokens_predicted_total", "requests_finished_total limit", "request_seconds_count"):
        assert values[name] == 2 * asleep[name] > 0, name
