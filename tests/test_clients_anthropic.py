"""The anthropic package as people use it, against a real server: the demo model answers, thinks, calls and is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pytest
from process import REAL, Server
from pydantic import BaseModel

CAPITAL: Any = [{"role": "user", "content": "What is the capital of France?"}]
PARIS: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Get the weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ADD: Any = {
    "name": "add_numbers",
    "description": "Add two numbers.",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}
TOOLS = [WEATHER, ADD]
OFF: Any = {"type": "disabled"}
ON: Any = {"type": "enabled", "budget_tokens": 1024}
TOLD = json.dumps({"temperature": 21, "condition": "sunny"})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server(REAL, ["--port", "0", "-np", "4", "-c", "8192", "--api-key", "k", "-lv", "1"]) as server:
        yield server.ready()
        server.interrupt()


@pytest.fixture
def client(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(url: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=url, auth_token="k", max_retries=0) as client:
        yield client


def options(messages: Any, **more: Any) -> Any:
    """What one asks for; the newest package no longer has a parameter for the temperature."""
    return {
        "model": "claude",
        "max_tokens": 200,
        "messages": messages,
        "thinking": OFF,
        "extra_body": {"temperature": 0},
    } | more


def ask(client: anthropic.Anthropic, messages: Any, *, streams: bool = False, **more: Any) -> Any:
    if not streams:
        return client.messages.create(**options(messages, **more))
    with client.messages.stream(**options(messages, **more)) as stream:
        return stream.get_final_message()


def calls(message: Any) -> list[tuple[str, Any]]:
    return [(block.name, block.input) for block in message.content if block.type == "tool_use"]


def said(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@pytest.mark.parametrize("streams", [False, True])
def test_a_message(client: anthropic.Anthropic, streams: bool) -> None:
    message = ask(client, CAPITAL, streams=streams)
    assert (message.stop_reason, message.model, message.role) == ("end_turn", "claude", "assistant")
    assert "Paris" in said(message)
    assert message.usage.output_tokens > 3
    counted = client.messages.count_tokens(model="claude", messages=CAPITAL, thinking=OFF)
    assert counted.input_tokens == message.usage.input_tokens + message.usage.cache_read_input_tokens


@pytest.mark.parametrize("streams", [False, True])
async def test_a_message_with_asyncio(async_client: anthropic.AsyncAnthropic, streams: bool) -> None:
    if streams:
        async with async_client.messages.stream(**options(CAPITAL)) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            message: Any = await stream.get_final_message()
        assert text == said(message)
    else:
        message = await async_client.messages.create(**options(CAPITAL))
    assert "Paris" in said(message)


@pytest.mark.parametrize("streams", [False, True])
def test_a_conversation_with_two_tools(client: anthropic.Anthropic, streams: bool) -> None:
    asked = ask(client, PARIS, tools=TOOLS, streams=streams)
    assert (asked.stop_reason, calls(asked)) == ("tool_use", [("get_weather", {"city": "Paris"})])
    result = {"type": "tool_result", "tool_use_id": asked.content[-1].id, "content": TOLD}
    conversation = [
        *PARIS,
        {"role": "assistant", "content": asked.content},
        {"role": "user", "content": [result]},
    ]
    answer = ask(client, conversation, tools=TOOLS, streams=streams)
    assert answer.stop_reason == "end_turn"
    assert "21" in said(answer)
    assert answer.usage.cache_read_input_tokens > asked.usage.input_tokens, "what was said is not computed again"
    wanted = [
        *conversation,
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": "Please add 25 and 31."},
    ]
    forced = ask(client, wanted, tools=TOOLS, tool_choice={"type": "tool", "name": "add_numbers"}, streams=streams)
    assert forced.stop_reason == "tool_use"
    ((name, arguments),) = calls(forced)
    assert (name, sorted(arguments)) == ("add_numbers", ["a", "b"])


@pytest.mark.parametrize("streams", [False, True])
def test_a_call_that_has_to_be(client: anthropic.Anthropic, streams: bool) -> None:
    choice = {"type": "any", "disable_parallel_tool_use": True}
    message = ask(client, CAPITAL, tools=TOOLS, tool_choice=choice, streams=streams)
    assert (message.stop_reason, len(calls(message))) == ("tool_use", 1)


def test_no_call_where_none_may_be(client: anthropic.Anthropic) -> None:
    message = ask(client, PARIS, tools=TOOLS, tool_choice={"type": "none"})
    assert (message.stop_reason, calls(message)) == ("end_turn", [])


@pytest.mark.parametrize("streams", [False, True])
def test_thoughts(client: anthropic.Anthropic, streams: bool) -> None:
    message = ask(client, PARIS, tools=TOOLS, thinking=ON, streams=streams)
    thought, call = message.content
    assert (thought.type, bool(thought.thinking), bool(thought.signature)) == ("thinking", True, True)
    assert (call.name, message.stop_reason) == ("get_weather", "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": TOLD}
    answer = ask(
        client,
        [*PARIS, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}],
        tools=TOOLS,
        thinking=ON,
        streams=streams,
    )
    assert "21" in said(answer)


def test_the_budget_of_thoughts(client: anthropic.Anthropic) -> None:
    thought, *_ = ask(client, CAPITAL, thinking={"type": "enabled", "budget_tokens": 3}).content
    longer, *_ = ask(client, CAPITAL, thinking=ON).content
    assert 0 < len(thought.thinking) < len(longer.thinking)


def test_the_packages_own_loop_of_tools(client: anthropic.Anthropic) -> None:
    asked: list[str] = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """Get the weather in a city.

        Args:
            city: The city.
        """
        asked.append(city)
        return TOLD

    runner = client.beta.messages.tool_runner(tools=[get_weather], max_iterations=4, **options(PARIS))
    assert "21" in said(runner.until_done())
    assert asked == ["Paris"]


class Person(BaseModel):
    name: str
    age: int


@pytest.mark.parametrize("thinking", [OFF, ON])
def test_an_answer_of_a_given_form(client: anthropic.Anthropic, thinking: Any) -> None:
    messages = [{"role": "user", "content": "Write JSON with name and age of Nora, who is 31."}]
    message = client.messages.parse(**options(messages, thinking=thinking, output_format=Person))
    assert message.parsed_output == Person(name="Nora", age=31)


def test_stop_sequences(client: anthropic.Anthropic) -> None:
    message = ask(client, CAPITAL, stop_sequences=[" Par"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " Par")
    assert said(message).endswith("is")


def test_the_beginning_of_an_answer(client: anthropic.Anthropic) -> None:
    message = ask(client, [*CAPITAL, {"role": "assistant", "content": "The capital of"}])
    assert said(message) == " France is Paris."


def test_a_key_is_needed(url: str) -> None:
    with anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError):
            ask(client, CAPITAL)


def test_a_prompt_that_is_too_long(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > \d+ maximum"):
        ask(client, [{"role": "user", "content": "one " * 9000}])
