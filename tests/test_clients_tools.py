"""Tools, with the openai package against a real server: the demo model calls, is told, and answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from process import REAL, Server
from pydantic import BaseModel

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ADD: Any = {
    "type": "function",
    "function": {
        "name": "add_numbers",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
TOOLS = [WEATHER, ADD]
PARIS: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
HELLO: Any = [{"role": "user", "content": "Hello!"}]


def named(name: str) -> Any:
    return {"type": "function", "function": {"name": name}}


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    flags = ["--port", "0", "-np", "4", "-c", "8192", "-lv", "1", "--reasoning", "off"]
    with Server(REAL, flags) as server, openai.OpenAI(base_url=f"{server.ready()}/v1", api_key="k") as client:
        yield client
        server.interrupt()


def ask(client: openai.OpenAI, messages: Any, *, streams: bool = False, **options: Any) -> Any:
    """The only choice of an answer; if it `streams`, as the package's own helper puts it together."""
    options = {"model": "demo", "messages": messages, "temperature": 0, "max_tokens": 200} | options
    if not streams:
        return client.chat.completions.create(**options).choices[0]
    with client.chat.completions.stream(**options) as stream:
        for _ in stream:
            pass
        return stream.get_final_completion().choices[0]


def calls(choice: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ()]


@pytest.mark.parametrize("streams", [False, True])
def test_a_conversation_with_two_tools(client: openai.OpenAI, streams: bool) -> None:
    choice = ask(client, PARIS, tools=TOOLS, streams=streams)
    assert (choice.finish_reason, calls(choice)) == ("tool_calls", [("get_weather", {"city": "Paris"})])
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    asked = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.function.name, "arguments": call.function.arguments},
    }
    told = [
        *PARIS,
        {"role": "assistant", "content": choice.message.content, "tool_calls": [asked]},
        {"role": "tool", "tool_call_id": call.id, "content": '{"temperature": 21, "condition": "sunny"}'},
    ]
    choice = ask(client, told, tools=TOOLS, streams=streams)
    assert choice.finish_reason == "stop"
    assert "21" in choice.message.content


def test_the_deltas_of_a_call(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="demo", messages=PARIS, temperature=0, tools=TOOLS, stream=True)
    first, *deltas = [choice.delta.model_dump(exclude_unset=True) for chunk in stream for choice in chunk.choices]
    begin, *pieces, last = deltas
    assert (first, last) == ({"role": "assistant", "content": None}, {})
    (call,) = begin["tool_calls"]
    assert call.pop("id")
    assert call == {"index": 0, "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    parts = [part for piece in pieces for part in piece["tool_calls"]]
    assert all(list(part) == ["index", "function"] and list(part["function"]) == ["arguments"] for part in parts)
    assert len(parts) > 2, "they come as they are written"
    assert json.loads("".join(part["function"]["arguments"] for part in parts)) == {"city": "Paris"}


def test_nothing_need_be_called(client: openai.OpenAI) -> None:
    choice = ask(client, HELLO, tools=TOOLS)
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert choice.message.content


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"get_weather", "add_numbers"}),
        (named("add_numbers"), {"add_numbers"}),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named("add_numbers")]}},
            {"add_numbers"},
        ),
    ],
)
def test_a_call_that_has_to_be(client: openai.OpenAI, choice: Any, names: set[str], streams: bool) -> None:
    for seed in range(3):
        answer = ask(client, HELLO, tools=TOOLS, tool_choice=choice, temperature=1.5, seed=seed, streams=streams)
        assert answer.finish_reason == "tool_calls"
        assert {name for name, _ in calls(answer)} <= names
        assert not answer.message.content


def test_a_call_after_a_thought_that_has_to_be(client: openai.OpenAI) -> None:
    thinks = {"chat_template_kwargs": {"enable_thinking": True}}
    choice = ask(client, PARIS, tools=TOOLS, tool_choice="required", extra_body=thinks)
    assert calls(choice) == [("get_weather", {"city": "Paris"})]
    assert choice.message.reasoning_content


