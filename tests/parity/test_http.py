"""The HTTP side of both servers: statuses, headers, and streams that are resumed. Names say where ours differs."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from .servers import Pair, pair

KEY = {"Authorization": "Bearer k1"}
CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8, "temperature": 0, "stream": True}
CORS = ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Allow-Methods")


@pytest.fixture(scope="module")
def both(llama_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("http")
    keys = folder / "keys"
    keys.write_text("# a comment\n\nk1\nk2\n")
    with pair(llama_gguf, folder / "log", ["--api-key-file", str(keys)]) as servers:
        yield servers


def ask(url: str, method: str, path: str, **kwargs: Any) -> requests.Response:
    return requests.request(method, f"{url}{path}", timeout=30, **kwargs)


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/health", {}),
        ("GET", "/health", KEY),
        ("GET", "/v1/models", {}),
        ("GET", "/v1/models", {"X-Api-Key": "k2"}),
        ("GET", "/v1/models", {"Authorization": "k2"}),
        ("GET", "/v1/models", {"Authorization": "Bearer # a comment"}),
        ("GET", "/no/such/path", KEY),
        ("POST", "/no/such/path", {}),
        ("GET", "/v1/stream", KEY),
        ("GET", "/v1/stream?conv_id=nope", KEY),
        ("GET", "/v1/stream?conv_id=nope", {}),
        ("DELETE", "/v1/stream?conv_id=nope", KEY),
        ("DELETE", "/v1/stream", KEY),
        (
            "OPTIONS",
            "/v1/chat/completions",
            {"Origin": "https://chat.example", "Access-Control-Request-Method": "POST"},
        ),
    ],
)
def test_status_and_shape(both: Pair, method: str, path: str, headers: dict[str, str]) -> None:
    ours, theirs = (ask(url, method, path, headers=headers) for url in (both.ours, both.reference))
    assert ours.status_code == theirs.status_code
    if ours.status_code >= 400:
        assert ours.json()["error"].keys() == theirs.json()["error"].keys()
        assert ours.json()["error"]["type"] == theirs.json()["error"]["type"]
    for name in CORS if method == "OPTIONS" else ():
        assert ours.headers[name] == theirs.headers[name]


def test_streams_are_resumed_alike(both: Pair) -> None:
    found = []
    for url in (both.ours, both.reference):
        named = KEY | {"X-Conversation-Id": "c::m/x:Q8"}
        sent = ask(url, "POST", "/v1/chat/completions", json=CHAT, headers=named)
        assert sent.headers["Content-Type"].startswith("text/event-stream")
        assert sent.headers["X-Accel-Buffering"] == "no"
        data = sent.content
        where = {"conv_id": "c::m/x:Q8"}
        rest = ask(url, "GET", "/v1/stream", params=where | {"from": "100"}, headers=KEY)
        assert rest.content == data[100:]
        (session,) = ask(url, "POST", "/v1/streams/lookup", json={"conversation_ids": ["c", "d"]}, headers=KEY).json()
        assert (session["is_done"], session["total_bytes"]) == (True, len(data))
        refused = ask(url, "GET", "/v1/stream", params=where | {"from": "x"}, headers=KEY)
        found.append((refused.status_code, refused.json()["error"]["type"]))
        stopped = ask(url, "DELETE", "/v1/stream", params=where, headers=KEY)
        gone = ask(url, "GET", "/v1/stream", params=where, headers=KEY)
        text = "".join(
            json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
            for line in data.decode().split("\n\n")
            if line.startswith("data: {") and json.loads(line[6:])["choices"]
        )
        found.append((stopped.status_code, gone.status_code, sorted(session), data.endswith(b"data: [DONE]\n\n"), text))
    assert found[: len(found) // 2] == found[len(found) // 2 :]


def test_another_key_s_streams_are_not_told_other_than_by_llama_server(both: Pair) -> None:
    for url, status in ((both.ours, 404), (both.reference, 200)):
        ask(url, "POST", "/v1/chat/completions", json=CHAT, headers=KEY | {"X-Conversation-Id": "mine"})
        other = ask(url, "GET", "/v1/stream", params={"conv_id": "mine"}, headers={"X-Api-Key": "k2"})
        assert other.status_code == status


MALFORMED: list[tuple[bytes, int]] = [
    (b"GARBAGE\r\n\r\n", 400),
    (b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\nHost x\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (b"a" * 20_000), 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: x\r\nX-Api-Key: k1\r\nContent-Length: abc\r\n\r\n", 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: x\r\nX-Api-Key: k1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
]


@pytest.mark.parametrize(("data", "status"), MALFORMED, ids=lambda value: repr(value)[:60])
def test_what_is_no_http_is_refused(both: Pair, data: bytes, status: int) -> None:
    """By aiohttp's parser, before there is a request: as text that says what is wrong; llama-server says nothing."""
    bodies = []
    for url in (both.ours, both.reference):
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as client:
            client.sendall(data)
            answer = b""
            while piece := client.recv(10_000):
                answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        assert int(head.split()[1]) == status
        bodies.append(body)
    assert bool(bodies[0]) and not bodies[1]
