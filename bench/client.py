"""The load generator: plain sockets and one selector, nothing else between the kernel and a time stamp.

It shares the cores with the server that it measures, so a read costs it a few microseconds: stamp, store,
look for the end. What was read is parsed later (`bench.exchange`).
"""

from __future__ import annotations

import gc
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.address import Address
from bench.exchange import Exchange, MalformedError
from bench.scenario import Lane, Request

READ_SIZE = 1 << 14  # bytes. Beyond 128 KiB the allocator maps and unmaps each buffer: 10 us a read instead of 1.
POLL_S = 0.25  # how late a time-out may be noticed, seconds


@dataclass(slots=True)
class Round:
    """The raw result of one round. `started_at` and `ended_at` are `time.perf_counter()` seconds."""

    exchanges: list[Exchange]
    started_at: float
    ended_at: float
    client_cpu_s: float

    @property
    def wall_s(self) -> float:
        return self.ended_at - self.started_at


@dataclass(slots=True)
class Client:
    """One lane at work: its connection, the request in flight and those still to send."""

    address: Address
    lane: Lane
    timeout_s: float
    api_key: str | None = None
    exchanges: list[Exchange] = field(default_factory=list)
    sock: socket.socket | None = None
    has_served: bool = False  # whether the connection has carried an answer already

    @property
    def waiting(self) -> bool:
        return bool(self.exchanges) and self.current.ended_at is None

    @property
    def done(self) -> bool:
        return len(self.exchanges) == len(self.lane) and not self.waiting

    @property
    def current(self) -> Exchange:
        return self.exchanges[-1]

    def connect(self) -> None:
        """Raises OSError."""
        self.sock = socket.create_connection(self.address.pair, timeout=self.timeout_s)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send_next(self) -> None:
        """Send the next request of the lane, over a new connection if the old one is gone."""
        self.exchanges.append(Exchange(self.lane[len(self.exchanges)], sent_at=time.perf_counter()))
        self._send()

    def _send(self) -> None:
        data = wire_bytes(self.current.request, self.address, self.api_key)
        try:
            if self.sock is None:
                self.connect()
            assert self.sock is not None
            self.sock.settimeout(self.timeout_s)
            self.sock.sendall(data)
            # Without a time-out on the socket a read is one system call instead of two.
            self.sock.setblocking(False)
        except OSError as error:
            self._lose(f"cannot send: {error}")

    def read(self) -> None:
        """Take what has arrived; the socket is known to be readable."""
        assert self.sock is not None
        try:
            data = self.sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(f"connection lost: {error}")
            return
        if data:
            self._take(time.perf_counter(), data)
        else:
            self._lose("connection closed")

    def _lose(self, fault: str) -> None:
        """The connection is gone; what a kept connection did not take goes out over a new one.

        It keeps the time of its first sending: closing without saying so, as llama-server does after a
        stream, is the server's choice and costs what it costs any client.
        """
        may_retry = self.has_served and not self.current.reads
        self.disconnect()
        if may_retry:
            self._send()
        else:
            self.current.lose(time.perf_counter(), fault)

    def _take(self, now: float, data: bytes) -> None:
        exchange = self.current
        try:
            complete = exchange.feed(now, data)
        except MalformedError as error:
            self.disconnect()
            exchange.fail(now, str(error))
            return
        self.has_served = True
        if complete and exchange.head is not None and not exchange.head.keep_alive:
            self.disconnect()

    def expire(self, now: float) -> None:
        """End a request that has taken longer than the time-out."""
        if self.waiting and now - self.current.sent_at > self.timeout_s:
            self.disconnect()
            self.current.fail(now, f"time-out after {self.timeout_s:g} s")

    def disconnect(self) -> None:
        sock, self.sock, self.has_served = self.sock, None, False
        if sock is not None:
            sock.close()


def wire_bytes(request: Request, address: Address, api_key: str | None) -> bytes:
    authorization = f"Authorization: Bearer {api_key}\r\n" if api_key else ""
    head = (
        f"POST {request.path} HTTP/1.1\r\nHost: {address}\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(request.body)}\r\n\r\n"
    )
    return head.encode("latin-1") + request.body


@contextmanager
def quiet_collector() -> Iterator[None]:
    """No garbage collection inside: a pause of the client would look like one of the server."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run_round(address: Address, lanes: list[Lane], timeout_s: float, api_key: str | None = None) -> Round:
    """Connect all lanes, then let each send its requests; returns when every one is answered or has failed.

    `timeout_s` bounds each request. Connections are open before the clock starts, since clients keep theirs.
    """
    clients = [Client(address, lane, timeout_s, api_key) for lane in lanes if lane]
    try:
        with quiet_collector():
            return _drive(clients)
    finally:
        for client in clients:
            client.disconnect()


def _drive(clients: list[Client]) -> Round:
    for client in clients:
        try:
            client.connect()
        except OSError:
            client.disconnect()  # `send_next` tries once more and reports it as a fault of the request
    with selectors.DefaultSelector() as selector:
        cpu_before = time.process_time()
        started_at = time.perf_counter()
        open_clients = {id(client): client for client in clients}
        for client in clients:
            _advance(client, selector, open_clients)
        next_check = started_at + POLL_S
        while open_clients:
            for key, _ in selector.select(POLL_S):
                client = key.data
                client.read()
                if client.sock is not key.fileobj or not client.waiting:
                    selector.unregister(key.fileobj)
                    _advance(client, selector, open_clients)
            now = time.perf_counter()
            if now >= next_check:
                next_check = now + POLL_S
                _expire(selector, open_clients, now)
        ended_at = time.perf_counter()
        client_cpu_s = time.process_time() - cpu_before
    exchanges = [exchange for client in clients for exchange in client.exchanges]
    return Round(exchanges, started_at, ended_at, client_cpu_s)


def _advance(client: Client, selector: selectors.BaseSelector, open_clients: dict[int, Client]) -> None:
    """Send requests until one is under way (what cannot be sent has failed) or the lane is at its end."""
    while not client.done:
        if not client.waiting:
            client.send_next()
        if client.waiting:
            assert client.sock is not None
            selector.register(client.sock, selectors.EVENT_READ, client)
            return
    del open_clients[id(client)]


def _expire(selector: selectors.BaseSelector, open_clients: dict[int, Client], now: float) -> None:
    for client in list(open_clients.values()):
        sock = client.sock
        client.expire(now)
        if not client.waiting:
            if sock is not None:
                selector.unregister(sock)
            _advance(client, selector, open_clients)
