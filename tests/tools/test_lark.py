"""Grammars of calls: what they allow of arguments, beside what templates show."""

from __future__ import annotations

import functools
import json
import time
from typing import Any

import pytest

from llamahttp.errors import InvalidRequest
from llamahttp.grammar import GrammarCompiler
from llamahttp.tools.events import Message
from llamahttp.tools.format import ChatFormat, Island, Thought
from llamahttp.tools.formats import GEMMA_4, LFM2, MINIMAX_M3, NAME_ARGUMENTS
from llamahttp.tools.lark import Beginning, to_lark
from llamahttp.tools.parser import Parser
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


def test_what_a_notation_cannot_see_to_is_refused_of_strict_tools_only() -> None:
    tools = {"look": {"type": "object", "properties": {"x": {"type": "string", "pattern": "^a"}}}}
    for is_strict in (False, True):
        strict = frozenset(tools) if is_strict else frozenset()
        to_lark(GEMMA_4, tools, ANSWER, strict=strict)  # which sees to it
        if not is_strict:
            to_lark(LFM2, tools, ANSWER, strict=strict)
            continue
        with pytest.raises(InvalidRequest, match="'pattern' is not supported in the notation"):
            to_lark(LFM2, tools, ANSWER, strict=strict)


def test_schemas_without_end_are_written_in_time() -> None:
    each = {"anyOf": [{"$ref": "#/properties/a"}, {"$ref": "#/properties/b"}] * 50}
    itself = {"anyOf": [{"$ref": "#/properties/c"}]}
    began = time.thread_time()
    assert allows("<f=look><p=b>1</p></f>", {"a": each, "b": each, "c": itself})
    wide = {f"k{i}": {"$ref": "#"} for i in range(100)}
    assert allows("<|tool_call>call:look{k1:{k2:{k3:{}}}}<tool_call|>", wide, GEMMA_4, Beginning(is_lazy=True))
    many = {f"k{i}": {"type": "object", "properties": {f"p{j}": {} for j in range(200)}} for i in range(200)}
    with pytest.raises(InvalidRequest, match="more than 50000 rules"):
        allows("", many, GEMMA_4)
    assert time.thread_time() - began < 10


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}, ["a", "null"], ["c", "nil", ""]),
        ({"anyOf": [{"$ref": "#/$defs/n"}, {"const": "x"}]}, ["3", "x"], ["y", "3.5"]),
        ({"oneOf": [{"type": "string", "maxLength": 2}, {"type": "boolean"}]}, ["ab", "true"], ["abc", "truth"]),
        ({"type": ["string", "integer"], "maxLength": 2, "maximum": 500}, ["ab", "499"], ["abc", "501"]),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "title": "T"}, ["null", "any"], []),
        ({"anyOf": [{"anyOf": [{"const": 1}, {"const": "a"}]}, {"const": None}]}, ["1", "a", "null"], ["2", "b"]),
        ({"type": "string", "pattern": r"^\d+$"}, ["12"], ["\u0661", "x"]),
        ({"type": "string", "pattern": "^$"}, [""], ["x"]),
        ({"type": "string", "format": "date"}, ["2026-02-28"], ["2026-13-01", "2026-02-30", "today"]),
        ({"type": "string", "format": "uuid"}, ["f81d4fae-7dec-11d0-a765-00a0c91e6bf6"], ["f81d4fae"]),
        ({"type": "string", "format": "date-time"}, ["2026-02-28T12:00:00Z"], ["2026-02-28", "2026-02-28T12:00:60Z"]),
        ({"type": "string", "format": "made-up"}, ["any"], []),
    ],
)
def test_choices_and_formats_between_tags(schema: dict[str, Any], good: list[str], bad: list[str]) -> None:
    """What Pydantic makes of `Literal["a", "b"] | None`, and its like."""
    definitions = {"$defs": {"n": {"type": "integer"}}}
    for value in good:
        assert allows(f"<f=look><p=x>{value}</p></f>", {"x": schema}, **definitions), value
    for value in bad:
        assert not allows(f"<f=look><p=x>{value}</p></f>", {"x": schema}, **definitions), value


SET = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}


