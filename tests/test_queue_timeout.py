"""A request that waits too long for a slot, over HTTP with the real server."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPResponse
from pathlib import Path

import pytest

from .process import REAL, Server

TIMEOUT_S = 0.4
FLAGS = ["--port", "0", "-np", "1", "-c", "512", "-t", "1", "--context-shift", "--queue-timeout", str(TIMEOUT_S)]


def test_a_request_gets_503_when_no_slot_has_become_free(llama_gguf: Path) -> None:
    with Server(REAL, ["-m", str(llama_gguf), *FLAGS]) as server:
        url = server.ready()
        endless = open_endless(url)
        began = time.monotonic()
        with pytest.raises(urllib.error.HTTPError) as caught:
            complete(url)
        waited = time.monotonic() - began
        with caught.value as refusal:
            error = json.load(refusal)["error"]
        assert refusal.code == error["code"] == 503
        assert error["type"] == "unavailable_error"
        assert "--queue-timeout" in error["message"]
        assert TIMEOUT_S <= waited < TIMEOUT_S + 5
        assert next(line for line in endless if line.strip()).startswith(b"data: "), "the running one goes on"

        waiting = threading.Timer(TIMEOUT_S / 4, endless.close)  # its slot is free before the next one's time is up
        waiting.start()
        assert complete(url)["tokens_predicted"] == 4
        server.interrupt()


def open_endless(url: str) -> HTTPResponse:
    """A stream that keeps the only slot, and has begun."""
    body = {"prompt": "on and on", "n_predict": 1_000_000, "ignore_eos": True, "stream": True}
    response = request(url, body)
    assert response.readline().startswith(b"data: ")
    return response


def complete(url: str) -> dict[str, object]:
    with request(url, {"prompt": "x", "n_predict": 4, "ignore_eos": True}) as response:
        answer: dict[str, object] = json.load(response)
        return answer


def request(url: str, body: dict[str, object]) -> HTTPResponse:
    data = urllib.request.Request(f"{url}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return urllib.request.urlopen(data, timeout=30)  # type: ignore[no-any-return]
