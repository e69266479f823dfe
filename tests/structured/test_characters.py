"""Every character of Unicode comes out of an answer as its schema has it, or the schema is refused by its name."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llamahttp.errors import InvalidRequest
from llamahttp.grammar import Grammar, GrammarCompiler
from llamahttp.structured.answer import HEAD, JsonAnswer
from tests.fakes import EOS, FakeVocab

ODD = [*map(chr, range(0xA1)), *"\u2028\u2029\ufeff\ue000\ufdd0\ufffd\ufffe\uffff\U00010000\U0001f600\U0010ffff"]
LONE = ["\ud800", "\udbff", "\udc00", "\udfff"]
WRITTEN = {char for char in ODD if char >= " " and char != "\x7f"} | set("\b\t\n\f\r")
"""Those that strings of answers can hold."""
texts = st.text(st.sampled_from(ODD) | st.characters(exclude_categories=["Cs"]), max_size=6)

COMPILER = GrammarCompiler(FakeVocab())


def compiled(schema: Any) -> Grammar:
    """Raises InvalidRequest."""
    return COMPILER.compile_lark(f"{HEAD}\nstart: answer\nanswer: {JsonAnswer(schema).rule()}")


def only_answer(schema: Any) -> Any:
    """The value of the answer that is all that a schema allows. Raises InvalidRequest."""
    state, text = compiled(schema).start(), bytearray()
    while not state.is_complete:
        (token, *_others) = state.mask().nonzero()[0].tolist()
        assert token != EOS
        state.accept(token)
        text.append(token)
    return json.loads(text)


def escaped(text: str) -> str:
    """A pattern that `text` alone matches."""
    return "^" + "".join(f"\\u{{{ord(char):x}}}" for char in text) + "$"


@given(texts)
@example("a\x7fb")
@example("\x7f")
@example("\\\x7f")
@example("\\u007f")
@example("\\u0001")
@settings(deadline=None)
def test_a_value_comes_as_it_is_given_or_is_refused(text: str) -> None:
    for schema in ({"const": text}, {"enum": [text]}, {"type": "string", "pattern": escaped(text)}):
        if all(char in WRITTEN for char in text if char in ODD):
            assert only_answer(schema) == text
        else:
            with pytest.raises(InvalidRequest, match="cannot be enforced"):
                compiled(schema)


@given(texts)
@example("\x7f")
@settings(deadline=None)
def test_a_name_comes_as_it_is_given(text: str) -> None:
    assert only_answer({"properties": {text: {"const": 1}}, "required": [text]}) == {text: 1}


@pytest.mark.parametrize("char", [char for char in ODD if char not in WRITTEN])
def test_a_character_that_cannot_be_written_is_named(char: str) -> None:
    for schema in ({"const": f"a{char}b"}, {"enum": ["x", char]}, {"const": [{"a": char}]}):
        with pytest.raises(InvalidRequest, match=rf"the character U\+{ord(char):04X} in a value cannot be enforced"):
            compiled(schema)
    name = re.escape(repr(char))
    for pattern in (f"^a{char}b$", escaped(char), f"(a|{char})", f"{char}{{3}}"):
        wrong: dict[str, Any]
        for wrong in ({"type": "string", "pattern": pattern}, {"patternProperties": {pattern: {}}}):
            with pytest.raises(InvalidRequest, match=f"the control character {name} cannot be enforced"):
                compiled(wrong)
    for pattern in (f"^a[{char}]b$", f"^[{char}\\x01\\x0e-\\x1f]$", f"^[{char}-{char}]b$"):
        with pytest.raises(InvalidRequest, match="control characters cannot be enforced"):
            compiled({"type": "string", "pattern": pattern})


@pytest.mark.parametrize("char", LONE)
def test_half_a_character_is_refused(char: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"the character U\+{ord(char):04X} in a value cannot be enforced"):
        compiled({"const": f"a{char}"})
    with pytest.raises(InvalidRequest, match="is half a character"):
        compiled({"pattern": escaped(char)})


@pytest.mark.parametrize(
    ("pattern", "answers"),
    [
        ("^a[\\x7fb]c$", ["abc"]),
        ("^a[^b]c$", ["aac", "a\nc"]),
        ("^a[^\\x00-\\x7e\\x80-\\u{10ffff}]c$", []),
        ("^[\\x00-\\x1f]$", ["\t", "\n"]),
        ("^[~-\\x80]$", ["~", "\x80"]),
        ("^a.c$", ["abc"]),
        ("^a\\Wc$", ["a c"]),
    ],
)
def test_a_class_never_comes_to_nothing(pattern: str, answers: list[str]) -> None:
    try:
        grammar = compiled({"type": "string", "pattern": pattern})
    except InvalidRequest:
        assert not answers
        return
    for text in ("", "ac", *answers):
        state = grammar.start()
        assert (state.take(json.dumps(text, ensure_ascii=False).encode(), ()) and state.is_complete) == (
            text in answers
        ), text
