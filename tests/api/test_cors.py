"""CORS: what a browser is told. Where it differs from llama-server the name of the test says so."""

from __future__ import annotations

from typing import Any

import pytest

from llamahttp.api.cors import Cors, is_local
from llamahttp.config import HttpConfig, ServerConfig

from .conftest import Start

KEYS = frozenset({"key"})
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}
ORIGIN = "Access-Control-Allow-Origin"
CREDENTIALS = "Access-Control-Allow-Credentials"


def cors(keys: frozenset[str] = KEYS, **http: Any) -> Cors:
    return Cors.of(ServerConfig(api_keys=keys, http=HttpConfig(**http)))


@pytest.mark.parametrize("origin", ["https://chat.example", "null", "http://localhost:3000"])
async def test_with_a_key_any_page_may_call(start: Start, origin: str) -> None:
    client = await start(api_keys=KEYS)
    async with client.options("/v1/chat/completions", headers=PREFLIGHT | {"Origin": origin}) as response:
        assert (response.status, await response.read()) == (200, b"")
        assert response.headers[ORIGIN] == origin
        assert response.headers[CREDENTIALS] == "true"
        assert response.headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE, OPTIONS"
    headers = {"Origin": origin, "Authorization": "Bearer key"}
    async with client.get("/v1/models", headers=headers) as response:
        assert (response.status, response.headers[ORIGIN], response.headers[CREDENTIALS]) == (200, origin, "true")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("https://localhost", True),
        ("http://127.0.0.1:5", True),
        ("http://[::1]:8080", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("ftp://localhost", False),
        ("null", False),
        ("http://[", False),
    ],
)
async def test_without_a_key_only_pages_of_this_machine_may_call_other_than_with_llama_server(
    start: Start, origin: str, allowed: bool
) -> None:
    client = await start()
    for request in (
        client.get("/health", headers={"Origin": origin}),
        client.options("/completion", headers={"Origin": origin}),
    ):
        async with request as response:
            assert response.status == 200
            assert response.headers.get(ORIGIN) == (origin if allowed else None)
            assert response.headers["Vary"] == "Origin", "else a proxy shows one page the headers of another"


@pytest.mark.parametrize(
    ("method", "origin", "site", "status"),
    [
        ("POST", "https://evil.example", "cross-site", 403),
        ("POST", "null", "cross-site", 403),
        ("DELETE", "https://evil.example", "cross-site", 403),
        ("GET", "https://evil.example", "cross-site", 200),  # which it cannot read
        ("POST", "https://chat.example", "same-origin", 200),  # our own page, behind a proxy
        ("POST", "http://localhost:3000", "same-site", 200),
        ("POST", "http://127.0.0.1:3000", "cross-site", 200),  # of localhost
    ],
)
async def test_a_page_that_may_not_call_has_no_effect_either_other_than_with_llama_server(
    start: Start, method: str, origin: str, site: str, status: int
) -> None:
    """A page may send what a form could send without a preflight, such as JSON that is called text."""
    client = await start()
    headers = {"Origin": origin, "Sec-Fetch-Site": site, "Content-Type": "text/plain"}
    path = {"POST": "/tokenize", "GET": "/health", "DELETE": "/v1/stream?conv_id=a"}[method]
    async with client.request(method, path, headers=headers, data=b'{"content": "a"}') as response:
        assert response.status == status
        if status == 403:
            assert "--cors-origins" in (await response.json())["error"]["message"]


async def test_any_page_has_its_effects_where_any_may_call(start: Start) -> None:
    client = await start(http=HttpConfig(cors_origins="*"))
    headers = {"Origin": "https://chat.example", "Sec-Fetch-Site": "cross-site"}
    async with client.post("/tokenize", json={"content": "a"}, headers=headers) as response:
        assert response.status == 200


async def test_streams_and_errors_have_the_headers_too(start: Start) -> None:
    client = await start()
    origin = "http://localhost:3000"
    for path, body in (
        ("/completion", {"prompt": "a", "n_predict": 1, "stream": True}),
        ("/completion", {}),
        ("/no", {}),
    ):
        async with client.post(path, json=body, headers={"Origin": origin}) as response:
            assert response.headers[ORIGIN] == origin


def test_headers_are_allowed_by_name_other_than_by_llama_server() -> None:
    """Browsers do not count Authorization among `*`."""
    assert cors().preflight(PREFLIGHT)["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert cors().preflight({})["Access-Control-Allow-Headers"] == "*"
    assert cors(cors_headers="X-A, X-B").preflight(PREFLIGHT)["Access-Control-Allow-Headers"] == "X-A, X-B"


def test_a_list_of_origins_is_told_one_by_one_other_than_by_llama_server() -> None:
    """Browsers do not take a list."""
    rules = cors(cors_origins="https://a.example, https://b.example,localhost")
    for origin in ("https://a.example", "https://b.example", "http://127.0.0.1:1"):
        assert rules.answer(origin)[ORIGIN] == origin
    assert ORIGIN not in rules.answer("https://c.example")


def test_without_credentials_any_origin_is_a_star() -> None:
    rules = cors(cors_credentials=False)
    assert rules.answer("https://a.example") == rules.answer(None) == {ORIGIN: "*"}
    assert rules.preflight(PREFLIGHT)[CREDENTIALS] == "false"


def test_what_is_configured_holds_without_a_key_too() -> None:
    rules = cors(frozenset(), cors_origins="*", cors_methods="GET")
    assert rules.answer("https://a.example")[ORIGIN] == "https://a.example"
    assert rules.preflight(PREFLIGHT)["Access-Control-Allow-Methods"] == "GET"


def test_requests_of_no_page_get_no_origin() -> None:
    assert cors().answer(None) == {"Vary": "Origin"}
    assert not is_local("")
