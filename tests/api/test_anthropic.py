"""Anthropic's Messages API over a fake engine: translation, events, errors, and the anthropic package as a client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import numpy as np
import pytest
from numpy.typing import NDArray

from llamahttp.api.anthropic.blocks import BlockWriter, Thoughts, whole_blocks
from llamahttp.api.anthropic.parameters import COUNT_TABLE, MESSAGES_TABLE
from llamahttp.api.anthropic.translation import messages_request, prompt_body
from llamahttp.api.openapi import document
from llamahttp.api.routes import ROUTES
from llamahttp.api.state import STATE
from llamahttp.errors import InvalidRequest
from llamahttp.tools.events import CallBegin, CallEnd, CallText, Content, Event, Reasoning
from tests.answers import Document
from tests.fakes import EOS, N_VOCAB, FakeDecoder

from .conftest import Client, Recorder, Start, post, recorder

TOOLS_TEMPLATE = (Path(__file__).parents[2] / "demo" / "chat_template.jinja").read_text(encoding="utf-8")
JUDGE = Document(document(ROUTES))
PATH = "/v1/messages"
USER: dict[str, Any] = {"role": "user", "content": "hi"}
LOOK: dict[str, Any] = {
    "name": "look",
    "description": "Look.",
    "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
}
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call>'
OFF = {"thinking": {"type": "disabled"}}
ON = {"thinking": {"type": "adaptive"}}
THOUGHT = "well\n</think>\n\nyes"


class SayingDecoder(FakeDecoder):
    """A model that says `script`, whatever it is told, and then ends."""

    def __init__(self, script: str, **sizes: Any) -> None:
        super().__init__(**sizes)
        self._script = [*script.encode(), EOS]
        self._starts: dict[int, int] = {}

    def logits(self, n_outputs: int) -> NDArray[np.float32]:
        logits = np.zeros((n_outputs, N_VOCAB), np.float32)
        for row, (id_seq, _) in enumerate(self.batches[-1][-n_outputs:]):
            n_tokens = len(self.memory[id_seq])
            token = self._script[n_tokens - self._starts.setdefault(id_seq, n_tokens)]
            logits[row, token] = 10.0
            if token == EOS:
                del self._starts[id_seq]
        return logits


@pytest.fixture
async def say(start: Start) -> Callable[..., Any]:
    """Start a server whose model says a text."""

    async def saying(script: str, template: str = TOOLS_TEMPLATE, **config: Any) -> Client:
        return await start(SayingDecoder(script, n_ctx=1 << 16), template, **config)

    return saying


async def ask(client: Client, **body: Any) -> dict[str, Any]:
    """The whole answer, which is what the document promises."""
    answer: dict[str, Any] = await post(client, PATH, {"max_tokens": 200, "messages": [USER]} | body)
    JUDGE.check(PATH, "post", 200, answer)
    return answer


async def ask_events(client: Client, **body: Any) -> list[dict[str, Any]]:
    """The events of a streamed answer, which are named as their data."""
    body = {"max_tokens": 200, "messages": [USER], "stream": True} | body
    async with client.post(PATH, json=body) as response:
        text = await response.text()
        assert response.status == 200, text
    events = []
    for part in text.removesuffix("\n\n").split("\n\n"):
        name, data = part.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        JUDGE.check_event(PATH, value)
        events.append(value)
    return events


async def ask_error(client: Client, body: object, status: int = 400, path: str = PATH, **headers: str) -> str:
    """The message of an error, which has Anthropic's shape."""
    async with client.post(path, json=body, headers=headers) as response:
        answer = await response.json()
        assert response.status == status, answer
        assert answer["request_id"] == response.headers["X-Request-Id"]
    JUDGE.check(path, "post", status, answer)
    return str(answer["error"]["message"])


@asynccontextmanager
async def package(client: Client, **options: Any) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=str(client.make_url("/")), **{"api_key": "none", "max_retries": 0} | options
    ) as opened:
        yield opened


# --- translation


def chat(**body: Any) -> dict[str, Any]:
    return messages_request(MESSAGES_TABLE.decode({"messages": [USER]} | body)).chat


