"""Anthropic's Messages API beside llama-server: the same answers, events and counts, but for what the tests name."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from llamahttp.config import DEMO_MODEL

from . import servers

USER: dict[str, Any] = {"role": "user", "content": "What is the weather in Paris?"}
OFF = {"chat_template_kwargs": {"enable_thinking": False}}
ON = {"chat_template_kwargs": {"enable_thinking": True}}
LOOK = {
    "name": "get_weather",
    "description": "Get the weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CALLED = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "c1", "name": "get_weather", "input": {"city": "Paris"}}],
}
TOLD = {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": '{"temperature": 21}'}]}
HEADER = "x-anthropic-billing-header: cc_version=2.1.101.e51; cc_entrypoint=cli; cch=a5145;"

REQUESTS: dict[str, dict[str, Any]] = {
    "text": {"messages": [{"role": "user", "content": "What is the capital of France?"}], **OFF},
    "thoughts": {"messages": [{"role": "user", "content": "What is the capital of France?"}], **ON},
    "system": {"messages": [USER], "system": "You are kind.", **OFF},
    "blocks": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello!"}]}], **OFF},
    "limit": {"messages": [{"role": "user", "content": "Count to ten."}], "max_tokens": 5, **OFF},
    "call": {"messages": [USER], "tools": [LOOK], **OFF},
    "thought and call": {"messages": [USER], "tools": [LOOK], **ON},
    "forced call": {"messages": [USER], "tools": [LOOK], "tool_choice": {"type": "any"}, **OFF},
    "result": {"messages": [USER, CALLED, {"role": "user", "content": [TOLD]}], "tools": [LOOK], **OFF},
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Pair]:
    if not DEMO_MODEL.exists():
        pytest.skip("there is no demo model")
    with servers.pair(DEMO_MODEL, tmp_path_factory.mktemp("messages") / "log", ["--jinja"]) as pair:
        yield pair


def ask(url: str, body: Any, path: str = "/v1/messages") -> str:
    body = {"model": "any", "max_tokens": 100, "temperature": 0, "top_k": 1} | body
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as response:
        text: str = response.read().decode()
        return text


def comparable(value: Any) -> Any:
    """A message or an event without what is new with every request, and what llama-server does not have."""
    if isinstance(value, list):
        return [comparable(each) for each in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("thinking"), str):
        value["thinking"] = value["thinking"].rstrip()  # ours has no white space before the end of a thought
    left_out = {"id", "model", "signature", "cache_creation_input_tokens"}  # ours repeats the request's model
    if "usage" in value and value.get("type") == "message_delta":
        left_out.add("usage")  # of which llama-server gives the output's tokens only
    if value.get("type") == "tool_use" and not value.get("input"):
        left_out.add("input")  # which has yet to come: llama-server leaves it out
    return {name: comparable(inner) for name, inner in value.items() if name not in left_out}


@pytest.mark.parametrize("name", REQUESTS)
def test_messages(both: servers.Pair, name: str) -> None:
    ours, reference = (json.loads(ask(url, REQUESTS[name])) for url in (both.ours, both.reference))
    for answer in (ours, reference):  # what is cached depends on what was asked before
        answer["usage"]["input_tokens"] += answer["usage"].pop("cache_read_input_tokens")
    assert comparable(ours) == comparable(reference)


def events(text: str) -> list[tuple[str, Any]]:
    """Names and data, one delta for all that follow each other, in the order in which blocks are closed at once."""
    found: list[tuple[str, Any]] = []
    for part in text.removesuffix("\n\n").split("\n\n"):
        name, data = part.split("\n")
        event = comparable(json.loads(data.removeprefix("data: ")))
        kind, delta = event["type"], event.get("delta", {})
        assert name == f"event: {kind}"
        if kind == "ping" or delta.get("type") == "signature_delta":
            continue
        if found and kind == "content_block_delta" and found[-1][0] == kind and found[-1][1]["index"] == event["index"]:
            (member,) = delta.keys() - {"type"}
            found[-1][1]["delta"][member] += delta[member]
            continue
        if kind == "message_start":
            del event["message"]["usage"]
        found.append((kind, event))
    return found


@pytest.mark.parametrize("name", REQUESTS)
def test_events(both: servers.Pair, name: str) -> None:
    """llama-server closes blocks at the very end, ours each before the next."""
    ours, reference = (events(ask(url, REQUESTS[name] | {"stream": True})) for url in (both.ours, both.reference))
    stops = [[data["index"] for kind, data in each if kind == "content_block_stop"] for each in (ours, reference)]
    assert stops[0] == stops[1]
    rest = [[each for each in side if each[0] != "content_block_stop"] for side in (ours, reference)]
    assert rest[0] == rest[1]


@pytest.mark.parametrize("name", REQUESTS)
def test_counts(both: servers.Pair, name: str) -> None:
    ours, reference = (
        json.loads(ask(url, REQUESTS[name], "/v1/messages/count_tokens")) for url in (both.ours, both.reference)
    )
    assert ours == reference


def test_stop_sequences_are_told_of_on_purpose(both: servers.Pair) -> None:
    """llama-server says that the turn has ended."""
    body = REQUESTS["text"] | {"stop_sequences": [" Par"]}
    ours, reference = (json.loads(ask(url, body)) for url in (both.ours, both.reference))
    assert (ours["content"], ours["stop_sequence"]) == (reference["content"], reference["stop_sequence"])
    assert (ours["stop_reason"], reference["stop_reason"]) == ("stop_sequence", "end_turn")


def test_the_billing_header_is_left_out_on_purpose(both: servers.Pair) -> None:
    """llama-server overwrites one of its values, and has the model read the rest."""
    body = REQUESTS["system"] | {"system": HEADER + "You are kind."}
    path = "/v1/messages/count_tokens"
    plain, ours, reference = (
        json.loads(ask(url, sent, path))["input_tokens"]
        for url, sent in ((both.ours, REQUESTS["system"]), (both.ours, body), (both.reference, body))
    )
    assert ours == plain < reference


@pytest.mark.parametrize("asked", [{}, {"thinking": {"type": "disabled"}}])
def test_thinking_has_to_be_asked_for_on_purpose(both: servers.Pair, asked: Any) -> None:
    """llama-server thinks anyway, and shows it; Anthropic's API does not, and its clients take the first block for
    text."""
    body = {"messages": REQUESTS["thoughts"]["messages"]} | asked
    kinds = [[block["type"] for block in json.loads(ask(url, body))["content"]] for url in (both.ours, both.reference)]
    assert kinds == [["text"], ["thinking", "text"]]
