"""OpenAI's Responses API beside llama-server: its members are all there, and say the same."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from llamahttp.config import DEMO_MODEL

from . import servers

OFF = {"reasoning": {"effort": "none"}}
USER = {"role": "user", "content": "What is the weather in Paris?"}
LOOK = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CALLED = {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"city": "Paris"}'}
TOLD = {"type": "function_call_output", "call_id": "c1", "output": '{"temperature": 21}'}
REQUESTS: dict[str, dict[str, Any]] = {
    "text": {"input": "What is the capital of France?", **OFF},
    "thoughts": {"input": "What is the capital of France?"},
    "instructions": {"input": [USER], "instructions": "You are kind.", **OFF},
    "call": {"input": [USER], "tools": [LOOK, {"type": "web_search"}], **OFF},
    "result": {"input": [USER, CALLED, TOLD], "tools": [LOOK], **OFF},
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Pair]:
    if not DEMO_MODEL.exists():
        pytest.skip("there is no demo model")
    with servers.pair(DEMO_MODEL, tmp_path_factory.mktemp("responses") / "log", ["--jinja"]) as pair:
        yield pair


def ask(url: str, body: Any, path: str = "/v1/responses") -> str:
    body = {"max_output_tokens": 100, "temperature": 0} | body
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as response:
        text: str = response.read().decode()
        return text


def missing(theirs: Any, ours: Any, path: str = "") -> list[str]:
    """Members of `theirs` that `ours` has not, or not of the same type."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return [
            problem
            for name, value in theirs.items()
            for problem in (missing(value, ours[name], f"{path}.{name}") if name in ours else [f"{path}.{name}"])
        ]
    if isinstance(theirs, list) and isinstance(ours, list):
        return [p for i, pair in enumerate(zip(theirs, ours, strict=False)) for p in missing(*pair, f"{path}[{i}]")]
    number = int | float
    is_same = type(theirs) is type(ours) or (isinstance(theirs, number) and isinstance(ours, number))
    # an empty text there
    return [] if is_same or path.endswith("encrypted_content") else [f"{path}: {theirs!r}, {ours!r}"]


def said(response: Any) -> list[tuple[str, str]]:
    """The texts of a response; ours has no white space before the end of a thought."""
    return [
        (item["type"], item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"].rstrip())
        for item in response["output"]
    ]


@pytest.mark.parametrize("name", REQUESTS)
def test_whole_responses(both: servers.Pair, name: str) -> None:
    theirs, ours = (json.loads(ask(url, REQUESTS[name])) for url in (both.reference, both.ours))
    assert missing(theirs, ours) == []
    assert said(theirs) == said(ours)
    assert [theirs["usage"][each] for each in ("input_tokens", "output_tokens")] == [
        ours["usage"][each] for each in ("input_tokens", "output_tokens")
    ]


@pytest.mark.parametrize("name", REQUESTS)
def test_events(both: servers.Pair, name: str) -> None:
    """llama-server ends no thought's text and no call's arguments, and ends all items at the end of the stream."""
    body = REQUESTS[name] | {"stream": True}
    theirs, ours = (events(ask(url, body)) for url in (both.reference, both.ours))
    assert set(theirs) <= set(ours)
    assert [problem for kind in theirs for problem in missing(theirs[kind], ours[kind], kind)] == []
    assert said(theirs["response.completed"]["response"]) == said(ours["response.completed"]["response"])


def events(text: str) -> dict[str, Any]:
    """The last event of each type: of items the message's, for only we end the parts of thoughts."""
    found: dict[str, Any] = {}
    for line in text.split("\n"):
        if line.startswith("data: "):
            value = json.loads(line.removeprefix("data: "))
            found[value["type"]] = value
    return found


@pytest.mark.parametrize("name", REQUESTS)
def test_counts(both: servers.Pair, name: str) -> None:
    path = "/v1/responses/input_tokens"
    theirs, ours = (json.loads(ask(url, REQUESTS[name], path)) for url in (both.reference, both.ours))
    assert theirs == ours