def told(*messages: Any, **body: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = prompt_body(COUNT_TABLE.decode({"messages": list(messages)} | body))["messages"]
    return found


def text(*words: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": word} for word in words]


def used(id_call: str = "c1", name: str = "look", **arguments: Any) -> dict[str, Any]:
    block = {"type": "tool_use", "id": id_call, "name": name, "input": arguments}
    return {"role": "assistant", "content": [block]}


def result(content: Any = "blue", id_call: str = "c1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_call, "content": content, **more}


def by(role: str, *blocks: Any) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


BILLING = "x-anthropic-billing-header: cc_version=2.1.101.{}; cc_entrypoint=cli; cch={};"


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("Be brief.", "Be brief."),
        (text("Be brief."), "Be brief."),
        (text("Be", "brief."), text("Be", "brief.")),
        ([{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}], "Be brief."),
        (BILLING.format("e51", "a5145") + "Be brief.", "Be brief."),
        (text(BILLING.format("e51", "a5145"), "Be brief."), "Be brief."),
        (text("Be brief.", ""), "Be brief."),
        ("What is x-anthropic-billing-header: a=b; for?", "What is x-anthropic-billing-header: a=b; for?"),
    ],
)
def test_system_prompts(system: Any, expected: Any) -> None:
    assert told(USER, system=system) == [{"role": "system", "content": expected}, USER]


@pytest.mark.parametrize("system", ["", [], None, BILLING.format("e51", "a5145"), text("")])
def test_no_system_prompt(system: Any) -> None:
    assert told(USER, system=system) == [USER]


def test_results_of_tools_are_messages_that_come_first() -> None:
    asked = by("user", *text("And?"), result(), result(text("a", "b"), "c2"), result(None, "c3"), *text("Well?"))
    calls = [used(id_call)["content"][0] for id_call in ("c1", "c2", "c3")]
    _, said, *results, user = told(USER, by("assistant", *text("I look."), *calls), asked)
    assert (said["content"], [call["id"] for call in said["tool_calls"]]) == ("I look.", ["c1", "c2", "c3"])
    assert results == [
        {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "blue"},
        {"role": "tool", "tool_call_id": "c2", "name": "look", "content": text("a", "b")},
        {"role": "tool", "tool_call_id": "c3", "name": "look", "content": ""},
    ]
    assert user == {"role": "user", "content": text("And?", "Well?")}


def test_calls_and_thoughts() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    (_, said, tool) = told(USER, by("assistant", thought, hidden, *used(at="né")["content"]), by("user", result()))
    function = {"name": "look", "arguments": '{"at": "né"}'}
    assert said == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "Hm.",
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }
    assert tool["role"] == "tool"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (result("no sky", is_error=True), "Error: no sky"),
        (result("<tool_use_error>no sky", is_error=True), "<tool_use_error>no sky"),
        (result(None, is_error=True), "Error"),
        (result("no sky", is_error=False), "no sky"),
        (result([{"type": "tool_reference", "tool_name": "x"}, *text("a")]), "a"),
    ],
)
def test_what_tools_tell(block: Any, expected: str) -> None:
    assert told(USER, used(), by("user", block))[-1]["content"] == expected


def test_consecutive_messages_of_one_side_are_one() -> None:
    assert told(USER, by("user", *text("you")), by("assistant", *text("a")), {"role": "assistant", "content": "b"}) == [
        {"role": "user", "content": text("hi", "you")},
        {"role": "assistant", "content": text("a", "b")},
    ]


def test_system_messages_stay_where_they_are() -> None:
    system = {"role": "system", "content": "Now be brief."}
    assert told(USER, system, system, USER) == [USER, system, system, USER]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}, "words"),
        (
            {"type": "document", "title": "T", "context": "C", "source": {"type": "content", "content": text("a")}},
            "T\nC\na",
        ),
        ({"type": "document", "source": {"type": "content", "content": "all"}, "citations": {"enabled": True}}, "all"),
        ({"type": "search_result", "title": "T", "source": "url", "content": text("a", "b")}, "T\nurl\na\nb"),
    ],
)
def test_documents_of_text_are_text(block: Any, expected: str) -> None:
    assert told(by("user", block)) == [{"role": "user", "content": expected}]
    assert told(USER, used(), by("user", result([block])))[-1]["content"] == expected


def test_blocks_of_anthropics_own_tools_are_left_out() -> None:
    searched = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": {"type": "error"}}
    search = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}}
    assert told(USER, by("assistant", search, searched, *text("Found."))) == [
        USER,
        {"role": "assistant", "content": "Found."},
    ]


