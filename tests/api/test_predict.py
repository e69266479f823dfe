"""Vertex AI's route: requests of other routes within one."""

from __future__ import annotations

from typing import Any

import pytest

from llamahttp.api.predict import MAX_INSTANCES, in_words
from llamahttp.config import HttpConfig, ServerConfig
from llamahttp.errors import StartupError
from llamahttp.flags import parse

from .conftest import Client, Start, get, post, post_error

PATH = "/predict"
CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}


async def started(start: Start, **options: Any) -> Client:
    return await start(http=HttpConfig(predict_route=PATH, health_route="/alive"), **options)


def of(format: str, **body: Any) -> dict[str, Any]:
    return {"@requestFormat": format, **body}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/chat/completions", "chatCompletions"),
        ("/apply-template", "applyTemplate"),
        ("/v1/chat/completions/input_tokens", "chatCompletionsInputTokens"),
        ("/tokenize", "tokenize"),
    ],
)
def test_routes_in_words(path: str, words: str) -> None:
    assert in_words(path) == words


async def test_every_request_is_answered_in_its_place(start: Start) -> None:
    client = await started(start)
    instances = [
        of("chatCompletions", **CHAT, stream=True),
        of("/completion", prompt="abc", n_predict=2),
        of("tokenize", content="ab"),
        of("completions", prompt="abc", max_tokens=2),
    ]
    chat, native, tokens, text = (await post(client, PATH, {"instances": instances}))["predictions"]
    assert chat["object"] == "chat.completion"
    assert (await post(client, "/v1/chat/completions", CHAT))["choices"] == chat["choices"]
    assert (native["tokens_predicted"], native["stop"]) == (2, True)
    assert tokens == await post(client, "/tokenize", {"content": "ab"})
    assert text["object"] == "text_completion"


async def test_one_that_is_wrong_leaves_the_others_alone(start: Start) -> None:
    client = await started(start)
    wrong = [5, {}, of("nope"), of("chatCompletions"), of("/slots/{id_slot}"), of("audioTranscriptions")]
    answer = await post(client, PATH, {"instances": [*wrong, of("tokenize", content="")]})
    *errors, tokens = answer["predictions"]
    assert [error["error"]["code"] for error in errors] == [400, 400, 400, 400, 400, 501]
    assert "'@requestFormat' is 'nope', which is no route" in errors[2]["error"]["message"]
    assert tokens == {"tokens": []}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "must include an array 'instances'"),
        ({"instances": {}}, "must include an array 'instances'"),
        ({"instances": [{}] * (MAX_INSTANCES + 1)}, "'instances' has 129 entries, but at most 128 are taken"),
    ],
)
async def test_what_is_no_list_of_requests_is_refused(start: Start, body: object, message: str) -> None:
    assert message in await post_error(await started(start), PATH, body)


async def test_its_monitor_needs_no_key(start: Start) -> None:
    client = await started(start, api_keys=frozenset({"k"}))
    assert await get(client, "/alive") == {"status": "ok"}
    assert (await client.post(PATH, json={"instances": []})).status == 401


async def test_a_route_that_means_something_else_is_refused(start: Start) -> None:
    with pytest.raises(StartupError, match="AIP_PREDICT_ROUTE=/completion is a route of its own"):
        await start(http=HttpConfig(predict_route="/completion"))


def test_the_environment_says_where_to_listen() -> None:
    assert parse([], {"AIP_HTTP_PORT": "9"}) == ServerConfig()
    told = parse(["--port", "7"], {"AIP_MODE": "PREDICTION", "AIP_HTTP_PORT": "9", "AIP_HEALTH_ROUTE": "alive"})
    assert (told.port, told.http.predict_route, told.http.health_route) == (9, "/predict", "/alive")
    with pytest.raises(StartupError, match=r"^AIP_HTTP_PORT: "):
        parse([], {"AIP_MODE": "PREDICTION", "AIP_HTTP_PORT": "x"})
