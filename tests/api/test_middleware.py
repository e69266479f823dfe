from __future__ import annotations

import asyncio
import logging
import re
import traceback

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from llamahttp.api.keys import is_known
from llamahttp.api.middleware import errors
from llamahttp.api.sse import EventStream
from llamahttp.api.state import STATE, ServerState
from llamahttp.config import ServerConfig
from llamahttp.errors import EngineError, LlamaHTTPError, ModelError, QueueFull, Unavailable

from .conftest import Client, Start, make_app, post

LOADING = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'


async def test_unknown_paths_get_the_reference_s_body(client: Client) -> None:
    async with client.get("/nope") as response:
        assert response.status == 404
        assert await response.read() == (b'{"error":{"message":"File Not Found","type":"not_found_error","code":404}}')


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/audio/transcriptions"), ("DELETE", "/models")])
async def test_routes_that_are_not_there_yet_are_501(client: Client, method: str, path: str) -> None:
    async with client.request(method, path, json={}) as response:
        error = (await response.json())["error"]
    assert (response.status, error["type"]) == (501, "not_supported_error")
    assert path in error["message"]


@pytest.mark.parametrize(("method", "path", "allowed"), [("GET", "/completion", "POST"), ("POST", "/health", "GET")])
async def test_a_wrong_method_is_405(client: Client, method: str, path: str, allowed: str) -> None:
    async with client.request(method, path) as response:
        answer = await response.json()
    assert response.status == answer["error"]["code"] == 405
    assert allowed in response.headers["Allow"]


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (QueueFull("full"), 429, "1"),
        (QueueFull("full", retry_after=7), 429, "7"),
        (QueueFull("full", retry_after=None), 429, None),
        (Unavailable("stopping"), 503, None),
        (Unavailable("waited too long", retry_after=3), 503, "3"),
        (EngineError("broken"), 500, None),
    ],
    ids=str,
)
async def test_an_error_says_when_to_come_back(error: LlamaHTTPError, status: int, header: str | None) -> None:
    async def refusing(request: web.Request) -> web.StreamResponse:
        raise error

    app = web.Application(middlewares=[errors])
    app.router.add_get("/", refusing)
    async with TestClient(TestServer(app)) as client, client.get("/") as response:
        assert (response.status, response.headers.get("Retry-After")) == (status, header)
        assert (await response.json())["error"].keys() == {"code", "message", "type"}


async def test_an_unexpected_error_is_500_without_its_text() -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        raise RuntimeError("secret")

    app = web.Application(middlewares=[errors])
    app.router.add_post("/", broken)
    async with TestClient(TestServer(app)) as client:
        answer = await post(client, "/", {}, 500)
    assert answer["error"]["type"] == "server_error"
    assert "secret" not in str(answer)


@pytest.mark.parametrize("error", [RuntimeError("secret"), EngineError("no second answer")])
async def test_an_error_in_a_stream_breaks_it_off(error: Exception) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        stream = EventStream(request, 0)
        await stream.open()
        stream.write(b"data: 1\n\n")
        raise error

    app = web.Application(middlewares=[errors])
    app.router.add_get("/", broken)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert data.endswith(b"\r\n\r\n9\r\ndata: 1\n\n\r\n"), data


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/slots", "/nope"])
async def test_everything_is_503_while_the_model_loads(path: str) -> None:
    async with TestClient(TestServer(make_app(ServerState(ServerConfig(api_keys=frozenset({"k"})))))) as client:
        async with client.get(path) as response:
            assert (response.status, await response.read()) == (503, LOADING)


async def test_a_model_that_does_not_load_is_500_without_its_path() -> None:
    state = ServerState(ServerConfig(), error=ModelError("/secret/path is corrupt"))
    async with TestClient(TestServer(make_app(state))) as client, client.get("/health") as response:
        assert response.status == 500
        assert "secret" not in await response.text()


async def test_health_tells_when_the_engine_has_given_up(client: Client) -> None:
    assert client.app is not None
    engine = client.app[STATE].engine
    assert engine is not None
    engine.failed = EngineError("the engine has stopped")
    n_frames = set()
    for _ in range(3):
        async with client.get("/health") as response:
            assert (response.status, (await response.json())["error"]["message"]) == (500, "the engine has stopped")
        n_frames.add(len(traceback.extract_tb(engine.failed.__traceback__)))
    assert len(n_frames) == 1, "the error grows with every question"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer k\u00e9y2"}, 401),
        ({"Authorization": "Bearer key1"}, 200),
        ({"Authorization": "key2"}, 200),
        ({"X-Api-Key": "key2"}, 200),
        ({"X-Api-Key": "key"}, 401),
    ],
)
async def test_keys(start: Start, headers: dict[str, str], status: int) -> None:
    client = await start(api_keys=frozenset({"key1", "key2"}))
    async with client.get("/v1/models", headers=headers) as response:
        assert response.status == status
        if status == 401:
            assert await response.read() == (
                b'{"error":{"message":"Invalid API Key","type":"authentication_error","code":401}}'
            )


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
async def test_health_needs_no_key(start: Start, path: str) -> None:
    client = await start(api_keys=frozenset({"key"}))
    async with client.get(path) as response:
        assert (response.status, await response.read()) == (200, b'{"status":"ok"}')


def test_a_key_that_is_no_text_is_known_by_its_bytes() -> None:
    assert is_known("k\udce9y", frozenset({"other", "k\udce9y"}))
    assert not is_known("k\udce9", frozenset({"k\udce9y"}))


# --- the log


async def test_the_log_tells_why_a_request_was_refused_in_one_line(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "llamahttp")
    body = {"messages": [{"role": "user", "content": "a"}], "tool_choice": "x\n\x1b[31m" + "y" * 10_000}
    await post(client, "/v1/chat/completions", body, 400)
    await post(client, "/tokenize", {})
    refused, ended, served = [record.getMessage() for record in caplog.records if record.name.startswith("llamahttp")]
    id_request = ended.partition("[")[2].partition("]")[0]
    assert len(id_request) == 16
    assert refused.startswith(f"POST /v1/chat/completions [{id_request}] refused: Invalid tool_choice: x  [31myyy")
    assert refused.isprintable() and len(refused) < 400
    assert ended.startswith(f"POST /v1/chat/completions [{id_request}]: 400 after ")
    assert re.match(r"POST /tokenize \[[0-9a-f]{16}\]: 200 after ", served)


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [("a-1", True), ("3f0c/x=:+._", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("\xe9", False)],
)
async def test_a_request_has_an_id(client: Client, given: str, is_taken: bool) -> None:
    async with client.get("/health", headers={"X-Request-Id": given}) as response:
        assert (response.headers["X-Request-Id"] == given) is is_taken
    async with client.get("/health") as first, client.get("/nope") as second:
        ids = {response.headers["X-Request-Id"] for response in (first, second)}
        assert len(ids) == 2 and all(re.fullmatch(r"[0-9a-f]{16}", one) for one in ids)


async def test_what_monitors_ask_all_day_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "llamahttp")
    async with TestClient(TestServer(make_app(ServerState(ServerConfig())))) as client:
        for path in ("/health", "/slots", "/no%0Asuch"):
            async with client.get(path) as response:
                assert response.status == 503
    assert not [record for record in caplog.records if record.name.startswith("llamahttp")]