DEEP: dict[str, Any] = {}
for _ in range(70):
    DEEP = {"not": DEEP}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "Field 'messages': it must not be empty"),
        ([by("user", IMAGE)], "Field 'messages[0].content[0]': image input is not supported by this server"),
        (
            [USER, used(), by("user", result([*text("a"), IMAGE]))],
            "Field 'messages[2].content[0].content[1]': image input is not supported by this server",
        ),
        ([by("user", PDF)], "Field 'messages[0].content[0].source': documents of type 'base64' (PDF files, files else"),
        ([by("user", {"type": "document"})], "Field 'messages[0].content[0].source': an object with a 'type' is expe"),
        ([by("user", {"type": "video"})], "Field 'messages[0].content[0].type': blocks of type 'video' are not known"),
        ([by("user", {"type": "text"})], "Field 'messages[0].content[0]': a text block needs 'text', which is a strin"),
        ([by("user", *used()["content"])], "Field 'messages[0].content[0]': a tool_use block cannot be in a message o"),
        ([by("assistant", result())], "Field 'messages[0].content[0]': a tool_result block cannot be in a message of"),
        ([by("user", result())], "Field 'messages[0].content[0].tool_use_id': there is no tool_use block with the id"),
        ([USER, used(), by("user", result(5))], "Field 'messages[2].content[0].content': a string or an array of bl"),
        ([USER, used(), by("user", result(["a"]))], "Field 'messages[2].content[0].content': a string or an array of"),
        ([{"role": "robot", "content": "x"}], "Field 'messages[0].role': Invalid enum value 'robot'"),
        ([{"role": "user"}], "Field 'messages[0]': Object missing required field `content`"),
        ([by("user", {"text": "x"})], "Field 'messages[0].content[0]': Object missing required field `type`"),
        (5, "Field 'messages': Expected `array`, got `int`"),
    ],
)
def test_messages_that_say_nothing(messages: Any, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat(messages=messages)
    assert str(caught.value).startswith(message)


def test_tools() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
    marked = LOOK | {"type": "custom", "strict": True, "cache_control": {"type": "ephemeral"}}
    plain = {"name": "wait"}
    body = chat(tools=[search, marked, {"type": "computer_20250124", "name": "computer"}, plain])
    parameters = LOOK["input_schema"]
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "look", "description": "Look.", "parameters": parameters, "strict": True},
        },
        {"type": "function", "function": {"name": "wait", "description": "", "parameters": {}}},
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"type": "auto"}, ("auto", True)),
        ({"type": "any"}, ("required", True)),
        ({"type": "none"}, ("none", True)),
        ({"type": "any", "disable_parallel_tool_use": True}, ("required", False)),
        ({"type": "tool", "name": "look"}, ({"type": "function", "function": {"name": "look"}}, True)),
    ],
)
def test_choices_of_tools(wanted: Any, expected: Any) -> None:
    body = chat(tools=[LOOK], tool_choice=wanted)
    assert (body["tool_choice"], body["parallel_tool_calls"]) == expected


@pytest.mark.parametrize(
    ("thinking", "budget", "variables"),
    [
        (None, None, {}),
        ({"type": "disabled"}, None, {"enable_thinking": False}),
        ({"type": "adaptive"}, None, {"enable_thinking": True}),
        ({"type": "enabled", "budget_tokens": 2000}, 2000, {"enable_thinking": True}),
        ({"type": "enabled"}, 10000, {"enable_thinking": True}),
    ],
)
def test_thinking(thinking: Any, budget: int | None, variables: dict[str, Any]) -> None:
    body = chat(thinking=thinking, chat_template_kwargs={"a": 1})
    assert (body.get("reasoning_budget_tokens"), body["chat_template_kwargs"]) == (budget, {"a": 1} | variables)


