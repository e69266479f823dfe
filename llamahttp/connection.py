"""Connection: what lies between a transport and aiohttp, for clients that end their side of it.

A client that leaves and one that has said all it has to say, and listens, look alike: both end what they send. What
nobody waits for must be cancelled, so the end is taken for leaving, but a moment later: quick answers still get out.
"""

from __future__ import annotations

import asyncio

GRACE_S = 0.1
"""How long a client that sends no more is answered, if nothing else shows that it has left."""


class Connection(asyncio.Protocol):
    """A connection: `handler` does all, except that the client's end closes it after `GRACE_S` instead of at once."""

    def __init__(self, handler: asyncio.Protocol) -> None:
        self._handler = handler
        self._closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._handler.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._closing is not None:
            self._closing.cancel()
        self._handler.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        self._handler.data_received(data)

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()

    def eof_received(self) -> bool:
        self._closing = asyncio.get_running_loop().call_later(GRACE_S, self._transport.close)
        return True
