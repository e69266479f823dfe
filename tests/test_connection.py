"""Connection: a client that sends no more gets its answer if that is quick, and else counts as gone."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
from process import FAKE, Server, get

PROMPT = json.dumps({"prompt": "a", "n_predict": -1}).encode()
ENDLESS = b"POST /completion HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(PROMPT), PROMPT)


@pytest.fixture
def url() -> Iterator[str]:
    with Server(FAKE, ["--port", "0"]) as server:
        yield server.ready()


def connect(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10)


def read_to_the_end(client: socket.socket) -> bytes:
    data = b""
    while piece := client.recv(10_000):
        data += piece
    return data


def is_idle(url: str) -> bool:
    return not any(slot["is_processing"] for slot in get(f"{url}/slots")[1])


def wait_until_idle(url: str) -> None:
    deadline = time.monotonic() + 5
    while not is_idle(url):
        assert time.monotonic() < deadline, "the slot is still at work for a client that has gone"


def test_a_client_that_ends_its_side_is_answered(url: str) -> None:
    with connect(url) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = read_to_the_end(client)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"status": "ok"}


def test_a_client_that_ends_its_side_without_a_request_is_let_go(url: str) -> None:
    with connect(url) as client:
        client.shutdown(socket.SHUT_WR)
        assert read_to_the_end(client) == b""


@pytest.mark.parametrize("how", [socket.SHUT_RDWR, socket.SHUT_WR])
def test_a_long_answer_that_nobody_may_wait_for_is_cancelled(url: str, how: int) -> None:
    with connect(url) as client:
        client.sendall(ENDLESS)
        while is_idle(url):
            pass
        client.shutdown(how)
        wait_until_idle(url)