def test_the_rest_of_a_request() -> None:
    body = chat(
        temperature=0.5, top_k=3, stop_sequences=["a"], output_config={"effort": "low"}, metadata={"user_id": "u"}
    )
    wanted = {"temperature": 0.5, "top_k": 3, "stop": ["a"], "n_predict": 4096, "reasoning_effort": "low"}
    assert wanted.items() <= body.items()
    assert "top_p" not in body, "the server's own then"
    schema = {"type": "object"}
    formatted = chat(output_config={"format": {"type": "json_schema", "schema": schema}})["response_format"]
    assert (formatted["type"], formatted["json_schema"]["schema"]) == ("json_schema", schema)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"tools": [{"input_schema": {}}]}, "Field 'tools[0]': a tool needs a 'name'"),
        ({"tool_choice": {"type": "tool"}}, "Field 'tool_choice': the type 'tool' needs the 'name' of one"),
        ({"tool_choice": {"type": "some"}}, "Field 'tool_choice.type': Invalid enum value 'some'"),
        ({"thinking": {"type": "enabled", "budget_tokens": -1}}, "Field 'thinking.budget_tokens': Value must be betw"),
        ({"system": 5}, "Field 'system': Expected `str | array`, got `int`"),
        ({"system": [IMAGE]}, "Field 'system[0]': image input is not supported by this server"),
        ({"max_tokens": "5"}, "Field 'max_tokens': type must be number, but is string"),
        ({"stop_sequences": "x"}, "Field 'stop_sequences': type must be array of strings, but is string"),
    ],
)
def test_parameters_that_make_no_sense(body: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat(**body)
    assert str(caught.value).startswith(message)


# --- blocks


def written(*found: Event, **options: Any) -> list[dict[str, Any]]:
    writer = BlockWriter("sig", **options)
    events = [event for each in found for event in writer.take(each)]
    return [*events, *writer.close()]


def test_blocks_come_one_after_the_other() -> None:
    events = written(
        Reasoning("a"),
        Reasoning("b"),
        Content("c"),
        CallBegin(0, "i", "look"),
        CallText(0, "{}"),
        CallEnd(0),
        Content("d"),
    )
    assert [(event["type"].removeprefix("content_block_"), event["index"]) for event in events] == [
        *(("start", 0), ("delta", 0), ("delta", 0), ("delta", 0), ("stop", 0)),
        *(("start", 1), ("delta", 1), ("stop", 1)),
        *(("start", 2), ("delta", 2), ("stop", 2)),
        *(("start", 3), ("delta", 3), ("stop", 3)),
    ]
    assert whole_blocks(events) == [
        {"type": "thinking", "thinking": "ab", "signature": "sig"},
        {"type": "text", "text": "c"},
        {"type": "tool_use", "id": "i", "name": "look", "input": {}},
        {"type": "text", "text": "d"},
    ]


def test_arguments_that_are_no_json_are_none() -> None:
    (block,) = whole_blocks(written(CallBegin(0, "i", "look"), CallText(0, '{"at": sky}')))
    assert block["input"] == {}


def test_thoughts_can_be_left_out() -> None:
    (block,) = whole_blocks(written(Reasoning("a"), thoughts=Thoughts.OMITTED))
    assert block == {"type": "thinking", "thinking": "", "signature": "sig"}


def test_text_around_a_hidden_thought_is_one_block() -> None:
    events = written(Content("a"), Reasoning("b"), Content("c"), thoughts=Thoughts.HIDDEN)
    assert whole_blocks(events) == text("ac")


# --- answers


async def test_a_whole_message(say: Any) -> None:
    client = await say("yes")
    answer = await ask(client, model="any", **OFF)
    assert list(answer) == ["id", "type", "role", "content", "model", "stop_reason", "stop_sequence", "usage"]
    assert answer["id"].startswith("msg_")
    assert (answer["model"], answer["stop_reason"], answer["stop_sequence"]) == ("any", "end_turn", None)
    assert answer["content"] == text("yes")
    n_prompt = len("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    assert answer["usage"] == {
        "input_tokens": n_prompt,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 4,
    }


async def test_the_events_of_a_message(say: Any) -> None:
    client = await say("yes")
    whole = await ask(client, model="any", **OFF)
    start, *events = await ask_events(client, model="any", **OFF)
    ids = {start["message"]["id"], whole["id"]}
    assert len(ids) == 2
    usage = whole["usage"] | {"input_tokens": 1, "cache_read_input_tokens": whole["usage"]["input_tokens"] - 1}
    assert start["message"] == whole | {
        "id": start["message"]["id"],
        "content": [],
        "stop_reason": None,
        "usage": usage | {"output_tokens": 0},
    }
    assert [event for event in events if event["type"] != "ping"] == [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": letter}}
            for letter in "yes"
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    assert {"type": "ping"} in events


@pytest.mark.parametrize(
    ("body", "reason", "sequence", "content"),
    [
        ({}, "end_turn", None, text("well said")),
        ({"max_tokens": 4}, "max_tokens", None, text("well")),
        ({"max_tokens": 0}, "max_tokens", None, []),
        ({"stop_sequences": ["x", " sa"]}, "stop_sequence", " sa", text("well")),
        ({"stop_sequences": [""]}, "end_turn", None, text("well said")),
    ],
)
async def test_why_a_message_ends(say: Any, body: Any, reason: str, sequence: str | None, content: Any) -> None:
    answer = await ask(await say("well said"), **OFF, **body)
    assert (answer["stop_reason"], answer["stop_sequence"], answer["content"]) == (reason, sequence, content)
    *_, delta, _ = await ask_events(await say("well said"), **OFF, **body)
    assert delta["delta"] == {"stop_reason": reason, "stop_sequence": sequence}


async def test_a_full_context_ends_a_message(start: Start) -> None:
    client = await start(SayingDecoder("a" * 100, n_ctx=64, n_slots=1), TOOLS_TEMPLATE)
    answer = await ask(client, **OFF)
    assert answer["stop_reason"] == "model_context_window_exceeded"


async def test_a_stop_word_of_the_server_is_no_stop_sequence(say: Any) -> None:
    answer = await ask(await say("well said", stop=(" sa",)), **OFF)
    assert (answer["stop_reason"], answer["stop_sequence"], answer["content"]) == ("end_turn", None, text("well"))


@pytest.mark.parametrize("streams", [False, True])
async def test_thoughts_are_blocks_with_a_signature(say: Any, streams: bool) -> None:
    client = await say(THOUGHT)
    if streams:
        events = await ask_events(client, **ON)
        content = whole_blocks([event for event in events if event["type"].startswith("content_block")])
        signature = events[0]["message"]["id"]
    else:
        answer = await ask(client, **ON)
        content, signature = answer["content"], answer["id"]
    assert content == [{"type": "thinking", "thinking": "well", "signature": signature}, *text("yes")]


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("body", [{}, OFF])
async def test_who_asks_for_no_thinking_gets_text_first(say: Any, streams: bool, body: Any) -> None:
    """Though the model, as its server has it, thinks: `message.content[0].text` is what scripts print."""
    client = await say(THOUGHT, template="<think>\n{# </think> #}")
    if streams:
        events = await ask_events(client, **body)
        content = whole_blocks([event for event in events if event["type"].startswith("content_block")])
        usage = events[-2]["usage"]
    else:
        answer = await ask(client, **body)
        content, usage = answer["content"], answer["usage"]
    assert (content, usage["output_tokens"]) == (text("yes"), len(THOUGHT) + 1)


@pytest.mark.parametrize(
    ("body", "config", "is_on"),
    [
        ({}, {}, False),
        (OFF, {}, False),
        (ON, {}, True),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, {}, True),
        ({"chat_template_kwargs": {"enable_thinking": True}}, {}, True),
        ({}, {"template_kwargs": (("enable_thinking", True),)}, True),
        (OFF, {"template_kwargs": (("enable_thinking", True),)}, False),
        (ON, {"template_kwargs": (("enable_thinking", False),)}, True),
    ],
)
async def test_the_model_thinks_when_it_is_asked_to(say: Any, body: Any, config: Any, is_on: bool) -> None:
    client = await say("x", "{{ 'yes' if enable_thinking else 'no' }}{# </think> #}", **config)
    answer = await post(client, f"{PATH}/count_tokens", {"messages": [USER]} | body)
    assert answer["input_tokens"] == len("yes" if is_on else "no")
    assert (await ask(client, **body))["usage"]["input_tokens"] == answer["input_tokens"]


async def test_who_asks_the_template_to_think_is_shown_it(say: Any) -> None:
    answer = await ask(await say(THOUGHT), chat_template_kwargs={"enable_thinking": True})
    assert [block["type"] for block in answer["content"]] == ["thinking", "text"]


async def test_thoughts_that_are_not_to_be_shown(say: Any) -> None:
    thinking = {"type": "adaptive", "display": "omitted"}
    (thought, said) = (await ask(await say(THOUGHT), thinking=thinking))["content"]
    assert (thought["thinking"], bool(thought["signature"]), said["text"]) == ("", True, "yes")


async def test_a_call(say: Any) -> None:
    client = await say(f"I look.\n{CALL}")
    answer = await ask(client, tools=[LOOK], **OFF)
    said, call = answer["content"]
    assert (said, answer["stop_reason"]) == (text("I look.")[0], "tool_use")
    assert call == {"type": "tool_use", "id": call["id"], "name": "look", "input": {"at": "sky"}}
    events = await ask_events(client, tools=[LOOK], **OFF)
    starts = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert [(block["type"], block.get("input")) for block in starts] == [("text", None), ("tool_use", {})]
    pieces = [event["delta"]["partial_json"] for event in events if "partial_json" in event.get("delta", {})]
    assert (len(pieces) > 3, json.loads("".join(pieces))) == (True, {"at": "sky"})


@pytest.mark.parametrize("n", range(20, len(CALL) + 1, 3))
async def test_a_call_that_is_cut_off_is_not_to_be_run(say: Any, n: int) -> None:
    client = await say(CALL)
    answer = await ask(client, tools=[LOOK], max_tokens=n, **OFF)
    assert answer["stop_reason"] == "max_tokens"
    is_whole = n > CALL.index("}}")
    calls = [block["input"] for block in answer["content"] if block["type"] == "tool_use"]
    assert calls == [{"at": "sky"} if is_whole else {}] or (n <= CALL.index('{"at') and not calls)
    async with (
        package(await say(CALL)) as opened,
        opened.messages.stream(
            model="any",
            max_tokens=n,
            messages=[USER],
            tools=[LOOK],
            **OFF,
        ) as stream,
    ):
        message = await stream.get_final_message()  # reads the arguments of each event
    assert message.stop_reason == "max_tokens"


async def test_a_stop_sequence_in_a_call(say: Any) -> None:
    async with package(await say(CALL)) as opened:
        async with opened.messages.stream(
            model="any", max_tokens=200, messages=[USER], tools=[LOOK], stop_sequences=["ky"], **OFF
        ) as stream:
            message = await stream.get_final_message()
    (call,) = message.content
    assert (message.stop_reason, call.input) == ("stop_sequence", {}), "nothing of it is whole"


STRICT_TEMPLATE = """{% for message in messages %}{% if message.role == 'system' and not loop.first %}
{{ raise_exception('System message must be at the beginning.') }}{% endif %}
<{{ message.role }}>{{ message.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"""


@pytest.mark.parametrize("last", [[], [USER]])
async def test_a_reminder_in_the_middle_is_answered_where_the_template_takes_the_system_first_only(
    say: Callable[..., Any], last: list[dict[str, Any]]
) -> None:
    """Claude Code reminds the model so; llama-server answers with the template's refusal."""
    client = await say("yes", template=STRICT_TEMPLATE)
    talk = [USER, {"role": "assistant", "content": "a"}, {"role": "system", "content": "Be brief."}, *last]
    assert (await ask(client, messages=talk, system="You are an agent."))["content"] == text("yes")


async def test_a_last_message_of_the_assistants_is_continued(say: Any) -> None:
    client = await say("es")
    answer = await ask(client, messages=[USER, {"role": "assistant", "content": "y"}], **OFF)
    assert answer["content"] == text("es")


# --- what is cached


def claude_code(question: str, build: str = "e51", stamp: str = "a5145") -> dict[str, Any]:
    """A request as agents send them: a long system prompt behind a header that never is the same, and many tools."""
    mark = {"cache_control": {"type": "ephemeral"}}
    blocks = text(BILLING.format(build, stamp), "You are an agent.", "Long instructions follow. " * 25)
    tools = [LOOK | {"name": f"Tool{i}", "description": f"Tool {i}."} for i in range(15)]
    tools.append({"type": "web_search_20250305", "name": "web_search", "max_uses": 8})
    return {
        "model": "claude-sonnet-4-5",
        "max_tokens": 8,
        "system": [blocks[0], *(block | mark for block in blocks[1:])],
        "messages": [by("user", {"type": "text", "text": question, **mark})],
        "tools": tools,
        "metadata": {"user_id": '{"session_id":"s"}'},
        "temperature": 1,
        "context_management": {"edits": []},
        **OFF,
    }


async def test_the_next_request_of_an_agent_reuses_the_prefix(say: Any) -> None:
    client = await say("fine")
    beta = {"anthropic-version": "2023-06-01", "anthropic-beta": "claude-code-20250219", "x-app": "cli"}
    usages = []
    for question, build, stamp in (("Hello", "e51", "a5145"), ("Hello", "0c9", "ffa01"), ("Help!", "777", "00000")):
        async with client.post(f"{PATH}?beta=true", json=claude_code(question, build, stamp), headers=beta) as response:
            assert response.status == 200, await response.text()
            assert response.headers["Request-Id"] == response.headers["X-Request-Id"]
            usages.append((await response.json())["usage"])
    first, second, third = usages
    n_prompt = first["input_tokens"] + first["cache_creation_input_tokens"]
    assert (first["input_tokens"], first["cache_read_input_tokens"]) == (1, 0)
    assert (second["cache_read_input_tokens"], second["cache_creation_input_tokens"]) == (n_prompt - 1, 0)
    assert n_prompt - 100 < third["cache_read_input_tokens"] < n_prompt
    assert sum(third[name] for name in third if name != "output_tokens") == n_prompt, "as long as the first question"
    counted = await post(client, f"{PATH}/count_tokens", claude_code("Hello"))
    assert counted == {"input_tokens": n_prompt}


# --- errors


@pytest.mark.parametrize("path", [PATH, f"{PATH}/count_tokens"])
async def test_errors_have_anthropics_shape(client: Client, path: str) -> None:
    async with client.post(path, json={}, headers={"X-Request-Id": "r1"}) as response:
        assert (response.status, await response.json()) == (
            400,
            {
                "type": "error",
                "error": {"type": "invalid_request_error", "message": "'messages' is required"},
                "request_id": "r1",
            },
        )
    async with client.get(path) as response:
        answer = await response.json()
        assert (response.status, answer["type"], response.headers["Allow"]) == (405, "error", "POST")
    async with client.post(f"{path}/x", json={}) as response:
        assert (response.status, (await response.json())["error"]["type"]) == (404, "not_found_error")


async def test_wrong_keys(start: Start) -> None:
    client = await start(api_keys=frozenset({"k"}))
    body = {"messages": [USER], "max_tokens": 1}
    assert await ask_error(client, body, 401) == "Invalid API Key"
    async with package(client, api_key="k") as opened:
        assert (await opened.messages.create(model="any", max_tokens=1, messages=[USER])).usage
    async with package(client, api_key="x") as opened:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await opened.messages.create(model="any", max_tokens=1, messages=[USER])
    assert (caught.value.type, bool(caught.value.request_id)) == ("authentication_error", True)


async def test_a_body_that_is_too_large(start: Start) -> None:
    client = await start(max_body=1000)
    async with package(client) as opened:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await opened.messages.create(model="any", max_tokens=1, messages=[USER] * 100)
    assert (caught.value.status_code, caught.value.type) == (413, "request_too_large")


async def test_a_full_queue(start: Start) -> None:
    client = await start(queue_size=0)
    async with package(client) as opened:
        with pytest.raises(anthropic.RateLimitError) as caught:
            await opened.messages.create(model="any", max_tokens=1, messages=[USER])
    assert (caught.value.type, caught.value.response.headers["Retry-After"]) == ("rate_limit_error", "1")


async def test_while_the_model_loads(client: Client) -> None:
    assert client.app is not None
    state = client.app[STATE]
    engine, state.engine = state.engine, None
    try:
        async with client.post(PATH, json={}) as response:
            assert (response.status, (await response.json())["error"]["type"]) == (503, "overloaded_error")
    finally:
        state.engine = engine


@pytest.mark.parametrize("streams", [False, True])
async def test_a_prompt_that_is_too_long_is_told_in_anthropics_words(client: Client, streams: bool) -> None:
    body = {"messages": [{"role": "user", "content": "word " * 2000}], "stream": streams}
    message = await ask_error(client, body)
    assert message.startswith("prompt is too long: 10")
    assert message.endswith(" tokens > 4096 maximum")


async def test_an_error_in_mid_stream_is_an_event(start: Start) -> None:
    decoder = SayingDecoder("well said")
    client = await start(decoder, TOOLS_TEMPLATE)
    events = []
    async with package(client) as opened:
        stream = await opened.messages.create(
            model="any",
            max_tokens=50,
            messages=[USER],
            stream=True,
            extra_body=OFF,
        )
        with pytest.raises(anthropic.APIStatusError) as caught:
            async for event in stream:
                events.append(event.type)
                if event.type == "content_block_delta":
                    decoder.errors.append(RuntimeError("broken"))
    assert "content_block_delta" in events
    assert caught.value.type == "api_error"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"tool_choice": {"type": "any"}}, "Field 'tool_choice': a call is required, but there are no 'tools'"),
        ({"tools": [LOOK, LOOK]}, "Field 'tools': there are two tools of the name 'look'"),
        (
            {"tools": [LOOK], "tool_choice": {"type": "tool", "name": "see"}},
            "Field 'tool_choice': there is no tool 'see'; there are look",
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "zebra"}}}},
            "Field 'output_config.format': JSON schema: at '/type': has to be",
        ),
        ({"tools": [LOOK | {"input_schema": DEEP}]}, "'tools[0].input_schema' is nested more than 64 levels deep"),
        ({"messages": [USER, used()]}, "Cannot continue an assistant message that contains tool calls."),
    ],
)
async def test_what_a_chat_refuses(say: Any, body: dict[str, Any], message: str) -> None:
    assert (await ask_error(await say("x"), {"messages": [USER]} | body)).startswith(message)


