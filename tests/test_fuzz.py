"""Random requests, made from `/openapi.json`, to a real server with the demo model.

Whatever comes in, the answer is none of our own failures, comes in time, and is what the document promises.
With CI set there are as many examples as take about two minutes; FUZZ_SEED chooses others than the usual ones.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from process import REAL, Server
from schemathesis import GenerationMode

from llamahttp.api.body import encode
from llamahttp.api.openapi import document
from llamahttp.api.routes import ROUTES
from llamahttp.config import DEMO_MODEL
from tests.answers import Document

N_EXAMPLES = 75 if os.environ.get("CI") else 5
SEED = int(os.environ.get("FUZZ_SEED", "1"))
TIMEOUT_S = 30
MAX_BODY = 64 << 20
FINE = {501, 503}
"""Failures that are no mistakes: what is not there, and a queue in which a request has waited too long."""

FLAGS = [
    *("-c", "1024", "-np", "2", "-n", "16", "-t", "1", "--port", "0", "--no-warmup"),
    *("--slots", "--metrics", "--props", "--embeddings", "--pooling", "mean"),
]


ANY_TEXT = {"type": "string"}
"""A part of a path that cannot be wrong."""


def takes_something(operation: dict[str, Any]) -> bool:
    """Whether a request can be wrong by what it says."""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    limited = [each for each in operation.get("parameters", ()) if each["in"] != "path" or each["schema"] != ANY_TEXT]
    return bool(body or limited)


def methods_of(path: str) -> set[str]:
    """Those that a path takes, also as one of a pattern: a model or a response may have any name."""
    patterns = {each: re.sub(r"\\{\w+\\}", "[^/]+", re.escape(each)) for each in DOCUMENT["paths"]}
    return {
        method
        for each, pattern in patterns.items()
        if re.fullmatch(pattern, path)
        for method in DOCUMENT["paths"][each]
    }


DOCUMENT = json.loads(encode(document(ROUTES)))
JUDGE = Document(DOCUMENT)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = [(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods]
POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
CASES = [
    *((method, path, POSITIVE) for method, path in OPERATIONS),
    *(
        (method, path, NEGATIVE)
        for method, path in OPERATIONS
        if takes_something(DOCUMENT["paths"][path][method.lower()])
    ),
]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
WRONG_METHODS = [
    (method, path) for path in DOCUMENT["paths"] for method in METHODS if method.lower() not in methods_of(path)
]
BODIES = [path for method, path in OPERATIONS if method == "POST"]


def examples(n: int = N_EXAMPLES) -> Any:
    """A test that hypothesis runs `n` times, with the same examples for the same seed."""
    settings = hypothesis.settings(
        max_examples=n, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    return lambda test: settings(hypothesis.seed(SEED)(test))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not DEMO_MODEL.exists():
        pytest.skip("there is no demo model")
    folder: Path = tmp_path_factory.mktemp("slots")
    with Server(REAL, ["-m", str(DEMO_MODEL), *FLAGS, "--slot-save-path", str(folder)]) as server:
        yield server.ready()
        assert server.interrupt() < 10


def check(path: str, method: str, answer: requests.Response) -> None:
    """The answer to an operation is one that the document promises, and no mistake of ours."""
    status, content_type = answer.status_code, answer.headers.get("Content-Type", "").partition(";")[0]
    assert status < 500 or status in FINE, answer.text
    if content_type == "application/json":
        JUDGE.check(path, method.lower(), status, answer.json())
    elif content_type == "text/event-stream" and method == "POST":
        for event in answer.text.removesuffix("\n\n").split("\n\n"):
            if event != "data: [DONE]":
                JUDGE.check_event(path, json.loads(event.partition("data: ")[2]))
    else:
        assert str(status) in DOCUMENT["paths"][path][method.lower()]["responses"], answer.text


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
def test_requests_from_the_document(url: str, method: str, path: str, mode: GenerationMode) -> None:
    """What the document allows, and what it forbids."""
    cases = SCHEMA[path][method].as_strategy(generation_mode=mode)

    @examples()
    @hypothesis.given(cases)
    def ask(case: Any) -> None:
        check(path, method, case.call(base_url=url, timeout=TIMEOUT_S))

    ask()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([10**400, -(2**63), 2**64]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def names(path: str) -> list[str]:
    """The members that the body of an operation may have."""
    content = DOCUMENT["paths"][path]["post"].get("requestBody", {}).get("content", {})
    return list(content.get("application/json", {}).get("schema", {}).get("properties", {"x": {}}))


@pytest.mark.parametrize("path", BODIES)
def test_any_json_for_any_member(url: str, path: str) -> None:
    @examples()
    @hypothesis.given(st.dictionaries(st.sampled_from(names(path)), JSON, max_size=3))
    def ask(body: dict[str, Any]) -> None:
        base = {"prompt": "x", "messages": [{"role": "user", "content": "x"}], "content": "x", "tokens": [5]}
        check(path, "POST", post(url, path, json.dumps(base | body).encode()))

    ask()


def post(url: str, path: str, body: bytes, **headers: str) -> requests.Response:
    """Send bytes as they are."""
    target = url + path.replace("{id_slot}", "0")
    return requests.post(target, body, headers={"Content-Type": "application/json"} | headers, timeout=TIMEOUT_S)


PROMPT = b'"prompt":"x","messages":[{"role":"user","content":"x"}],"n_predict":2'
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "spaces": b" \n",
    "half an object": b'{"prompt":',
    "no utf-8": b'{"prompt":"\xff\xfe"}',
    "a cut character": b'{"prompt":"\xe2\x82"}',
    "a lone surrogate": b'{"prompt":"\\ud800","content":"\\ud800","input":"\\ud800"}',
    "nan": b'{%b,"temperature":NaN}' % PROMPT,
    "infinity": b'{%b,"temperature":Infinity}' % PROMPT,
    "1e999": b'{%b,"temperature":1e999,"n_predict":1e999}' % PROMPT,
    "a number of 5000 digits": b'{%b,"seed":%b}' % (PROMPT, b"9" * 5000),
    "a thousand arrays": b'{"prompt":%b}' % (b"[" * 1000 + b"]" * 1000),
    "a million arrays": b'{"prompt":%b}' % (b"[" * 1_000_000 + b"]" * 1_000_000),
    "arrays without end": b"[" * 100_000,
    "objects without end": b'{"a":' * 100_000,
    "the same member twice": b'{%b,"n_predict":3,"n_predict":"x"}' % PROMPT,
    "a zero byte": b'{"prompt":"a\\u0000b\x00"}',
    "a byte order mark": b"\xef\xbb\xbf{%b}" % PROMPT,
    "an array": b"[]",
    "a string": b'"x"',
    "a form": b"prompt=x&n_predict=1",
    "a million members": b"{%b}" % b",".join(b'"%d":0' % i for i in range(300_000)),
    "a long name": b'{%b,"%b":1}' % (PROMPT, b"n" * 1_000_000),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("path", BODIES)
def test_hostile_bodies(url: str, path: str, name: str) -> None:
    check(path, "POST", post(url, path, HOSTILE[name]))


@pytest.mark.parametrize("path", ["/completion", "/v1/chat/completions", "/tokenize"])
def test_any_bytes(url: str, path: str) -> None:
    @examples(20 * N_EXAMPLES)
    @hypothesis.given(st.binary(max_size=60))
    def ask(body: bytes) -> None:
        check(path, "POST", post(url, path, body))

    ask()


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "a;b=c", "multipart/form-data"]
)
@pytest.mark.parametrize("path", BODIES)
def test_the_content_type_does_not_matter(url: str, path: str, content_type: str) -> None:
    """As in llama-server, a body is JSON whatever it is called."""
    answer = post(url, path, b"{%b}" % PROMPT, **{"Content-Type": content_type})
    check(path, "POST", answer)
    if path == "/completion":
        assert answer.status_code == 200


@pytest.mark.parametrize("path", BODIES)
def test_compressed_bodies_are_refused(url: str, path: str) -> None:
    answer = post(url, path, b"\x1f\x8b", **{"Content-Encoding": "gzip"})
    check(path, "POST", answer)
    assert answer.status_code != 200


@pytest.mark.parametrize("path", ["/completion", "/tokenize", "/lora-adapters", "/props"])
def test_bodies_that_are_too_large_are_refused_before_they_come(url: str, path: str) -> None:
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port or 80), timeout=TIMEOUT_S) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n"
        connection.sendall(head.encode())
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert b"larger than" in answer


@pytest.mark.parametrize(("method", "path"), WRONG_METHODS)
def test_methods_that_a_path_does_not_take(url: str, path: str, method: str) -> None:
    answer = requests.request(
        method, url + path.replace("{id_slot}", "0").replace("{response_id}", "a"), timeout=TIMEOUT_S
    )
    JUDGE.check(path, next(iter(DOCUMENT["paths"][path])), answer.status_code, answer.json())
    assert answer.status_code == 405
    assert answer.headers["Allow"]


@pytest.mark.parametrize(
    "path", ["/nope", "/v1", "/v1/", "//", "/%00", "/completion/", "/v2/models", "/slots/", "/\xff"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_paths_that_are_not_there(url: str, path: str, method: str) -> None:
    answer = requests.request(method, url + path, timeout=TIMEOUT_S)
    JUDGE.check("/health", "get", answer.status_code, answer.json())
    assert answer.status_code == 404


def test_it_still_answers(url: str) -> None:
    answer = post(url, "/completion", b"{%b}" % PROMPT)
    assert (answer.status_code, answer.json()["tokens_predicted"]) == (200, 2)
