"""Connection: what lies between a transport and aiohttp, for clients that end their side of it.

A client that leaves and one that has said all it has to say, and listens, look alike: both end what they send. The one
that listens does so with its request, the one that leaves later. So an end that comes with a request is taken for
leaving only after a moment, in which quick answers get out; any other at once, since what nobody waits for must be
cancelled.
"""

from __future__ import annotations

import asyncio

GRACE_S = 0.1
"""How long a client that sends no more is answered, if nothing else shows that it has left."""

WITH_REQUEST_S = 0.02
"""Seconds after the last bytes of a request in which its sender's end belongs to it."""


class Connection(asyncio.Protocol):
    """A connection: `handler` does all, except that a client's end that comes with its request closes it later."""

    def __init__(self, handler: asyncio.Protocol, *, can_half_close: bool = True) -> None:
        """`can_half_close`: an end of one side can leave the other open, as over TLS it cannot."""
        self._can_half_close = can_half_close
        self._handler = handler
        self._closing: asyncio.TimerHandle | None = None
        self._last_data = -1.0  # loop time
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._handler.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._closing is not None:
            self._closing.cancel()
        self._handler.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        self._last_data = self._loop.time()
        self._handler.data_received(data)

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()

    def eof_received(self) -> bool:
        if not self._can_half_close or self._loop.time() - self._last_data > WITH_REQUEST_S:
            return False  # which closes the transport
        self._closing = self._loop.call_later(GRACE_S, self._transport.close)
        return True
