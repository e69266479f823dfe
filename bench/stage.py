"""Stage: clients that come, ask and leave at chosen moments, for scenarios that a list of lanes cannot tell.

One selector and one thread, as in `bench.client`: while nobody calls `play`, nothing is read.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from bench.address import Address
from bench.client import POLL_S, Client
from bench.exchange import Exchange
from bench.scenario import Request

LEFT = "the client left"
"""The fault of an exchange that the client itself broke off."""


class Stage:
    """Clients of one server. Use it in a `with` block, which closes every connection."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s  # for each request
        self._selector = selectors.DefaultSelector()
        self._clients: list[Client] = []
        self._next_check = 0.0

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.disconnect()
        self._selector.close()

    def join(self, n: int) -> list[Client]:
        """`n` clients with open connections. OSError when the server takes none."""
        clients = [Client(self._address, [], self._timeout_s) for _ in range(n)]
        for client in clients:
            self._clients.append(client)
            client.connect()
        return clients

    def send(self, client: Client, request: Request) -> Exchange:
        """Send now, over the client's connection or a new one; a send that fails is a fault of the exchange."""
        client.lane.append(request)
        client.send_next()
        if client.waiting:
            self._watch(client)
        return client.current

    def ask(self, requests: list[Request]) -> list[Exchange]:
        """One client for each request: all connected first, then all sent."""
        clients = self.join(len(requests))
        return [self.send(client, request) for client, request in zip(clients, requests, strict=True)]

    def leave(self, exchange: Exchange) -> float:
        """Close the connection under a request; returns when, in `time.perf_counter()` seconds."""
        client = next(client for client in self._clients if client.exchanges and client.current is exchange)
        now = time.perf_counter()
        if client.waiting:
            assert client.sock is not None
            self._selector.unregister(client.sock)
            client.disconnect()
            exchange.fail(now, LEFT)
        self._clients.remove(client)
        return now

    def play(self, until: Callable[[], bool], at_most_s: float) -> bool:
        """Read what comes until `until()` holds, which is then true, or for `at_most_s` seconds."""
        deadline = time.perf_counter() + at_most_s
        while not until():
            now = time.perf_counter()
            if now >= deadline:
                return False
            for key, _ in self._selector.select(min(POLL_S, deadline - now)):
                self._read(key)
            if now >= self._next_check:
                self._next_check = now + POLL_S
                self._expire(now)
        return True

    def finish(self, exchanges: list[Exchange]) -> None:
        """Play until all of them have ended, well or by their time-out."""
        self.play(lambda: all(exchange.ended_at is not None for exchange in exchanges), 2 * self._timeout_s)

    def _watch(self, client: Client) -> None:
        assert client.sock is not None
        self._selector.register(client.sock, selectors.EVENT_READ, client)

    def _read(self, key: selectors.SelectorKey) -> None:
        client: Client = key.data
        client.read()
        if client.sock is not key.fileobj or not client.waiting:
            self._selector.unregister(key.fileobj)
            if client.waiting:  # sent again over a new connection
                self._watch(client)

    def _forget(self, sock: socket.socket) -> None:
        with suppress(KeyError):  # an idle client's socket is not watched
            self._selector.unregister(sock)

    def _expire(self, now: float) -> None:
        for client in self._clients:
            sock = client.sock
            client.expire(now)
            if sock is not None and client.sock is None and client.exchanges:
                self._forget(sock)


def has_text(exchange: Exchange) -> bool:
    """Whether a first event has come, or the end."""
    return exchange.ended_at is not None or any(b'"content"' in data for _, data in exchange.reads[:4])