def test_no_tool_is_to_be_called(client: openai.OpenAI) -> None:
    choice = ask(client, PARIS, tools=TOOLS, tool_choice="none")
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)


def test_several_answers_each_with_its_calls(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo", messages=PARIS, tools=TOOLS, tool_choice="required", n=3, temperature=1, max_tokens=200
    )
    assert [choice.finish_reason for choice in answer.choices] == ["tool_calls"] * 3
    ids = [call.id for choice in answer.choices for call in choice.message.tool_calls or ()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("streams", [False, True])
def test_log_probabilities_of_calls(client: openai.OpenAI, streams: bool) -> None:
    options: Any = {"model": "demo", "messages": PARIS, "tools": TOOLS, "temperature": 0, "logprobs": True}
    if streams:
        chunks = client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **options)
        found = [(choice, chunk.usage) for chunk in chunks for choice in chunk.choices or [None]]
        shown = [entry for choice, _ in found if choice and choice.logprobs for entry in choice.logprobs.content]
        n_tokens = next(usage.completion_tokens for _, usage in found if usage)
    else:
        answer = client.chat.completions.create(**options)
        shown, n_tokens = answer.choices[0].logprobs.content, answer.usage.completion_tokens
    assert len(shown) == n_tokens
    assert "Paris" in "".join(entry.token for entry in shown)


@pytest.mark.parametrize("n", [1, 4, 8, 12, 14])
@pytest.mark.parametrize("streams", [False, True])
def test_a_call_that_is_cut_off(client: openai.OpenAI, n: int, streams: bool) -> None:
    options: Any = {"model": "demo", "messages": PARIS, "tools": TOOLS, "temperature": 0, "max_tokens": n}
    if streams:
        chunks = client.chat.completions.create(stream=True, **options)
        choices = [choice for chunk in chunks for choice in chunk.choices]
        content = "".join(choice.delta.content or "" for choice in choices)
        assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["length"]
    else:
        (choice,) = client.chat.completions.create(**options).choices
        content = choice.message.content or ""
        assert choice.finish_reason == "length"
    assert content == "", "half a call is no content"


class City(BaseModel):
    """Get the weather in a city."""

    city: str


def test_parsed_calls(client: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(City, name="get_weather")
    answer = client.chat.completions.parse(model="demo", messages=PARIS, tools=[tool], temperature=0)
    assert tool["function"].get("strict")
    (call,) = answer.choices[0].message.tool_calls or ()
    assert call.function.parsed_arguments == City(city="Paris")


UNENFORCEABLE: Any = {
    "type": "function",
    "function": {"name": "odd", "parameters": {"type": "object", "properties": {"x": {"not": {"type": "string"}}}}},
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tools": [WEATHER, WEATHER]}, "there are two tools of the name 'get_weather'"),
        ({"tools": TOOLS, "tool_choice": named("zz")}, "there is no tool 'zz'; there are get_weather, add_numbers"),
        ({"tools": TOOLS, "tool_choice": "some"}, "Invalid tool_choice: some"),
        ({"tool_choice": "required"}, "a call is required, but there are no 'tools'"),
        (
            {"tools": [{"type": "function", "function": UNENFORCEABLE["function"] | {"strict": True}}]},
            "keyword 'not' is not supported",
        ),
        ({"tools": TOOLS, "extra_body": {"grammar": 'root ::= "a"'}}, "Cannot use custom grammar constraints"),
    ],
)
def test_tools_that_cannot_be(client: openai.OpenAI, options: Any, message: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="demo", messages=HELLO, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize("choice", ["auto", "required", named("get_weather")])
def test_a_tool_that_cannot_be_enforced_can_be_called(client: openai.OpenAI, choice: Any) -> None:
    odd = {"type": "function", "function": UNENFORCEABLE["function"] | {"name": "get_weather"}}
    assert calls(ask(client, PARIS, tools=[odd], tool_choice=choice))
    choice = ask(client, PARIS, tools=[WEATHER, UNENFORCEABLE], tool_choice=choice)
    assert calls(choice) == [("get_weather", {"city": "Paris"})]
