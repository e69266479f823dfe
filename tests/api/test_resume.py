from __future__ import annotations

import asyncio
import gc
import logging
import time
from typing import Any

import aiohttp
import pytest

from llamahttp.api.answer import Answer
from llamahttp.api.resume import MAX_LOOKUP
from llamahttp.api.sessions import MAX_BYTES, Session
from llamahttp.api.sse import Sink
from llamahttp.api.state import STATE
from llamahttp.queue import ResultStream

from ..fakes import FakeDecoder
from .conftest import Client, Start, decode_events, get, post, post_error, stream

ID = "conv-1::org/model:Q8_0"
BODY = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 30, "stream": True, "seed": 1}
NAMED = {"X-Conversation-Id": ID}


def sessions(client: Client) -> Any:
    assert client.app is not None
    return client.app[STATE].sessions


async def start_chat(client: Client, body: dict[str, Any] = BODY, **headers: str) -> aiohttp.ClientResponse:
    response = await client.post("/v1/chat/completions", json=body, headers=NAMED | headers)
    assert response.status == 200, await response.text()
    return response


async def resume(client: Client, offset: int = 0, status: int = 200, **headers: str) -> bytes:
    params = {"conv_id": ID, "from": str(offset)}
    async with client.get("/v1/stream", params=params, headers=headers) as response:
        assert response.status == status, await response.text()
        if status == 200:
            assert response.content_type == "text/event-stream"
            assert response.headers["X-Accel-Buffering"] == "no"
        return await response.read()


def gated() -> FakeDecoder:
    """A decoder that takes its time."""
    decoder = FakeDecoder()
    decoder.step_seconds = 0.005
    return decoder


async def until(condition: Any) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("path", ["/completion", "/v1/completions", "/v1/chat/completions"])
async def test_a_stream_can_be_read_again_from_any_byte(client: Client, path: str) -> None:
    body = BODY | {"prompt": "hello"}
    async with client.post(path, json=body, headers=NAMED) as response:
        data = await response.read()
    events = decode_events(data)
    assert len(events) > 10
    for offset in (0, 1, len(data) // 2, len(data)):
        assert await resume(client, offset) == data[offset:]


async def test_the_answer_is_the_same_as_without_a_name(client: Client) -> None:
    def text(events: list[Any]) -> str:
        return "".join(e["choices"][0]["delta"].get("content") or "" for e in events if e != "[DONE]")

    async with await start_chat(client) as response:
        named = decode_events(await response.read())
    assert named[-1] == "[DONE]"
    assert text(named) == text(await stream(client, "/v1/chat/completions", BODY)) != ""


async def test_a_stream_goes_on_when_its_client_is_lost_and_is_resumed_where_it_was(start: Start) -> None:
    client = await start(gated())
    response = await start_chat(client)
    begun = await response.content.readuntil(b"\n\n")
    begun += await response.content.readuntil(b"\n\n")
    response.close()
    await asyncio.sleep(0.02)
    rest = await resume(client, len(begun))
    events = decode_events(begun + rest)
    assert events[-1] == "[DONE]"
    assert rest == (await resume(client))[len(begun) :]
    indices = [event["choices"][0]["delta"].get("content") for event in events[:-1] if event["choices"]]
    assert "".join(filter(None, indices)) and len(await resume(client)) == len(begun + rest)


async def test_a_stream_without_a_name_ends_with_its_client(start: Start) -> None:
    decoder = gated()
    client = await start(decoder)
    response = await client.post("/v1/chat/completions", json=BODY | {"max_tokens": 3000})
    await response.content.readuntil(b"\n\n")
    response.close()

    async def idle() -> bool:
        return not any(slot["is_processing"] for slot in await get(client, "/slots"))

    deadline = time.monotonic() + 5
    while not await idle():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_several_read_at_once(start: Start) -> None:
    client = await start(gated())
    response = await start_chat(client)
    readers = [asyncio.create_task(resume(client)) for _ in range(5)]
    data = await response.read()
    assert [await reader for reader in readers] == [data] * 5


async def test_stopping_frees_the_slot_and_forgets_the_stream(start: Start) -> None:
    client = await start(gated())
    response = await start_chat(client, BODY | {"max_tokens": 3000})
    await response.content.readuntil(b"\n\n")
    async with client.delete("/v1/stream", params={"conv_id": ID}) as stopped:
        assert (stopped.status, await stopped.read()) == (204, b"")
    assert b"[DONE]" not in await response.read()
    assert not any(slot["is_processing"] for slot in await get(client, "/slots"))
    assert b"Stream not found or expired" in await resume(client, status=404)
    async with client.delete("/v1/stream", params={"conv_id": ID}) as stopped:
        assert stopped.status == 204, "stopping twice is fine"


async def test_lookup_tells_what_is_asked_for(client: Client) -> None:
    async with await start_chat(client) as response:
        data = await response.read()
    await asyncio.sleep(0.01)
    found = await post(client, "/v1/streams/lookup", {"conversation_ids": ["nope", "conv-1", ""]})
    (session,) = found
    assert session["conversation_id"] == ID
    assert (session["is_done"], session["total_bytes"]) == (True, len(data))
    assert 0 < session["started_at"] <= session["completed_at"]
    assert await post(client, "/v1/streams/lookup", {"conversation_ids": []}) == []
    assert await post(client, "/v1/streams/lookup", {}) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"conversation_ids": "a"}, "conversation_ids"),
        ({"conversation_ids": [1]}, "conversation_ids"),
        ({"conversation_ids": ["a"] * (MAX_LOOKUP + 1)}, str(MAX_LOOKUP)),
    ],
)
async def test_wrong_lookups(client: Client, body: dict[str, Any], message: str) -> None:
    assert message in await post_error(client, "/v1/streams/lookup", body)


