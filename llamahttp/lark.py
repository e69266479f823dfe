"""Lark: the notation of llguidance, checked before it is compiled. Pure.

llguidance reads brackets in brackets and rules that lead to rules by recursion, whose end is that of the process.
"""

from __future__ import annotations

import json
import re

from .gbnf import MAX_CHARACTERS, MAX_DEPTH, MAX_REFERENCES, GrammarError, reference_depth

HEADER = "%llguidance"
"""What such a grammar begins with, where others are taken too."""
LITERAL = re.compile(r'"(\\.|[^"\\\n])*"|/(\\.|[^/\\\n])+/|//[^\n]*|#[^\n]*')
RULE = re.compile(r"^\s*[?!]?([A-Za-z_]\w*)[^:\n]*:", re.MULTILINE)
NAME = re.compile(r"[A-Za-z_]\w*")
TEMPERATURE = re.compile(r"\[[^\]]*\btemperature\s*=")
BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


def checked(text: str) -> str:
    """A grammar that begins with `HEADER` as it is to be compiled. Raises GrammarError."""
    if len(text) > MAX_CHARACTERS:
        raise _error(f"it has {len(text)} characters, more than the limit of {MAX_CHARACTERS}")
    options, rules = _header(text)
    bare = LITERAL.sub('""', rules)
    if TEMPERATURE.search(bare):
        raise _error("a temperature cannot be set in a grammar")
    if _depth(bare) > MAX_DEPTH:
        raise _error(f"brackets are nested more than {MAX_DEPTH} deep")
    if _n_references(bare) > MAX_REFERENCES:
        raise _error(f"more than {MAX_REFERENCES} rules lead from one to the next, the limit")
    # a text that must come may come in any tokens, not only in those that it would be tokenised to
    return f"{HEADER} {json.dumps({**options, 'no_forcing': True})}{rules}"


def _header(text: str) -> tuple[dict[str, object], str]:
    """The options at the beginning, and all behind them."""
    rest = text.removeprefix(HEADER).lstrip(" \t")
    try:
        options, end = json.JSONDecoder().raw_decode(rest)
    except (ValueError, RecursionError):
        raise _error(f"behind {HEADER} there have to be options as a JSON object, such as {{}}") from None
    if not isinstance(options, dict):
        raise _error(f"the options behind {HEADER} have to be a JSON object")
    return options, rest[end:]


def _depth(bare: str) -> int:
    depth = deepest = 0
    for char in bare:
        depth = max(0, depth + BRACKETS.get(char, 0))
        deepest = max(deepest, depth)
    return deepest


def _n_references(bare: str) -> int:
    heads = list(RULE.finditer(bare))
    numbers = {head[1]: i for i, head in enumerate(heads)}
    ends = [head.start() for head in heads[1:]] + [len(bare)]
    references = {
        i: [numbers[name] for name in NAME.findall(bare[head.end() : end]) if name in numbers]
        for i, (head, end) in enumerate(zip(heads, ends, strict=True))
    }
    return reference_depth(numbers["start"], references) if "start" in numbers else 0


def _error(reason: str) -> GrammarError:
    return GrammarError(f"failed to parse grammar: {reason}")
