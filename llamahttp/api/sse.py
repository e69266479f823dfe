"""Server-sent events: bytes to one client, with the headers sent late and the pace set by the reader.

This is the most called code of the server: 16 streams at a few hundred tokens a second each.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from aiohttp import HttpVersion11, web

from ..errors import LlamaHTTPError
from .body import encode, error_body

DONE = b"data: [DONE]\n\n"
PING = b":\n\n"
MAX_BUFFERED = 64 << 10
"""Bytes that may wait for a slow reader before the stream waits too."""


def event(value: object) -> bytes:
    """One event with `value` as its JSON data."""
    return b"data: %b\n\n" % encode(value)


def error_event(error: LlamaHTTPError) -> bytes:
    """What a client gets when the answer has begun and cannot go on."""
    return event(error_body(error))


class Sink(Protocol):
    """Where a stream of events goes. It opens with the first event, or by itself where that is long in coming."""

    @property
    def is_open(self) -> bool:
        """There is a stream: an error can only be one of its events."""

    async def open(self) -> None: ...

    def write(self, data: bytes) -> None:
        """Take whole events, or nothing for b""."""

    @property
    def is_congested(self) -> bool:
        """`drain` before the next `write`."""

    async def drain(self) -> None: ...


class Heartbeat:
    """Calls `beat` whenever nothing was written for `interval_s`; 0 or less is never."""

    __slots__ = ("_beat", "_interval_s", "_loop", "_timer", "last_s")

    def __init__(self, interval_s: float, beat: Callable[[], None]) -> None:
        self._interval_s = interval_s
        self._beat = beat
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.last_s = 0.0
        """Loop time of the last write; whoever writes sets it."""

    def start(self) -> None:
        self.last_s = self._loop.time()
        if self._interval_s > 0:
            self._timer = self._loop.call_later(self._interval_s, self._check)

    def stop(self) -> None:
        """Safe twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        silence_s = self._loop.time() - self.last_s
        if silence_s >= self._interval_s:
            self._beat()
            silence_s = 0.0
        self._timer = self._loop.call_later(self._interval_s - silence_s, self._check)


class EventStream:
    """A response of events. Until `open` nothing is sent, so that an error before it can be a plain HTTP error.

    A client that waits in vain for the first event gets comments too, as when its request is queued: they open the
    stream.
    """

    def __init__(self, request: web.Request, ping_interval_s: float, write_timeout_s: float = 0.0) -> None:
        """`ping_interval_s`: silence after which a comment keeps the connection alive; 0 or less is never.
        `write_timeout_s`: how long a client may not read before it counts as gone; 0 is for ever."""
        self._request = request
        self._is_chunked = request.version >= HttpVersion11
        self._response: web.StreamResponse | None = None
        self._transport: asyncio.Transport | None = None
        self._heartbeat = Heartbeat(ping_interval_s, self._ping)
        self._write_timeout_s = write_timeout_s
        self._time = asyncio.get_running_loop().time
        self._opening = asyncio.Lock()
        self._early: asyncio.Task[None] | None = None
        """Opens the stream before there is an event."""
        self._heartbeat.start()

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    async def open(self) -> None:
        """Send status and headers, once."""
        async with self._opening:
            if self._transport is None:
                await self._open()

    async def _open(self) -> None:
        headers = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }
        self._response = web.StreamResponse(headers=headers)
        await self._response.prepare(self._request)
        await self._response.write(b"")
        if self._request.transport is None:
            raise ConnectionResetError("the client has gone")
        self._transport = self._request.transport

    def write(self, data: bytes) -> None:
        """Send whole events, or nothing for b"". Raises ConnectionResetError when the client has gone.

        The chunk goes to the transport directly: `StreamResponse.write` costs two more coroutines for each token.
        """
        if not data:
            return  # a chunk of no bytes would end the response
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
        self._heartbeat.last_s = self._time()

    @property
    def is_congested(self) -> bool:
        """The client reads more slowly than is written: `drain` before the next `write`."""
        return self._transport is not None and self._transport.get_write_buffer_size() > MAX_BUFFERED

    async def drain(self) -> None:
        """Wait until the client has read. Raises ConnectionResetError when it does not."""
        try:
            await asyncio.wait_for(self._request.writer.drain(), self._write_timeout_s or None)
        except asyncio.TimeoutError:
            raise ConnectionResetError(f"the client has read nothing for {self._write_timeout_s:g} s") from None

    async def close(self) -> web.StreamResponse:
        """End the response."""
        assert self._response is not None
        self.stop_pings()
        await self._response.write_eof()
        return self._response

    def stop_pings(self) -> None:
        """Send no more comments. Safe twice."""
        self._heartbeat.stop()
        if self._early is not None:
            self._early.cancel()

    def _ping(self) -> None:
        if self._transport is None:
            self._early = asyncio.create_task(self._open_early())
        elif not self._transport.is_closing():
            self.write(PING)

    async def _open_early(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self.open()
            self._ping()
