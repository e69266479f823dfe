"""HTTP: the server's ends of the protocol, with raw bytes and with the clients people use."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
import requests
from process import FAKE, Server, get

BODY = json.dumps({"prompt": "a", "n_predict": 2}).encode()
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    flags = ["--port", "0", "--timeout", "1", "--sse-ping-interval", "1"]
    with Server(FAKE, flags, {"FAKE_STEP_S": "0.001"}) as server:
        yield server.ready()
        server.interrupt()
        assert "Traceback" not in server.end()[2]


def connect(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10)


def exchange(url: str, *parts: bytes) -> bytes:
    """Send `parts` and read until the server closes."""
    with connect(url) as client:
        for part in parts:
            client.sendall(part)
        data = b""
        while piece := client.recv(65536):
            data += piece
    return data


def post(path: str, headers: str, version: str = "1.1") -> bytes:
    return f"POST {path} HTTP/{version}\r\nHost: x\r\n{headers}\r\n".encode()


# --- messages


def test_http_1_0_gets_whole_answers_and_streams_without_chunks(url: str) -> None:
    answer = exchange(url, post("/completion", f"Content-Length: {len(BODY)}\r\n", "1.0") + BODY)
    assert answer.startswith(b"HTTP/1.0 200 OK") and answer.endswith(b"}")
    streamed = BODY[:-1] + b', "stream": true}'
    head, _, body = exchange(
        url, post("/completion", f"Content-Length: {len(streamed)}\r\n", "1.0") + streamed
    ).partition(b"\r\n\r\n")
    assert b"chunked" not in head and body.startswith(b"data: {")


def test_a_body_in_chunks_is_read(url: str) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:5], BODY[5:])) + b"0\r\n\r\n"
    answer = exchange(url, post("/completion", "Transfer-Encoding: chunked\r\nConnection: close\r\n"), chunks)
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_expects_100_gets_it_first(url: str) -> None:
    head = post("/completion", f"Content-Length: {len(BODY)}\r\nExpect: 100-continue\r\nConnection: close\r\n")
    with connect(url) as client:
        client.sendall(head)
        assert client.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n")
        client.sendall(BODY)
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    assert exchange(url, head.replace(b"100-continue", b"miracles")).startswith(b"HTTP/1.1 417")


def test_requests_one_behind_the_other_are_answered_in_order(url: str) -> None:
    n = 500
    one = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /nope HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = exchange(url, one * n, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"404"] * n + [b"200"]


def test_head_is_get_without_a_body(url: str) -> None:
    for path, status in (("/health", 200), ("/", 200), ("/nope", 404)):
        answer = requests.head(url + path, timeout=10)
        assert (answer.status_code, answer.content) == (status, b"")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 500 + b"\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /completion HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /completion HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
    ],
    ids=["long header", "many headers", "two lengths", "negative length", "bad chunk", "version", "bytes"],
)
def test_what_is_not_http_is_refused(url: str, head: bytes) -> None:
    assert re.match(rb"HTTP/1.[01] 400 ", exchange(url, head))


# --- patience


def test_a_body_that_does_not_go_on_is_given_up(url: str) -> None:
    began = time.monotonic()
    answer = exchange(url, post("/completion", "Content-Length: 1000\r\nConnection: close\r\n"), BODY)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"stood still for 1 s" in answer
    assert time.monotonic() - began < 15


def test_many_silent_connections_do_no_harm(url: str) -> None:
    clients = [connect(url) for _ in range(1000)]
    try:
        for client in clients[::2]:
            client.sendall(b"POST /completion HTTP/1.1\r\nHost: ")  # and no more
        assert get(f"{url}/health") == (200, {"status": "ok"})
        assert requests.post(f"{url}/completion", data=BODY, timeout=10).json()["stop"]
    finally:
        for client in clients:
            client.close()


def test_a_reader_that_stands_still_blocks_nobody_and_is_cut_off(url: str) -> None:
    body = json.dumps({"prompt": "a", "n_predict": 4000, "stream": True, "n_probs": 50}).encode()
    with connect(url) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(post("/completion", f"Content-Length: {len(body)}\r\n") + body)
        began = time.monotonic()
        assert requests.post(f"{url}/completion", data=BODY, timeout=10).json()["stop"]
        assert time.monotonic() - began < 8
        deadline = time.monotonic() + 15
        while any(slot["is_processing"] for slot in get(f"{url}/slots")[1]):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_who_waits_for_a_slot_gets_comments() -> None:
    flags = ["--port", "0", "--sse-ping-interval", "1", "-np", "1"]
    body = {"prompt": "a", "n_predict": 30, "stream": True}
    with Server(FAKE, flags, {"FAKE_STEP_S": "0.05"}) as server:
        url = server.ready()
        first = [
            requests.post(f"{url}/completion", json=body | {"n_predict": 12}, stream=True, timeout=20) for _ in range(4)
        ]
        with requests.post(f"{url}/completion", json=body, stream=True, timeout=20) as answer:
            text = answer.text
        for one in first:
            one.close()
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert text.startswith((":\n\n", "data: ")) and text.rstrip().endswith("}")


# --- where


def test_clients_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "llama.sock"
    with Server(FAKE, ["--host", f"{path},127.0.0.1", "--port", "0"], {"FAKE_STEP_S": "0"}) as server:
        url = server.ready()
        assert get(f"{url}/health")[0] == 200
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as http:
            assert http.get("http://any.example/health").json() == {"status": "ok"}, "no page comes this way"
            client = openai.OpenAI(base_url="http://localhost/v1", api_key="none", http_client=http)
            chat = client.chat.completions.with_raw_response.create(model="any", messages=HELLO, max_tokens=3)  # type: ignore[arg-type]
            assert chat.headers["X-Request-Id"]
            stream = client.chat.completions.create(model="any", messages=HELLO, max_tokens=3, stream=True)  # type: ignore[call-overload]
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_two_servers_share_a_port() -> None:
    with Server(FAKE, ["--port", "0", "--reuse-port"]) as first:
        port = first.ready().rpartition(":")[2]
        with Server(FAKE, ["--port", port, "--reuse-port"]) as second:
            assert second.ready().endswith(port)


def test_ipv6() -> None:
    with Server(FAKE, ["--host", "::1", "--port", "0"]) as server:
        url = server.ready()
        assert url.startswith("http://[::1]:")
        assert get(f"{url}/health")[0] == 200


def test_a_name_of_the_web_is_refused_unless_it_is_allowed(url: str) -> None:
    def status(url: str, name: str) -> int:
        port = url.rpartition(":")[2]
        return requests.get(f"{url}/v1/models", headers={"Host": f"{name}:{port}"}, timeout=10).status_code

    assert status(url, "localhost") == 200
    assert status(url, "evil.example") == 403
    with Server(FAKE, ["--port", "0", "--allowed-hosts", "chat.example"]) as server:
        other = server.ready()
        assert status(other, "chat.example") == 200
        assert status(other, "evil.example") == 403


def test_keys_from_a_file_with_comments(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# mine\nk1\n\n  k2  \n")
    with Server(FAKE, ["--port", "0", "--api-key-file", str(keys), "--api-key", "k3,k4"]) as server:
        url = server.ready()
        for key, status in (("k1", 200), ("k2", 200), ("k3", 200), ("k4", 200), ("# mine", 401), ("", 401)):
            answer = requests.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"}, timeout=10)
            assert answer.status_code == status, key
