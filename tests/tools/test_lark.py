"""Grammars of calls: what they allow of arguments, beside what templates show."""

from __future__ import annotations

import functools
import time
from typing import Any

import pytest

from llamahttp.errors import InvalidRequest
from llamahttp.grammar import GrammarCompiler
from llamahttp.tools.format import ChatFormat, Island, Thought
from llamahttp.tools.formats import GEMMA_4, LFM2, NAME_ARGUMENTS
from llamahttp.tools.lark import Beginning, to_lark
from llamahttp.tools.pattern import Call, Fields, Key, Name, Value, seq, soft
from llamahttp.tools.schema import TYPES, types
from tests.fakes import FakeVocab

HERMES = ChatFormat(
    "hermes",
    Thought("<think>", "</think>"),
    (Island(Call(seq("<tool_call>\n", NAME_ARGUMENTS, soft("\n</tool_call>")))),),
)
FIELD = seq("<p=", Key(), ">", Value("", "</p>"))
CODER = ChatFormat("coder", islands=(Island(Call(seq("<f=", Name(), ">", Fields(FIELD), "</f>"))),))


ANSWER = Beginning()


@functools.lru_cache(None)
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FakeVocab())


def allows(
    text: str, properties: dict[str, Any], format: ChatFormat = CODER, beginning: Beginning = ANSWER, **more: Any
) -> bool:
    schema = {"type": "object", "properties": properties, **more}
    state = compiler().compile_lark(to_lark(format, {"look": schema}, beginning)).start()
    return state.take(text.encode(), ()) and state.is_complete


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string"}, ["", "a", "12", "a\n<p/ >"], []),
        ({"type": "string", "enum": ["a", "b c"]}, ["a", "b c"], ["", "b", "a "]),
        ({"const": "x"}, ["x"], ["y"]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "äbc"], ["a", "abcd"]),
        ({"type": "string", "pattern": "^[a-z]+$"}, ["abc"], ["", "aBc"]),
        ({"type": "string", "pattern": "[0-9]/"}, ["x1/", "1/x"], ["x1", "/"]),
        ({"type": "string", "pattern": "^[a-z]+$", "maxLength": 2}, ["ab"], ["abc", "a1"]),
        ({"type": "integer", "minimum": 3, "maximum": 12}, ["3", "12"], ["2", "13", "a", "3.5", '"3"']),
        ({"type": ["boolean", "null"]}, ["true", "null"], ["True", "x"]),
        ({"type": "array", "items": {"type": "string"}}, ['["a"]', "[]"], ["[1]", "a"]),
        ({"$ref": "#/$defs/n"}, ["3"], ["x"]),
    ],
)
def test_values_between_tags(schema: dict[str, Any], good: list[str], bad: list[str]) -> None:
    definitions = {"$defs": {"n": {"type": "integer"}}}
    for value in good:
        assert allows(f"<f=look><p=x>{value}</p></f>", {"x": schema}, **definitions), value
    for value in bad:
        assert not allows(f"<f=look><p=x>{value}</p></f>", {"x": schema}, **definitions), value


def test_which_arguments_there_are() -> None:
    properties = {"a": {"type": "string"}, "b": {"type": "integer"}}
    assert allows("<f=look><p=b>1</p></f>", properties, required=["b"])
    assert allows("<f=look><p=a>x</p><p=b>1</p></f>", properties, required=["b"])
    assert not allows("<f=look><p=a>x</p></f>", properties, required=["b"])
    assert not allows("<f=look><p=c>x</p></f>", properties)
    assert allows("<f=look><p=b>1</p><p=c>x</p></f>", properties, additionalProperties=True)
    assert allows("<f=look><p=c>x</p></f>", {})
    assert not allows("<f=look><p=c>x</p></f>", {}, additionalProperties=False)


def test_thoughts_before_calls() -> None:
    text = '<tool_call>{"name": "look", "arguments": {}}</tool_call>'
    thinks = Beginning(may_think=True)
    assert allows(f"<think>hm <b> \n</think>\n\n{text}", {}, HERMES, thinks)
    assert allows(text, {}, HERMES, thinks)
    assert not allows(f"hm</think>{text}", {}, HERMES, thinks)
    assert not allows(f"<think>hm</think>{text}", {}, HERMES)
    opened = Beginning(may_think=True, is_open=True)
    assert allows(f"hm</think>{text}", {}, HERMES, opened)
    assert not allows(text, {}, HERMES, opened)


@pytest.mark.parametrize(
    ("format", "text"),
    [
        (GEMMA_4, '<|tool_call>call:look{x:<|"|>a "b"\n<|"|>,y:{z:[1,<|"|>c<|"|>]}}<tool_call|>'),
        (LFM2, "<|tool_call_start|>[look(x='a\\'b', y={\"z\": [1]})]<|tool_call_end|>"),
    ],
)
def test_notations(format: ChatFormat, text: str) -> None:
    assert allows(text, {"x": {"type": "string"}, "y": {"type": "object"}}, format, Beginning(is_lazy=True))
    with pytest.raises(InvalidRequest, match="'pattern' is not supported"):
        allows(text, {"x": {"type": "string", "pattern": "^a"}, "y": {"type": "object"}}, format)


def test_schemas_without_end_are_refused_in_time() -> None:
    each = {"anyOf": [{"$ref": "#/properties/a"}, {"$ref": "#/properties/b"}] * 50}
    began = time.perf_counter()
    assert allows("<f=look><p=b>1</p></f>", {"a": each, "b": each})
    wide = {f"k{i}": {"$ref": "#"} for i in range(100)}
    with pytest.raises(InvalidRequest, match="more than 50000 rules"):
        allows("", wide, GEMMA_4)
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize(
    ("schema", "kinds"),
    [
        ({}, TYPES),
        (True, TYPES),
        ({"type": "number", "enum": [1, 2.5]}, {"number"}),
        ({"enum": [1, "a", None]}, {"integer", "number", "string", "null"}),
        ({"anyOf": [{"type": "string"}, {"$ref": "#/$defs/n"}]}, {"string", "integer"}),
        ({"allOf": [{"type": ["string", "null"]}, {"type": "string"}]}, {"string"}),
        ({"$ref": "#"}, TYPES),
        ({"properties": {}}, {"object"}),
    ],
)
def test_types_of_a_schema(schema: Any, kinds: set[str]) -> None:
    assert types(schema, {"$defs": {"n": {"type": "integer"}}}) == kinds
