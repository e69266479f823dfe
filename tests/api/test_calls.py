"""What a chat may call, how its answers are read, and what they have to obey."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llamahttp.api.calls import find_triggers, read_answers
from llamahttp.api.chat import ChatPrompt
from llamahttp.api.chat_request import thoughts_of
from llamahttp.api.parameters import CHAT_TABLE
from llamahttp.api.state import shown_tokens
from llamahttp.api.tool_use import MAX_SCHEMA_DEPTH, NO_TOOLS, ToolUse, read_tool_use
from llamahttp.errors import InvalidRequest
from llamahttp.tools.format import CONTENT_ONLY, ChatFormat, Island, Thought
from llamahttp.tools.formats import HARMONY, NAME_ARGUMENTS
from llamahttp.tools.pattern import Call, Fields, Key, Name, Value, seq, soft
from llamahttp.tools.voice import ThoughtsIn
from llamahttp.trigger import Trigger, TriggerKind
from tests.fakes import FakeVocab

LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
WAIT = {"type": "function", "function": {"name": "wait", "strict": True}}
THINK = Thought("<think>\n", "\n</think>\n\n")
HERMES = ChatFormat("hermes", THINK, (Island(Call(seq("<tool_call>\n", NAME_ARGUMENTS, soft("\n</tool_call>")))),))
USE = ToolUse({"look": {"type": "object"}})


def use_of(**body: Any) -> ToolUse:
    return read_tool_use(CHAT_TABLE.decode({"messages": [], **body}))


def nested(n: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(n):
        schema = {"items": schema}
    return schema


def test_tools_are_offered() -> None:
    use = use_of(tools=[LOOK, WAIT])
    assert use == ToolUse({"look": {"type": "object"}, "wait": {"type": "object"}}, frozenset({"wait"}))
    assert use_of(tools=[LOOK], parallel_tool_calls=False).parallel is False


@pytest.mark.parametrize("body", [{}, {"tools": []}, {"tools": [LOOK], "tool_choice": "none"}, {"tool_choice": None}])
def test_there_is_nothing_to_call(body: dict[str, Any]) -> None:
    assert use_of(**body) == NO_TOOLS


@pytest.mark.parametrize(
    ("choice", "names", "is_required"),
    [
        ("auto", ["look", "wait"], False),
        (None, ["look", "wait"], False),
        ("required", ["look", "wait"], True),
        ({"type": "function", "function": {"name": "wait"}}, ["wait"], True),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [LOOK]}}, ["look"], False),
    ],
)
def test_choices(choice: Any, names: list[str], is_required: bool) -> None:
    use = use_of(tools=[LOOK, WAIT], tool_choice=choice)
    assert (list(use.tools), use.is_required) == (names, is_required)
    assert use.strict == frozenset(names) & {"wait"}, "which says so itself"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "Expected 'tools' to be"),
        ({"tools": [{"type": "function", "function": {}}]}, "Expected 'tools' to be"),
        ({"tools": [LOOK, WAIT, LOOK]}, "two tools of the name 'look'"),
        ({"tools": [LOOK] * 2000}, "at most 1024 are allowed, but got 2000"),
        (
            {"tools": [{"type": "function", "function": {"name": "x", "parameters": []}}]},
            "parameters' to be a JSON Schema",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "x", "parameters": nested(MAX_SCHEMA_DEPTH + 1)}}]},
            f"nested more than {MAX_SCHEMA_DEPTH} levels deep",
        ),
        ({"tools": [LOOK], "tool_choice": "sometimes"}, "Invalid tool_choice: sometimes"),
        ({"tools": [LOOK], "tool_choice": {"type": "function"}}, "Invalid tool_choice: an object"),
        (
            {"tools": [LOOK], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "no tool 'x'; there are look",
        ),
        ({"tool_choice": "required"}, "there are no 'tools'"),
        (
            {
                "tools": [LOOK],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}},
            },
            "no tools are allowed",
        ),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "no tool 'x'; there are none"),
        ({"tools": [LOOK], "grammar": 'root ::= "a"'}, "Cannot use custom grammar constraints with tools."),
    ],
)
def test_what_cannot_be_called(body: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        use_of(**body)
    assert message in str(caught.value)


def test_schemas_may_be_as_deep_as_the_limit() -> None:
    use_of(tools=[{"type": "function", "function": {"name": "x", "parameters": nested(MAX_SCHEMA_DEPTH - 1)}}])


# --- reading


def test_calls_are_looked_for_where_there_are_tools() -> None:
    chat = ChatPrompt("?", can_think=True, format=HERMES, use=USE)
    reading = read_answers(chat, "auto")
    assert (reading.format, reading.use, reading.thoughts) == (HERMES, USE, ThoughtsIn.REASONING)
    assert read_answers(ChatPrompt("?", can_think=True, format=HERMES), "auto").format.calls == ()


def test_how_answers_think() -> None:
    closed = read_answers(ChatPrompt("?<think>\n\n</think>\n\n", can_think=True, format=HERMES), "auto")
    assert (closed.is_open, closed.may_think) == (False, False)
    opened = read_answers(ChatPrompt("?<think>\n", thought="<think>\n", can_think=True, format=HERMES), "auto")
    assert (opened.is_open, opened.may_think) == (True, True)
    continued = read_answers(ChatPrompt("?yes", prefill="yes", format=HERMES), "auto")
    assert continued.parser() is None, "the answer has begun: all that comes is content"


@pytest.mark.parametrize(
    ("reasoning_format", "thoughts"),
    [
        ("auto", ThoughtsIn.REASONING),
        ("deepseek", ThoughtsIn.REASONING),
        ("none", ThoughtsIn.CONTENT),
        ("deepseek-legacy", ThoughtsIn.BOTH),
    ],
)
def test_where_thoughts_go(reasoning_format: str, thoughts: ThoughtsIn) -> None:
    assert read_answers(ChatPrompt("?", can_think=True, format=HERMES), reasoning_format).thoughts is thoughts


def test_answers_that_are_not_parsed() -> None:
    chat = ChatPrompt("?", format=HERMES, use=USE)
    assert read_answers(chat, "auto", parses=False).parser() is None
    assert read_answers(ChatPrompt("?"), "auto").parser() is None


def test_a_call_cannot_be_required_of_a_template_without_calls() -> None:
    chat = ChatPrompt("?", format=CONTENT_ONLY, use=ToolUse({"look": {}}, is_required=True))
    with pytest.raises(InvalidRequest, match="template shows no format of tool calls"):
        read_answers(chat, "auto")


def test_the_prompt_may_hold_the_beginning_of_an_answer() -> None:
    reading = read_answers(ChatPrompt("?<|start|>assistant", can_think=True, format=HARMONY), "auto")
    assert reading.primer == "<|start|>assistant"
    assert read_answers(ChatPrompt("?", can_think=True, format=HARMONY), "auto").primer == ""


def test_what_ends_a_thought() -> None:
    field = seq("<parameter=", Key(), ">", Value("\n", "\n</parameter>"))
    tagged = Island(Call(seq("<tool_call>\n<function=", Name(), ">\n", Fields(field), "</function>")))
    coder = ChatFormat("coder", Thought("<think>", "</think>", ends_with_call=True), (tagged,))
    for format, ends in ((HERMES, ("</think>",)), (coder, ("</think>", "<tool_call>")), (CONTENT_ONLY, None)):
        reading = read_answers(ChatPrompt("?", can_think=True, format=format, use=USE), "auto")
        thoughts = thoughts_of(reading)
        assert (thoughts and thoughts.ends) == ends


def test_triggers() -> None:
    assert find_triggers(HERMES, ["look"]) == [Trigger(TriggerKind.WORD, "<tool_call>")]
    array = ChatFormat("x", islands=(Island(seq("[CALLS][", Call(NAME_ARGUMENTS))),))
    assert find_triggers(array, ["look"]) == [Trigger(TriggerKind.WORD, "[CALLS]")]
    assert find_triggers(HARMONY, ["a.b", "c"])[1].value == r" to=functions\.(?:a\.b|c)<\|channel\|>".join("()")


# --- tokens


class TagVocab(FakeVocab):
    """Bytes, and tags that are control tokens."""

    tags = (b"<tool_call>", b"</tool_call>", b"<|start|>", b"<|call|>", b"<|other|>")
    n_tokens = FakeVocab.n_tokens + len(tags)
    pieces = (*FakeVocab.pieces, *(b"" for _ in tags))
    special_pieces = (*FakeVocab.special_pieces, *tags)
    eog = FakeVocab.eog | {FakeVocab.n_tokens + tags.index(b"<|call|>")}

    def tokenize(self, text: str | bytes, *, add_special: bool, parse_special: bool) -> NDArray[np.int32]:
        assert isinstance(text, str) and parse_special
        parts = re.split(b"(%s)" % b"|".join(map(re.escape, self.tags)), text.encode())
        return np.array([token for part in parts for token in self._tokens(part)], np.int32)

    def _tokens(self, part: bytes) -> list[int]:
        return [self.special_pieces.index(part)] if part in self.tags else list(part)


def test_control_tokens_that_a_format_is_made_of_show() -> None:
    def tags(format: ChatFormat) -> list[bytes]:
        return [TagVocab.special_pieces[token] for token in sorted(shown_tokens(TagVocab(), format))]

    assert tags(HERMES) == [b"<tool_call>", b"</tool_call>"]
    assert tags(HARMONY) == [b"<|start|>"], "one that is a part of a literal; none that ends the answer"
    assert tags(CONTENT_ONLY) == []
