"""Schemas that are enforced: every answer is valid, and what cannot be enforced is refused by its name and place."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import jsonschema
import numpy as np
import pytest

from llamahttp.gbnf import GrammarError
from llamahttp.grammar import Grammar, GrammarCompiler
from llamahttp.structured.answer import HEAD, JsonAnswer
from llamahttp.structured.fault import find_fault
from llamahttp.structured.place import SchemaError
from tests.fakes import EOS, FakeVocab

from .schemas import BOMBS, REFUSED, SCHEMAS

N_SEEDS = 30
MAX_BYTES = 600


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FakeVocab())


def compiled(compiler: GrammarCompiler, schema: Any) -> Grammar:
    """Raises InvalidRequest."""
    try:
        return compiler.compile_lark(f"{HEAD}\nstart: answer\nanswer: {JsonAnswer(schema).rule()}")
    except GrammarError as error:
        raise find_fault(schema) or error from None


def validator(schema: Any) -> Any:
    kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    return kind(schema, format_checker=kind.FORMAT_CHECKER)


def walk(grammar: Grammar, seed: int) -> bytes | None:
    """An answer of bytes that are chosen at random among those that are allowed; None if it did not end in time."""
    chance = random.Random(seed)
    state = grammar.start()
    text = bytearray()
    while len(text) < MAX_BYTES:
        allowed = np.flatnonzero(state.mask())
        assert len(allowed), f"nothing may follow {bytes(text)!r}"
        weights = [weight(token) for token in allowed.tolist()]
        token = int(chance.choices(allowed.tolist(), weights)[0])
        assert state.allows(token)
        if token == EOS:
            return bytes(text)
        state.accept(token)
        text.append(token)
    return None


def weight(token: int) -> float:
    """Answers are to end, but not at once, and to hold some of everything."""
    if token == EOS:
        return 8
    char = chr(token)
    return 8 if char in '"}]' else 0.03 if char.isspace() else 0.05 if token > 127 else 1


def accepts(grammar: Grammar, text: str) -> bool:
    state = grammar.start()
    return state.take(text.encode(), ()) and state.is_complete


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_answer_is_valid(compiler: GrammarCompiler, name: str) -> None:
    schema = SCHEMAS[name]
    grammar, judge = compiled(compiler, schema), validator(schema)
    texts = [text for seed in range(N_SEEDS) if (text := walk(grammar, seed)) is not None]
    assert len(texts) > N_SEEDS // 3, "they end"
    for text in texts:
        errors = [error.message for error in judge.iter_errors(json.loads(text))]
        assert not errors, text


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_enforced_is_refused_by_its_place(compiler: GrammarCompiler, name: str) -> None:
    schema, message = REFUSED[name]
    with pytest.raises(SchemaError) as caught:
        compiled(compiler, schema)
    assert str(caught.value).startswith(f"JSON schema: {message}")


@pytest.mark.parametrize("name", BOMBS)
def test_no_schema_takes_long(name: str) -> None:
    compiler = GrammarCompiler(FakeVocab())
    compiler.prepare()
    start = time.process_time()
    try:
        state = compiled(compiler, BOMBS[name]).start()
    except SchemaError as error:
        assert any(reason in str(error) for reason in ("limit", "too complex", "matches it", "of few values"))
    else:
        state.mask()
    assert time.process_time() - start < 1


def test_the_limits_are_told(compiler: GrammarCompiler) -> None:
    for name, limit in (
        ("deep", 96),
        ("properties", 1000),
        ("properties that may be", 400),
        ("schemas", 10_000),
        ("references", 500),
    ):
        with pytest.raises(SchemaError, match=rf"\b{limit}\b.*limit|limit of {limit}"):
            compiled(compiler, BOMBS[name])


def test_a_key_is_written_in_one_way(compiler: GrammarCompiler) -> None:
    grammar = compiled(compiler, {"properties": {"a": {"type": "integer"}}, "additionalProperties": True})
    assert accepts(grammar, '{"a":1,"b":"x"}')
    assert not accepts(grammar, '{"a":"x"}')
    assert not accepts(grammar, '{"\\u0061":"x"}'), "which JSON readers take for the same key"


def test_objects_have_the_properties_that_they_name(compiler: GrammarCompiler) -> None:
    named = {"properties": {"a": {"type": "integer"}, "b": {"type": "null"}}}
    grammar = compiled(compiler, named)
    assert [accepts(grammar, text) for text in ("{}", '{"b":null}', '{"a":1,"b":null}', '{"c":1}')] == [True] * 3 + [
        False
    ]
    assert not accepts(grammar, '{"b":null,"a":1}'), "in the order in which they are listed"
    assert not accepts(grammar, "1"), "which JSON Schema allows where there is no type"
    assert accepts(compiled(compiler, named | {"additionalProperties": True}), '{"a":1,"c":1}')


SET: dict[str, Any] = {"properties": {"tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}}


def test_a_set_is_refused_unless_it_may_be_left_to_the_model(compiler: GrammarCompiler) -> None:
    answer = JsonAnswer(SET, is_strict=False)
    grammar = compiler.compile_lark(f"{HEAD}\nstart: answer\nanswer: {answer.rule()}")
    assert accepts(grammar, '{"tags":["a","a"]}')
    assert not accepts(grammar, '{"tags":["a",1]}')
    with pytest.raises(SchemaError, match="at '/properties/tags/uniqueItems': can be enforced only where 'items' has"):
        JsonAnswer(SET).rule()


def test_a_set_of_few_values_holds_each_in_any_order(compiler: GrammarCompiler) -> None:
    answer = JsonAnswer({"items": {"enum": ["a", "b", "c", "d", "e"]}, "uniqueItems": True})
    grammar = compiler.compile_lark(f"{HEAD}\nstart: answer\nanswer: {answer.rule()}")
    for text in ("[]", '["c"]', '["e","a","c","d","b"]', '["b", "a"]'):
        assert accepts(grammar, text)
    for text in ('["a","a"]', '["a","b","a"]', '["f"]'):
        assert not accepts(grammar, text)


@pytest.mark.parametrize("kind", ["integer", "number"])
def test_a_limit_beyond_53_bits_is_never_passed(compiler: GrammarCompiler, kind: str) -> None:
    for limit in (2**53, 2**53 + 1, 2**53 + 2, 2**62, 2**62 + 3, 10**18 - 3, 10**18 + 7, 2**63 - 1, 2**64 - 1):
        upper = compiled(compiler, {"type": kind, "maximum": limit, "minimum": 0})
        lower = compiled(compiler, {"type": kind, "minimum": -limit, "maximum": 0})
        for over in (1, 2, 3, 5, 100, 1024, 10_000):
            assert not accepts(upper, str(limit + over))
            assert not accepts(lower, str(-limit - over))
        below = compiled(compiler, {"type": kind, "exclusiveMaximum": limit, "minimum": 0})
        above = compiled(compiler, {"type": kind, "exclusiveMinimum": -limit, "maximum": 0})
        assert not accepts(below, str(limit))
        assert not accepts(above, str(-limit))
        assert accepts(upper, str(min(limit, 2**63) - 10_000)), "nor far from reached"
        assert accepts(lower, str(10_000 - min(limit, 2**63)))


def test_an_unknown_format_says_nothing(compiler: GrammarCompiler) -> None:
    assert accepts(compiled(compiler, {"format": "iri"}), "3")
    assert accepts(compiled(compiler, {"type": "string", "format": "regex"}), '"("')


def test_white_space_is_bounded(compiler: GrammarCompiler) -> None:
    grammar = compiled(compiler, {"type": "array", "items": {"type": "integer"}})
    assert accepts(grammar, f"[ 1, 2,\n\n{' ' * 20}3 ]")
    assert not any(accepts(grammar, text) for text in ("[  1]", f"[\n{' ' * 21}1]", "[\n\n\n1]", " [1]", "[1]\n"))


def test_equal_values_are_not_distinct_alternatives(compiler: GrammarCompiler) -> None:
    with pytest.raises(SchemaError, match="only one may hold"):
        compiled(compiler, {"oneOf": [{"const": 1}, {"enum": [1.0, 2]}]})
    grammar = compiled(compiler, {"oneOf": [{"const": 1}, {"const": True}]})
    assert accepts(grammar, "1")
    assert accepts(grammar, "true")