# --- the package


async def test_a_stream_with_the_package(say: Any) -> None:
    client = await say("well\n</think>\n\nI look.\n" + CALL)
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}  # as Claude Code asks
    async with package(client) as opened:
        async with opened.messages.stream(
            model="any",
            max_tokens=200,
            messages=[USER],
            tools=[LOOK],
            thinking=thinking,
        ) as stream:
            kinds = [event.type async for event in stream]
            message = await stream.get_final_message()
        whole = await opened.messages.create(
            model="any",
            max_tokens=200,
            messages=[USER],
            tools=[LOOK],
            thinking=thinking,
        )
    assert {"thinking", "signature", "text", "input_json"} <= set(kinds)
    for each in (message, whole):
        assert [block.type for block in each.content] == ["thinking", "text", "tool_use"]
        assert (each.stop_reason, each.content[2].input) == ("tool_use", {"at": "sky"})


async def test_what_the_engine_is_asked_for(start: Start) -> None:
    client = await start(around=Recorder)
    await ask(client, max_tokens=3, temperature=0.3, top_k=7, top_p=0.5)
    await ask(client, max_tokens=2)
    given, default = (replace(task.sampling, seed=0) for task in recorder(client).tasks)
    assert (given.temperature, given.top_k, given.top_p) == (0.3, 7, 0.5)
    assert (default.temperature, default.top_k, default.top_p) == (0.8, 40, 0.95)
    assert [task.n_predict for task in recorder(client).tasks] == [3, 2]


async def test_servers_of_tools_are_not_called(say: Any, caplog: pytest.LogCaptureFixture) -> None:
    client = await say("x")
    server = {"type": "url", "url": "https://example.com/mcp", "name": "m"}
    message = await ask_error(client, {"messages": [USER], "mcp_servers": [server]})
    assert message == "Field 'mcp_servers': this server calls no tools itself; give it 'tools'"
    with caplog.at_level("INFO", "llamahttp.api.anthropic"):
        await ask(client, mcp_servers=[], container="c", tools=[{"type": "bash_20250124", "name": "bash"}])
    assert [message for message in caplog.messages if "ignored" in message or "left out" in message] == [
        "'container' is ignored: this server runs nothing",
        "tools[0], of the type 'bash_20250124', is left out: this server does not know such",
    ]


async def test_conversations_are_not_kept(say: Any) -> None:
    """The package's own loop of tools asks for that first, and goes on without if it is told in these words."""
    body = {"messages": [USER], "thread": {"type": "create"}}
    async with (await say("x")).post(PATH, json=body) as response:
        answer = await response.json()
    JUDGE.check(PATH, "post", response.status, answer)
    details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert (response.status, answer["error"]["details"]) == (400, details)
