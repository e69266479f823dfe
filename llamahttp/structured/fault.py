"""Fault: why the compiler refuses a schema, and where."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import llguidance

from .schema import Schema, SchemaError, places

MAX_SECONDS = 0.5
"""For the search of the place."""
MAX_TRIED = 500
LIMITS = llguidance.LLParserLimits(verbose_errors=False, max_grammar_size=100_000)
REASONS = {
    "oneOf constraints": "of 'oneOf' only one may hold at a time, which cannot be enforced for these; 'anyOf' can",
    "are not disjoint": "two of 'patternProperties' may match the same name, which cannot be enforced",
    "lookarounds": "'^' or '$' in the middle of a pattern cannot be enforced",
    "regex parse error": "a pattern cannot be read",
    "schema too large": "its alternatives multiply beyond the limit",
    "Unable to determine": "its patterns together are too complex",
    "schema is false": "nothing matches it",
    "anyOf is empty": "nothing matches it",
    "Regex is empty": "nothing matches its pattern, format and length together",
}


def find_fault(schema: Schema) -> SchemaError | None:
    """What is wrong with a schema that `enforceable` has nothing against; None if that compiles. Takes up to
    `MAX_SECONDS` and what compiling it takes."""
    (_, root), *parts = places(schema)
    error = _compile(root)
    if error is None:
        return None
    at, end = "", time.monotonic() + MAX_SECONDS
    for pointer, part in sorted(parts, key=lambda place: -place[0].count("/"))[:MAX_TRIED]:
        found = _compile({"$defs": root.get("$defs", {}), **part})
        if found is not None:
            at, error = pointer, found
            break
        if time.monotonic() > end:
            break
    return SchemaError(at, _said(error))


def _compile(schema: Mapping[str, Any]) -> str | None:
    text = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
    return llguidance.LLMatcher.validate_grammar(text, None, limits=LIMITS) or None


def _said(error: str) -> str:
    for mark, reason in REASONS.items():
        if mark in error:
            return reason
    line = error.partition("\n")[0].rpartition("Unsatisfiable schema: ")
    return f"nothing matches it: {line[2]}" if line[1] else line[2]
