"""The document of `/openapi.json` is valid, complete, and what answers look like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from llamahttp.api.openapi import document
from llamahttp.api.parameters import CHAT_TABLE, NATIVE_TABLE
from llamahttp.api.routes import ROUTES
from llamahttp.config import HttpConfig
from tests.answers import Document

from .conftest import Client, Start, get, post, stream

DOCUMENT = document(ROUTES)
PLAIN_PAGE = {"/", "/page.js", "/page.css", "/sw.js", "/assets/{path}"}
"""The page is no part of the API."""


def test_it_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


async def test_it_is_served(client: Client) -> None:
    assert await get(client, "/openapi.json") == DOCUMENT


async def test_a_prefix_is_told(start: Start) -> None:
    client = await start(http=HttpConfig(api_prefix="/llama"))
    served = await get(client, "/llama/openapi.json")
    assert (served["servers"], served["paths"]) == ([{"url": "/llama"}], DOCUMENT["paths"])


async def test_every_route_of_the_server_is_in_it(start: Start, tmp_path: Path) -> None:
    client = await start(http=HttpConfig(web_ui=tmp_path))
    assert client.app is not None
    served = {
        (route.method, route.resource.canonical)
        for route in client.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    described = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert served - described == {("GET", path) for path in PLAIN_PAGE}
    assert described <= served


def test_every_operation_says_what_it_does() -> None:
    operations = [operation for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert [operation["operationId"] for operation in operations if not operation["summary"].endswith(".")] == []
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(("path", "table"), [("/completion", NATIVE_TABLE), ("/v1/chat/completions", CHAT_TABLE)])
def test_every_name_of_a_parameter_is_in_it(path: str, table: Any) -> None:
    schema = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    names = {name for field in table.fields.values() for name in field.names}
    assert schema["properties"].keys() == names
    assert schema["required"] == [field.name for field in table.fields.values() if field.required]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("n_predict", {"type": ["integer", "null"], "minimum": -1, "maximum": 2**31 - 1, "default": -1}),
        ("top_p", {"type": ["number", "null"], "default": 0.95}),
        ("stream", {"type": ["boolean", "null"], "default": False}),
        ("cache_salt", {"type": ["string", "null"], "maxLength": 256, "default": ""}),
    ],
)
def test_limits_and_defaults_are_those_of_the_table(name: str, expected: dict[str, object]) -> None:
    schema = DOCUMENT["paths"]["/completion"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    shown = dict(schema["properties"][name])
    del shown["description"]
    assert shown == expected


def test_soft_limits_are_told_in_words() -> None:
    schema = DOCUMENT["paths"]["/completion"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["top_p"]["description"].endswith("Other values are moved to at least 0 at most 1.")


CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
TEXT = {"prompt": "once", "max_tokens": 3}
LOGPROBS = {"logprobs": True, "top_logprobs": 2}
POSTS: list[tuple[str, dict[str, Any]]] = [
    ("/completion", TEXT | {"n_probs": 2, "return_tokens": True}),
    ("/completion", TEXT | {"n_probs": 2, "post_sampling_probs": True, "prompt": ["a", "b"]}),
    ("/completion", TEXT | {"response_fields": ["content", "timings/predicted_n"]}),
    ("/v1/completions", TEXT | {"n": 2, "logprobs": 2}),
    ("/v1/completions", TEXT | {"logprobs": 2, "post_sampling_probs": True}),
    ("/v1/chat/completions", CHAT | {"n": 2} | LOGPROBS),
    ("/v1/chat/completions/input_tokens", CHAT),
    ("/apply-template", CHAT),
    ("/tokenize", {"content": "hi"}),
    ("/tokenize", {"content": "h\u00e9", "with_pieces": True}),
    ("/detokenize", {"tokens": [104]}),
    ("/v1/chat/completions/control", {"id": "x", "action": "reasoning_end"}),
    ("/lora-adapters", []),
]


@pytest.mark.parametrize(("path", "body"), POSTS)
async def test_answers_have_the_shape_that_it_promises(client: Client, path: str, body: Any) -> None:
    Document(DOCUMENT).check(path, "post", 200, await post(client, path, body))


@pytest.mark.parametrize(
    "path", ["/health", "/v1/models", "/props", "/slots", "/lora-adapters", "/slots?fail_on_no_slot=1"]
)
async def test_what_is_shown_has_the_shape_that_it_promises(client: Client, path: str) -> None:
    Document(DOCUMENT).check(path.partition("?")[0], "get", 200, await get(client, path))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/completion", TEXT | {"n_probs": 2, "timings_per_token": True, "return_progress": True}),
        ("/v1/completions", TEXT | {"logprobs": 2, "timings_per_token": True, "return_progress": True, "n": 2}),
        ("/v1/chat/completions", CHAT | LOGPROBS | {"timings_per_token": True, "return_progress": True}),
        ("/v1/chat/completions", CHAT | {"stream_options": {"include_usage": True}, "n": 2}),
    ],
)
async def test_events_have_the_shape_that_it_promises(client: Client, path: str, body: dict[str, object]) -> None:
    events = await stream(client, path, body)
    assert len(events) > 3
    for event in events:
        if event != "[DONE]":
            Document(DOCUMENT).check_event(path, event)


@pytest.mark.parametrize("status", [400, 404, 405, 501])
async def test_refusals_have_the_shape_that_it_promises(client: Client, status: int) -> None:
    method, path = {400: ("POST", "/completion"), 404: ("GET", "/nope"), 405: ("GET", "/completion")}.get(
        status, ("POST", "/infill")
    )
    async with client.request(method, path, json={} if method == "POST" else None) as response:
        assert response.status == status
        Document(DOCUMENT).check("/completion", "post", status, await response.json())


def test_a_member_that_is_not_described_is_noticed() -> None:
    with pytest.raises(AssertionError, match="surprise"):
        Document(DOCUMENT).check("/health", "get", 200, {"status": "ok", "surprise": 1})
