"""Grammars and budgets of thoughts: the same request to llama-server and to ours gives the same tokens."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .servers import Pair
from .test_tokens import assert_same

JSON = r"""
root   ::= object
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" (string ":" value ("," string ":" value)*)? "}"
array  ::= "[" (value ("," value)*)? "]"
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" ["\\bfnrt])* "\""
number ::= "-"? ([0-9] | [1-9] [0-9]*) ("." [0-9]+)?
"""

GRAMMARS: dict[str, tuple[str, str | None]] = {
    "one of two": ('root ::= "yes" | "no"', "yes|no"),
    "words": ('root ::= word (" " word)* "."\nword ::= [a-z]+', None),
    "counted": ("root ::= [a-f]{3,8} [0-9]{2}", "[a-f]{3,8}[0-9]{2}"),
    "lines": ('root ::= ("- " [a-zA-Z ]{1,20} "\\n"){2,4}', r"(- [a-zA-Z ]{1,20}\n){2,4}"),
    "everything": ("root ::= .+", None),
    "nested": ('root ::= "(" root ")" | [a-z]*', None),
    "literal": ('root ::= "Once upon a time, there was" " a" [a-z ]*', "Once upon a time, there was a[a-z ]*"),
    "json": (JSON, None),
    "ambiguous": ('root ::= (a | b)+\na ::= [a-m]+ " "?\nb ::= [g-z]+ " "', None),
    "optional": ('root ::= ("a" "b"? "c"?)* | "x"', "((ab?c?)*|x)"),
}
SAMPLING: list[dict[str, Any]] = [
    {"temperature": 0},
    {"seed": 11},
    {"seed": 5, "top_k": 0},
    {"seed": 3, "temperature": 2.0, "top_k": 0, "min_p": 0.01, "top_p": 1},
    {"seed": 9, "repeat_penalty": 1.3},
]
PROMPT = "Once upon a time"
NO_TIES = [[token, 0.002 * token] for token in (*range(300), *range(1190, 1200))]
"""Biases. The tiny models find all tokens that are no words equally likely, and which of these is taken depends on the
order of sorting."""


@pytest.mark.parametrize("sampling", SAMPLING, ids=str)
@pytest.mark.parametrize("name", GRAMMARS)
def test_grammars(pair: Pair, name: str, sampling: dict[str, Any]) -> None:
    grammar, pattern = GRAMMARS[name]
    ours, reference = pair.both(prompt=PROMPT, grammar=grammar, n_predict=40, logit_bias=NO_TIES, **sampling)
    assert_same(ours, reference)
    if pattern is not None and ours["stop_type"] == "eos":
        assert re.fullmatch(pattern, ours["content"])


def lazy(pair: Pair, triggers: list[dict[str, Any]], **body: Any) -> None:
    """A grammar that all of the text after the trigger would break."""
    request = {"prompt": PROMPT, "grammar": 'root ::= [a-zA-Z<> ]{0,12} "0" [0-9]{6}', "n_predict": 48}
    words = [trigger["value"] for trigger in triggers]
    request |= {"grammar_lazy": True, "grammar_triggers": triggers, "preserved_tokens": words, "logit_bias": NO_TIES}
    request |= body
    assert_same(*pair.both(**request))


def letters(pair: Pair) -> str:
    """Some letters of what the model says anyway, in the middle of it."""
    said = pair.both(prompt=PROMPT, temperature=0, n_predict=24)[0]["content"]
    found = re.search(r"[a-z]{3}(?=[a-z ]{2}.*)", said[len(said) // 3 :])
    return found.group() if found else "no letters were said"


def test_a_word_wakes_a_lazy_grammar(pair: Pair) -> None:
    lazy(pair, [{"type": 1, "value": letters(pair)[:2] + " never"}, {"type": 1, "value": letters(pair)}], temperature=0)


def test_a_pattern_wakes_a_lazy_grammar(pair: Pair) -> None:
    word = letters(pair)
    lazy(pair, [{"type": 2, "value": f"{word[0]}({word[1:]})"}], temperature=0)
    lazy(pair, [{"type": 3, "value": rf"[\s\S]*?({word})[\s\S]*"}], temperature=0)


def test_a_token_wakes_a_lazy_grammar(pair: Pair) -> None:
    tokens = pair.both(prompt=PROMPT, temperature=0, n_predict=9)[0]["tokens"]
    grammar = f"root ::= <[{tokens[8]}]> [0-9]{{6}}"
    for sampling in ({"temperature": 0}, {"seed": 4, "temperature": 0.1}):
        lazy(pair, [{"type": 0, "value": "", "token": tokens[8]}], grammar=grammar, **sampling)


def test_a_lazy_grammar_that_nothing_wakes(pair: Pair) -> None:
    lazy(pair, [{"type": 1, "value": "never said"}], seed=8)


@pytest.mark.parametrize("n_tokens", [0, 1, 7])
@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"seed": 6}], ids=str)
def test_a_budget_of_thoughts(pair: Pair, n_tokens: int, sampling: dict[str, Any]) -> None:
    budget = {
        "reasoning_budget_tokens": n_tokens,
        "reasoning_budget_start_tag": "<|im_start|>",
        "reasoning_budget_end_tags": ["<|im_end|> so", "never"],
        "reasoning_budget_message": "enough",
        "generation_prompt": "<|im_start|>",
    }
    assert_same(*pair.both(prompt=f"{PROMPT} <|im_start|>", n_predict=24, **budget, **sampling))
    assert_same(*pair.both(prompt=PROMPT, n_predict=24, **budget | {"generation_prompt": ""}, **sampling))


def test_a_budget_and_a_lazy_grammar(pair: Pair) -> None:
    """The grammar sleeps during the thought, and its trigger is in what ends it."""
    assert_same(
        *pair.both(
            prompt=f"{PROMPT} <|im_start|>",
            temperature=0,
            n_predict=24,
            reasoning_budget_tokens=5,
            reasoning_budget_start_tag="<|im_start|>",
            reasoning_budget_end_tags=["and so"],
            reasoning_budget_message="",
            generation_prompt="<|im_start|>",
            logit_bias=NO_TIES,
            grammar='root ::= "so" [0-9]{6}',
            grammar_lazy=True,
            grammar_triggers=[{"type": 1, "value": "so"}],
            preserved_tokens=["so"],
        )
    )
