"""OpenAI's Responses API, with the openai package against a real server: as scripts use it, without asyncio."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from process import REAL, Server
from pydantic import BaseModel, Field

FRANCE = "What is the capital of France?"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
NO_THOUGHT: Any = {"effort": "none"}


class Person(BaseModel):
    name: str = Field(max_length=12)  # a toy does not end by itself
    age: int = Field(ge=0, le=150)


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    flags = ["--port", "0", "-np", "4", "-c", "8192", "-lv", "1"]
    with Server(REAL, flags) as server, openai.OpenAI(base_url=f"{server.ready()}/v1", api_key="k") as client:
        yield client
        server.interrupt()


def ask(client: openai.OpenAI, value: Any, *, streams: bool = False, **options: Any) -> Any:
    """A response; if it `streams`, as the package's own helper puts it together."""
    options = {"model": "demo", "input": value, "temperature": 0, "max_output_tokens": 200} | options
    if not streams:
        response = client.responses.create(**options)
        Response.model_validate(response.model_dump(by_alias=True, exclude_unset=True))
        return response
    with client.responses.stream(**options) as stream:
        for _ in stream:
            pass
        return stream.get_final_response()


@pytest.mark.parametrize("streams", [False, True])
def test_a_question(client: openai.OpenAI, streams: bool) -> None:
    response = ask(client, FRANCE, streams=streams)
    thought, message = response.output
    assert (thought.type, message.type, response.status) == ("reasoning", "message", "completed")
    assert "Paris" in thought.content[0].text
    assert "Paris" in response.output_text
    assert 0 < response.usage.output_tokens_details.reasoning_tokens < response.usage.output_tokens


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("is_stored", [False, True])
def test_a_call_and_its_answer(client: openai.OpenAI, streams: bool, is_stored: bool) -> None:
    options: Any = {"tools": [WEATHER], "reasoning": NO_THOUGHT, "store": is_stored, "streams": streams}
    question: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
    asked = ask(client, question, **options)
    (call,) = asked.output
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "get_weather", {"city": "Paris"})
    output = {
        "type": "function_call_output",
        "call_id": call.call_id,
        "output": '{"temperature": 21, "condition": "sunny"}',
    }
    if is_stored:
        told = ask(client, [output], previous_response_id=asked.id, **options)
    else:
        told = ask(
            client, [*question, *(item.model_dump(exclude_none=True) for item in asked.output), output], **options
        )
    assert "21" in told.output_text


def test_a_call_that_has_to_be(client: openai.OpenAI) -> None:
    for choice in ("required", {"type": "function", "name": "get_weather"}):
        response = ask(client, "Hello!", tools=[WEATHER], tool_choice=choice, reasoning=NO_THOUGHT)
        (call,) = response.output
        assert (call.type, call.name, list(json.loads(call.arguments))) == ("function_call", "get_weather", ["city"])
        assert response.tool_choice == choice if isinstance(choice, str) else response.tool_choice.name == "get_weather"


@pytest.mark.parametrize("streams", [False, True])
def test_a_custom_tool_gets_a_text_of_its_form(client: openai.OpenAI, streams: bool) -> None:
    form = {"type": "grammar", "syntax": "regex", "definition": "(look|walk) (north|south)"}
    move: Any = {"type": "custom", "name": "move", "description": "Move.", "format": form}
    choice = {"type": "custom", "name": "move"}
    response = ask(client, "Go!", streams=streams, tools=[move], tool_choice=choice, reasoning=NO_THOUGHT)
    (call,) = response.output
    assert (call.type, call.name) == ("custom_tool_call", "move")
    assert re.fullmatch(form["definition"], call.input)


@pytest.mark.parametrize("streams", [False, True])
def test_an_answer_in_a_form(client: openai.OpenAI, streams: bool) -> None:
    options: Any = {"model": "demo", "input": "Tell me of somebody.", "reasoning": NO_THOUGHT, "temperature": 0}
    options |= {"text_format": Person, "max_output_tokens": 1000}
    if streams:
        with client.responses.stream(**options) as stream:
            response = stream.get_final_response()
    else:
        response = client.responses.parse(**options)
    assert isinstance(response.output_parsed, Person)


def test_events_as_they_come(client: openai.OpenAI) -> None:
    stream: Any = client.responses.create(model="demo", input=FRANCE, temperature=0, stream=True)
    events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text
    assert text == ask(client, FRANCE).output_text


def test_an_answer_that_is_cut(client: openai.OpenAI) -> None:
    stream: Any = client.responses.create(model="demo", input=FRANCE, temperature=0, stream=True, max_output_tokens=3)
    *_, last = stream
    assert (last.type, last.response.incomplete_details.reason) == ("response.incomplete", "max_output_tokens")
    assert last.response.usage.output_tokens == 3
