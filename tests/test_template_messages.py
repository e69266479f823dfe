"""What a few templates are given beyond what follows from their capabilities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llamahttp.template_caps import TemplateCaps
from llamahttp.template_messages import Adapter

CAPS = TemplateCaps(
    string_content=True,
    typed_content=True,
    system_role=True,
    tools=True,
    tool_calls=True,
    parallel_tool_calls=True,
    object_arguments=True,
    preserve_reasoning=False,
    reasoning_effort=False,
    late_system=True,
)
STEPFUN = "You have access to the following functions in JSONSchema format"
MINISTRAL = "[SYSTEM_PROMPT] [TOOL_CALLS] [ARGS] block['type'] == 'thinking'"
GEMMA = "'<|tool_call>call:'"


def adapt(source: str, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    return Adapter(CAPS, source)(messages)


def call(name: str, id: str, arguments: str = "") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def called(name: str, id: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": {}}}


@pytest.mark.parametrize("arguments", ["", " \n", "{}"])
def test_no_text_is_no_arguments(arguments: str) -> None:
    (message,) = adapt("", {"role": "assistant", "tool_calls": [call("look", "1", arguments)]})
    assert message == {"role": "assistant", "content": "", "tool_calls": [called("look", "1")]}


def test_stepfun_gets_texts_without_white_space_around_them() -> None:
    message = {"role": "assistant", "content": " a\n", "reasoning_content": "\nb "}
    assert adapt(STEPFUN, message) == [{"role": "assistant", "content": "a", "reasoning_content": "b", "thinking": "b"}]
    assert adapt(STEPFUN, {"role": "user", "content": [{"type": "text", "text": " a "}]}) == [
        {"role": "user", "content": [{"type": "text", "text": "a"}]}
    ]
    assert adapt("", message)[0]["content"] == " a\n"


def test_ministral_gets_thoughts_as_parts() -> None:
    answer = {"role": "assistant", "content": "a", "reasoning_content": "b"}
    (message,) = adapt(MINISTRAL, answer)
    assert message["content"] == [{"type": "thinking", "thinking": "b"}, {"type": "text", "text": "a"}]
    plain = {"role": "assistant", "content": "a"}
    assert adapt(MINISTRAL, plain) == [plain]


def test_gemma_gets_results_with_the_calls_and_the_answer_to_them() -> None:
    messages = adapt(
        GEMMA,
        {"role": "assistant", "tool_calls": [call("look", "1"), call("find", "2")]},
        {"role": "tool", "tool_call_id": "2", "content": "cold"},
        {"role": "tool", "tool_call_id": "1", "content": '{"temp": 1}'},
        {"role": "tool", "tool_call_id": "3", "name": "hear", "content": ""},
        {"role": "assistant", "content": "So."},
        {"role": "assistant", "tool_calls": [call("look", "4")]},
        {"role": "tool", "tool_call_id": "5", "content": "?"},
    )
    responses = [
        {"name": "find", "response": "cold"},
        {"name": "look", "response": {"temp": 1}},
        {"name": "hear", "response": ""},
    ]
    calls = [called("look", "1"), called("find", "2")]
    assert messages == [
        {"role": "assistant", "content": "So.", "tool_calls": calls, "tool_responses": responses},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [called("look", "4")],
            "tool_responses": [{"name": "unknown", "response": "?"}],
        },
    ]


def test_gemma_gets_results_without_calls_as_they_are() -> None:
    messages = [{"role": "tool", "tool_call_id": "1", "content": "cold"}, {"role": "assistant", "content": "So."}]
    assert adapt(GEMMA, *messages) == messages


def test_the_messages_given_are_not_changed() -> None:
    answer = {"role": "assistant", "content": "", "tool_calls": [call("look", "1")]}
    result = {"role": "tool", "tool_call_id": "1", "content": "cold"}
    before = [answer | {}, result | {}]
    adapt(GEMMA, answer, result)
    assert [answer, result] == before


def said(*roles: str) -> list[dict[str, Any]]:
    """Messages of these roles, each with its number as content."""
    return [{"role": role, "content": str(i)} for i, role in enumerate(roles)]


@pytest.mark.parametrize(
    ("roles", "told"),
    [
        (("system", "user", "assistant", "system", "user"), ["s0", "u1", "a2", "u3\n4"]),
        (("system", "user", "system"), ["s0", "u1\n2"]),
        (("system", "system", "user"), ["s0\n1", "u2"]),
        (("user", "system", "system", "user", "assistant"), ["u0\n1\n2\n3", "a4"]),
        (("user", "assistant", "system", "system"), ["u0", "a1", "u2\n3"]),
        (("user", "assistant", "tool", "system", "assistant"), ["u0", "a1", "t2", "u3", "a4"]),
        (("system", "assistant", "user"), ["s0", "a1", "u2"]),
    ],
)
def test_a_late_system_message_is_told_by_the_user_where_the_template_loses_it(
    roles: tuple[str, ...], told: list[str]
) -> None:
    messages = said(*roles)
    adapted = Adapter(replace(CAPS, late_system=False), "")(messages)
    assert [f"{message['role'][0]}{message['content']}" for message in adapted] == told
    assert Adapter(CAPS, "")(messages) == messages


def test_a_late_system_message_in_parts_is_told_in_parts() -> None:
    part = {"type": "text", "text": "late"}
    messages = [*said("user"), {"role": "system", "content": [part]}]
    (adapted,) = Adapter(replace(CAPS, late_system=False), "")(messages)
    assert adapted["content"] == [{"type": "text", "text": "0"}, part]