@pytest.mark.parametrize(
    ("params", "status", "message"),
    [
        ({}, 400, "Missing conversation id"),
        ({"conv_id": ""}, 400, "Missing conversation id"),
        ({"conv_id": "nope"}, 404, "Stream not found or expired"),
        ({"conv_id": ID, "from": "x"}, 400, "Invalid 'from' offset: 'x'"),
        ({"conv_id": ID, "from": "-1"}, 400, "Invalid 'from' offset: '-1'"),
        ({"conv_id": ID, "from": "1.5"}, 400, "Invalid 'from' offset"),
        ({"conv_id": ID, "from": "9" * 30}, 400, "Invalid 'from' offset"),
        ({"conv_id": ID, "from": "999999"}, 400, "it is 999999, and the stream has"),
    ],
)
async def test_wrong_questions(client: Client, params: dict[str, str], status: int, message: str) -> None:
    async with await start_chat(client) as response:
        await response.read()
    async with client.get("/v1/stream", params=params) as answer:
        assert answer.status == status
        assert message in (await answer.json())["error"]["message"]


async def test_another_key_sees_nothing(start: Start) -> None:
    client = await start(api_keys=frozenset({"k1", "k2"}))
    async with await start_chat(client, Authorization="Bearer k1") as response:
        data = await response.read()
    assert await resume(client, Authorization="Bearer k1") == data
    await resume(client, status=404, Authorization="Bearer k2")
    await resume(client, status=401)
    async with client.delete("/v1/stream", params={"conv_id": ID}, headers={"X-Api-Key": "k2"}) as response:
        assert response.status == 204
    assert await resume(client, Authorization="Bearer k1") == data


async def test_a_stream_has_no_head(client: Client) -> None:
    async with await start_chat(client) as response:
        await response.read()
    async with client.head("/v1/stream", params={"conv_id": ID}) as response:
        assert (response.status, response.headers["Allow"]) == (405, "DELETE, GET")


async def test_who_reads_too_slowly_is_told_as_the_last_event(start: Start) -> None:
    client = await start()
    gate, more = asyncio.Event(), b"x" * MAX_BYTES

    async def produce(sink: Sink) -> None:
        await sink.open()
        sink.write(b": 1\n\n")
        await gate.wait()
        sink.write(more)
        sink.write(more)

    sessions(client).start("", ID, 0, produce)
    async with client.get("/v1/stream", params={"conv_id": ID}) as response:
        assert await response.content.readuntil(b"\n\n") == b": 1\n\n"
        gate.set()
        (event,) = decode_events(await response.read())
    assert event["error"]["message"].startswith("Stream offset lost, please restart: 'from' is 5")


async def test_a_request_that_fails_leaves_no_stream(client: Client) -> None:
    body = BODY | {"messages": [{"role": "user", "content": "x" * 5000}]}
    async with client.post("/v1/chat/completions", json=body, headers=NAMED) as response:
        assert response.status == 400
    await resume(client, status=404)


async def test_a_whole_answer_leaves_no_stream(client: Client) -> None:
    async with client.post("/v1/chat/completions", json=BODY | {"stream": False}, headers=NAMED) as response:
        assert response.status == 200
    await resume(client, status=404)


async def test_an_error_in_the_midst_is_the_last_event_for_those_who_come_back_too(start: Start) -> None:
    decoder = gated()
    client = await start(decoder)
    response = await start_chat(client, BODY | {"max_tokens": 3000})
    await response.content.readuntil(b"\n\n")
    decoder.errors = [RuntimeError("broken")] * 3
    data = await response.read()
    last = decode_events(await resume(client))[-1]
    assert last["error"]["type"] == "server_error"
    assert data.endswith(b'"type":"server_error"}}\n\n')


async def test_a_thousand_streams_leave_nothing(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "aiohttp.server")  # what is logged of clients that leave would be kept
    client = await start()

    async def run(i: int) -> None:
        headers = {"X-Conversation-Id": str(i)}
        body = {"prompt": "a", "n_predict": 8, "stream": True}
        async with client.post("/completion", json=body, headers=headers) as response:
            assert response.status == 200
            if i % 2:
                await response.read()
        if i % 3 == 0:
            await (await client.delete("/v1/stream", params={"conv_id": str(i)})).read()

    async def run_all(first: int, n: int) -> None:
        for i in range(first, first + n, 20):
            await asyncio.gather(*(run(j) for j in range(i, i + 20)))
        await until(lambda: sessions(client).n_running == 0)
        for i in range(first, first + n):
            sessions(client).cancel("", str(i))

    kinds = (Session, Answer, ResultStream)
    known: set[object] = set()  # of other tests

    def left() -> set[object]:
        gc.collect()
        return {one for one in gc.get_objects() if type(one) in kinds} - known

    known = left()
    for first in range(0, 1000, 200):
        await run_all(first, 200)
    await until(lambda: not left())  # the last handlers may still notice that their clients have gone