@pytest.mark.parametrize("format", [CODER, HERMES, GEMMA_4, MINIMAX_M3])
@pytest.mark.parametrize("keyword", [{"uniqueItems": True}, {"not": {}}])
def test_a_strict_tool_is_refused_where_a_keyword_cannot_be_enforced(format: ChatFormat, keyword: Any) -> None:
    tools = {"look": {"type": "object", "properties": {"x": {"type": "array", "items": {"type": "string"}} | keyword}}}
    with pytest.raises(InvalidRequest, match=next(iter(keyword))):
        to_lark(format, tools, ANSWER, strict=frozenset(tools))


def test_the_rest_of_a_set_is_enforced_of_a_tool_that_is_not_strict() -> None:
    assert allows('<f=look><p=x>["a","a"]</p></f>', {"x": SET})
    assert not allows("<f=look><p=x>[1]</p></f>", {"x": SET})


@pytest.mark.parametrize("schema", [{"type": "string", "format": "password"}, {"type": "string", "format": "int32"}])
def test_a_format_that_says_nothing_leaves_a_text_free(schema: Any) -> None:
    assert allows("<f=look><p=x>any\ntext</p></f>", {"x": schema})


def test_del_is_kept_in_the_values_of_arguments() -> None:
    for schema in ({"const": "a\x7fb"}, {"type": "string", "pattern": "^a\x7fb$"}, {"enum": ["a\x7fb", "c"]}):
        assert allows("<f=look><p=x>a\x7fb</p></f>", {"x": schema})
        assert not allows("<f=look><p=x>ab</p></f>", {"x": schema})


MARK = "]<]minimax[>["
DEEP = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "maximum": 3},
        "list": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 2},
        "next": {"$ref": "#/properties/x"},
    },
    "required": ["n"],
}


@pytest.mark.parametrize(
    ("value", "is_good"),
    [
        ("<n>3</n>", True),
        ("<n>4</n>", False),
        ("<list><item>a</item></list>", False),
        ("<n>3</n><list><item>a</item><item>b</item></list>", True),
        ("<n>3</n><list></list>", False),
        ("<n>3</n><list><item>c</item></list>", False),
        ("<n>3</n><list><item>a</item><item>a</item><item>a</item></list>", False),
        ("<n>3</n><next><n>2</n><next><n>1</n></next></next>", True),
        ("<n>3</n><next><n>2</n><next><n>9</n></next></next>", False),
        ("<n>3</n><more>1</more>", False),
        ("free", False),
    ],
)
def test_tags_within_tags_follow_the_schema(value: str, is_good: bool) -> None:
    text = f'<tool_call><invoke name="look"><x>{value}</x></invoke></tool_call>'.replace("<", f"{MARK}<")
    assert allows(text, {"x": DEEP}, MINIMAX_M3) == is_good


def test_arguments_of_any_name_are_tagged_with_their_names() -> None:
    text = '<tool_call><invoke name="look"><a>1</a><b>two</b></invoke></tool_call>'.replace("<", f"{MARK}<")
    assert allows(text, {}, MINIMAX_M3)
    parser = Parser(MINIMAX_M3, {"look": {"type": "object"}})
    [made] = Message.of([*parser.feed(text), *parser.finish()]).calls
    assert json.loads(made.arguments) == {"a": 1, "b": "two"}


@pytest.mark.parametrize(
    ("value", "is_good"),
    [
        ("{n:3}", True),
        ("{n:4}", False),
        ('{n:3,list:[<|"|>a<|"|>,<|"|>b<|"|>]}', True),
        ("{n:3,list:[]}", False),
        ('{n:3,list:[<|"|>c<|"|>]}', False),
        ("{n:3,next:{n:2,next:{n:1,next:{n:1,next:{n:1}}}}}", True),
        ("{n:3,next:{n:2,next:{n:1,next:{n:1,next:{n:9}}}}}", False),
    ],
)
def test_gemmas_notation_follows_the_schema_however_deep(value: str, is_good: bool) -> None:
    text = f"<|tool_call>call:look{{x:{value}}}<tool_call|>"
    assert allows(text, {"x": DEEP}, GEMMA_4, Beginning(is_lazy=True)) == is_good


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
