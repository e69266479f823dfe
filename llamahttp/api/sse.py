"""Server-sent events: bytes to one client, with the headers sent late and the pace set by the reader.

This is the most called code of the server: 16 streams at a few hundred tokens a second each.
"""

from __future__ import annotations

import asyncio

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


class EventStream:
    """A response of events. Until `open` nothing is sent, so that an error before it can be a plain HTTP error."""

    def __init__(self, request: web.Request, ping_interval_s: float) -> None:
        """`ping_interval_s`: silence after which a comment keeps the connection alive; 0 or less is never."""
        self._request = request
        self._is_chunked = request.version >= HttpVersion11
        self._response: web.StreamResponse | None = None
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._ping_interval_s = ping_interval_s
        self._ping: asyncio.TimerHandle | None = None
        self._last_write_s = 0.0

    @property
    def is_open(self) -> bool:
        return self._response is not None

    async def open(self) -> None:
        """Send status and headers."""
        headers = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }
        self._response = web.StreamResponse(headers=headers)
        await self._response.prepare(self._request)
        await self._response.write(b"")
        self._transport = self._request.transport
        self._last_write_s = self._loop.time()
        if self._ping_interval_s > 0:
            self._ping = self._loop.call_later(self._ping_interval_s, self._send_ping)

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
        self._last_write_s = self._loop.time()

    @property
    def is_congested(self) -> bool:
        """The client reads more slowly than is written: `drain` before the next `write`."""
        return self._transport is not None and self._transport.get_write_buffer_size() > MAX_BUFFERED

    async def drain(self) -> None:
        """Wait until the client has read."""
        await self._request.writer.drain()

    async def close(self) -> web.StreamResponse:
        """End the response."""
        assert self._response is not None
        self.cancel_ping()
        await self._response.write_eof()
        return self._response

    def cancel_ping(self) -> None:
        """Send no more comments. Safe twice."""
        if self._ping is not None:
            self._ping.cancel()
            self._ping = None

    def _send_ping(self) -> None:
        silence_s = self._loop.time() - self._last_write_s
        if silence_s >= self._ping_interval_s and not (self._transport is None or self._transport.is_closing()):
            self.write(PING)
            silence_s = 0.0
        self._ping = self._loop.call_later(self._ping_interval_s - silence_s, self._send_ping)
