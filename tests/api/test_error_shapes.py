"""Errors: every route answers in the shape of the API that it belongs to, whatever it is that went wrong."""

from __future__ import annotations

from typing import Any

import pytest

from llamahttp.api.state import STATE
from tests.fakes import FakeDecoder

from .conftest import Client, Start

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": {"input": "hi"},
    "/v1/messages": CHAT | {"max_tokens": 8},
}
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
}
"""Of Anthropic's API."""
by_path = pytest.mark.parametrize("path", BODIES)


async def check(client: Client, path: str, status: int, url: str = "", method: str = "POST", **request: Any) -> str:
    """The message of an error, which has the shape that `path` promises."""
    async with client.request(method, url or path, **request) as response:
        assert response.status == status, await response.text()
        assert response.content_type == "application/json"
        answer = await response.json()
    fault = answer["error"]
    assert isinstance(fault["message"], str) and fault["message"]
    if path == "/v1/messages":
        assert answer.keys() == {"type", "error", "request_id"} and answer["type"] == "error"
        assert fault["type"] == TYPES[status]
    elif path == "/v1/responses":
        assert fault.keys() >= {"message", "type", "param", "code"}
    else:
        assert fault["code"] == status and isinstance(fault["type"], str)
    return str(fault["message"])


@by_path
async def test_a_body_that_is_none(client: Client, path: str) -> None:
    for data in (b"", b"{", b"[]", b'"a"', b"{}", b"\xff"):
        await check(client, path, 400, data=data)
    await check(client, path, 405, method="PUT", data=b"{}")
    await check(client, path, 405 if path == "/v1/responses" else 404, f"{path}/nowhere", data=b"{}")


@by_path
async def test_a_client_that_may_not(start: Start, path: str) -> None:
    client = await start(api_keys=("secret",))
    await check(client, path, 401, json=BODIES[path])
    await check(client, path, 401, json=BODIES[path], headers={"Authorization": "Bearer wrong"})


@by_path
async def test_a_body_that_is_too_large(start: Start, path: str) -> None:
    client = await start(max_body=64)
    assert "64 bytes" in await check(client, path, 413, data=b" " * 100)


@by_path
async def test_a_template_that_refuses(start: Start, path: str) -> None:
    client = await start(template="{{ raise_exception('roles must alternate') }}")
    assert await check(client, path, 400, json=BODIES[path]) == "roles must alternate"


@by_path
async def test_a_conversation_that_does_not_fit(start: Start, path: str) -> None:
    client = await start(FakeDecoder(n_ctx=16))
    await check(client, path, 400, json=BODIES[path])


class Broken(FakeDecoder):
    """Fails at whatever it is to compute."""

    def decode(self, *args: Any, **more: Any) -> Any:
        raise RuntimeError("the backend is gone")


@by_path
async def test_an_engine_that_fails(start: Start, path: str) -> None:
    client = await start(Broken())
    await check(client, path, 500, json=BODIES[path])


@by_path
async def test_a_server_that_stops(start: Start, path: str) -> None:
    client = await start()
    assert client.app is not None
    client.app[STATE].is_stopping = True
    await check(client, path, 503, json=BODIES[path])
