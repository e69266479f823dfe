from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from llamahttp.api.sse import MAX_BUFFERED, EventStream, error_event, event
from llamahttp.errors import ContextExceeded, EngineError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def raw_exchange(handler: Handler, version: str = "1.1") -> bytes:
    """All bytes that a client gets from `handler`, which must close the connection."""
    app = web.Application()
    app.router.add_get("/", handler)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(f"GET / HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
    return data


async def two_events(request: web.Request) -> web.StreamResponse:
    stream = EventStream(request, 0)
    await stream.open()
    stream.write(b"data: 1\n\n")
    stream.write(b"data: 2\n\n")
    return await stream.close()


async def test_bytes_on_the_wire() -> None:
    head, body = (await raw_exchange(two_events)).split(b"\r\n\r\n", 1)
    assert body == b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n"
    assert b"HTTP/1.1 200 OK" in head
    assert b"Content-Type: text/event-stream" in head
    assert b"X-Accel-Buffering: no" in head


async def test_http_1_0_gets_no_chunks() -> None:
    _, body = (await raw_exchange(two_events, "1.0")).split(b"\r\n\r\n", 1)
    assert body == b"data: 1\n\ndata: 2\n\n"


async def test_silence_is_broken_by_comments() -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        stream = EventStream(request, 0.02)
        await stream.open()
        await asyncio.sleep(0.05)
        return await stream.close()

    assert b":\n\n" in await raw_exchange(silent)


async def test_talk_is_not_broken_by_comments() -> None:
    async def busy(request: web.Request) -> web.StreamResponse:
        stream = EventStream(request, 0.2)
        await stream.open()
        for _ in range(10):
            stream.write(b"data: 1\n\n")
            await asyncio.sleep(0.03)
        return await stream.close()

    assert b"\n:\n\n" not in await raw_exchange(busy)


async def test_a_slow_reader_is_waited_for() -> None:
    """Without waiting the whole answer would pile up in the server."""
    n_written = 0
    chunk = event("x" * 10_000)

    async def torrent(request: web.Request) -> web.StreamResponse:
        nonlocal n_written
        stream = EventStream(request, 0)
        await stream.open()
        for _ in range(5000):
            stream.write(chunk)
            n_written += len(chunk)
            if stream.is_congested:
                await stream.drain()
        return await stream.close()

    app = web.Application()
    app.router.add_get("/", torrent)
    async with TestClient(TestServer(app)) as client:
        response = await client.get("/")
        await asyncio.sleep(0.2)
        before, total = n_written, 5000 * len(chunk)
        assert MAX_BUFFERED < before < total
        assert len(await response.read()) == total


async def test_writing_to_a_client_that_has_gone_raises() -> None:
    gone: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def patient(request: web.Request) -> web.StreamResponse:
        stream = EventStream(request, 0)
        await stream.open()
        stream.write(b"data: 1\n\n")
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            with pytest.raises(ConnectionResetError):
                stream.write(b"data: 2\n\n")
            gone.set_result(True)
        return web.Response()

    app = web.Application()
    app.router.add_get("/", patient)
    async with TestServer(app) as server:
        _, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
        assert await asyncio.wait_for(gone, 5)


@pytest.mark.parametrize(
    ("error", "data"),
    [
        (
            EngineError("decode failed"),
            b'data: {"error":{"code":500,"message":"decode failed","type":"server_error"}}\n\n',
        ),
        (
            ContextExceeded(5, 4),
            b'data: {"error":{"code":400,"message":"request (5 tokens) exceeds the available context size '
            b'(4 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":5,"n_ctx":4}}\n\n',
        ),
    ],
)
def test_errors_as_events(error: EngineError, data: bytes) -> None:
    assert error_event(error) == data
