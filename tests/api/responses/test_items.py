from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamahttp.api.responses.items import SEAL, SKIPPED, Conversation, read_input, seal, unseal, with_id
from llamahttp.errors import InvalidRequest

USER = {"role": "user", "content": "hi"}


def messages(*items: dict[str, Any], instructions: str | None = None) -> list[dict[str, Any]]:
    conversation = Conversation(instructions)
    conversation.add_all(items, "input")
    return conversation.messages


def call(id_call: str = "1", arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "call_id": id_call, "name": "f", "arguments": arguments}


def as_call(id_call: str = "1", name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"id": id_call, "type": "function", "function": {"name": name, "arguments": arguments}}


def thought(text: str) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def test_a_text_is_the_users() -> None:
    assert messages(*read_input("hi")) == [USER]


def test_a_turn_of_the_assistant_is_one_message() -> None:
    output = {"type": "function_call_output", "call_id": "1", "output": "3"}
    assert messages(USER, thought("hm"), said("I see."), call("1"), call("2", '{"a": 1}'), output, thought("so")) == [
        USER,
        {
            "role": "assistant",
            "content": "I see.",
            "reasoning_content": "hm",
            "tool_calls": [as_call("1"), as_call("2", arguments='{"a": 1}')],
        },
        {"role": "tool", "tool_call_id": "1", "content": "3"},
        {"role": "assistant", "content": None, "reasoning_content": "so"},
    ]


def test_a_new_thought_begins_a_new_message() -> None:
    first, second = messages(thought("a"), said("A"), thought("b"), call())
    assert (first["reasoning_content"], first["content"]) == ("a", "A")
    assert (second["reasoning_content"], second["tool_calls"]) == ("b", [as_call()])


def test_what_the_beginning_says_as_system_is_one_message() -> None:
    developer = {"role": "developer", "content": [{"type": "input_text", "text": "two"}]}
    system = {"role": "system", "content": "three"}
    assert messages(developer, system, USER, system, instructions="one") == [
        {"role": "system", "content": "one\n\ntwo\n\nthree"},
        USER,
        system,
    ]


def test_parts() -> None:
    parts = [
        {"type": "input_text", "text": "what is"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
    ]
    (message,) = messages({"role": "user", "content": parts})
    assert message["content"] == [
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
    ]
    refusal = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    assert messages(refusal, said("!"))[0]["content"] == "no!"


@pytest.mark.parametrize(
    ("item", "name", "arguments"),
    [
        ({"type": "custom_tool_call", "name": "patch", "input": "a\nb"}, "patch", '{"input":"a\\nb"}'),
        ({"type": "local_shell_call", "action": {"command": ["ls"]}}, "local_shell", '{"command":["ls"]}'),
        ({"type": "shell_call", "action": {"commands": ["ls"]}}, "shell", '{"commands":["ls"]}'),
        ({"type": "apply_patch_call", "operation": {"path": "a"}}, "apply_patch", '{"path":"a"}'),
    ],
)
def test_calls_of_other_tools_are_told_as_calls(item: dict[str, Any], name: str, arguments: str) -> None:
    (message,) = messages(item | {"call_id": "1"})
    assert message["tool_calls"] == [as_call("1", name, arguments)]


@pytest.mark.parametrize(
    ("kind", "output", "content"),
    [
        ("function_call_output", "3", "3"),
        ("function_call_output", [{"type": "input_text", "text": "3"}], "3"),
        ("custom_tool_call_output", "3", "3"),
        ("local_shell_call_output", "3", "3"),
        ("shell_call_output", [{"stdout": "3"}], '[{"stdout":"3"}]'),
    ],
)
def test_what_calls_gave(kind: str, output: Any, content: str) -> None:
    assert messages({"type": kind, "call_id": "1", "output": output}) == [
        {"role": "tool", "tool_call_id": "1", "content": content}
    ]


def test_a_shell_call_output_may_name_its_call_as_its_own_id() -> None:
    assert messages({"type": "local_shell_call_output", "id": "1", "output": ""})[0]["tool_call_id"] == "1"


@pytest.mark.parametrize("kind", sorted(SKIPPED))
def test_items_that_nobody_here_can_read_are_left_out(kind: str) -> None:
    assert messages({"type": kind, "id": "1"}, USER) == [USER]


def test_a_thought_of_another_server_is_left_out() -> None:
    assert messages({"type": "reasoning", "summary": [], "encrypted_content": "gAAAAABo"}, USER) == [USER]


@given(st.text())
def test_thoughts_come_back_whole(text: str) -> None:
    assert unseal(seal(text)) == text


@pytest.mark.parametrize("sealed", [None, 3, "", "gAAAA", SEAL + "=", SEAL + "/w==", SEAL + "ä"])
def test_what_is_no_thought_of_ours(sealed: Any) -> None:
    assert unseal(sealed) == ""


@pytest.mark.parametrize(
    "item",
    [
        {"type": 3},
        {"type": "message", "role": ["user"], "content": "x"},
        {"type": "function_call", "call_id": 3, "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "1", "arguments": "{}"},
        {"type": "local_shell_call", "call_id": "1", "action": "ls"},
        {"type": "reasoning", "content": [3]},
        {"type": "reasoning", "content": [{"text": 3}]},
        {"role": "user", "content": [{"type": ["input_text"]}]},
        {"role": "user", "content": [{"type": "input_image", "file_id": "f"}]},
        {"role": "user", "content": [{"type": "input_file", "file_data": "f"}]},
    ],
)
def test_items_that_say_not_what_they_should(item: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as error:
        messages(USER, item)
    assert error.value.param is not None
    assert error.value.param.startswith("input[1]")
    assert error.value.param in str(error.value)


def test_listed_items_have_ids_and_parts() -> None:
    shown = with_id(USER)
    assert (shown["type"], shown["content"]) == ("message", [{"type": "input_text", "text": "hi"}])
    assert shown["id"].startswith("msg_")
    assert with_id(call() | {"id": "fc_1"})["id"] == "fc_1"
    assert with_id(call() | {"id": None})["id"]
