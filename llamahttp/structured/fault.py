"""Fault: why the compiler refuses a schema, and where."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

import llguidance

from .pattern import to_rust
from .place import SchemaError, child, find
from .schema import Schema, places

MAX_SECONDS = 0.5
"""For the search of the place."""
MAX_TRIED = 500
LIMITS = llguidance.LLParserLimits(verbose_errors=False, max_grammar_size=100_000)
REASONS = {
    "oneOf constraints": "of 'oneOf' only one may hold at a time, which cannot be enforced for these; 'anyOf' can",
    "are not disjoint": "two of 'patternProperties' may match the same name, which cannot be enforced",
    "lookarounds": "'^' or '$' in the middle of a pattern cannot be enforced",
    "regex parse error": "a pattern cannot be read",
    "Failed to generate regex": "nothing matches its limits together",
    "schema too large": "its alternatives multiply beyond the limit",
    "Unable to determine": "its patterns together are too complex",
    "schema is false": "nothing matches it",
    "anyOf is empty": "nothing matches it",
    "Regex is empty": "nothing matches its pattern, format and length together",
}
UNREADABLE = re.compile(r"^error: ([^\n]+)", re.MULTILINE)
COUNTED = "min/maxProperties only supported"


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
    return _unreadable(schema, at) or _uncounted(schema, at, error) or SchemaError(at, _said(error))


def _unreadable(schema: Schema, at: str) -> SchemaError | None:
    """The pattern at a place that is no regular expression, if there is one."""
    part = find(schema, at)
    part = part if isinstance(part, dict) else {}
    patterns = {child(at, "pattern"): part["pattern"]} if "pattern" in part else {}
    patterns |= {child(child(at, "patternProperties"), name): name for name in part.get("patternProperties", {})}
    for pointer, pattern in patterns.items():
        reason = UNREADABLE.search(_compile({"type": "string", "pattern": to_rust(pattern, in_json=True)}) or "")
        if reason:
            return SchemaError(pointer, f"the pattern {pattern[:64]!r} cannot be read: {reason[1]}")
    return None


def _uncounted(schema: Schema, at: str, error: str) -> SchemaError | None:
    """The count of properties that cannot be enforced, if that is the error."""
    part = find(schema, at)
    if COUNTED not in error or not isinstance(part, dict):
        return None
    name = "minProperties" if "minProperties" in part else "maxProperties"
    return SchemaError(child(at, name), "cannot be enforced where a property is named that is not 'required'")


def _compile(schema: Mapping[str, Any]) -> str | None:
    text = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
    return llguidance.LLMatcher.validate_grammar(text, None, limits=LIMITS) or None


def _said(error: str) -> str:
    for mark, reason in REASONS.items():
        if mark in error:
            return reason
    line = error.partition("\n")[0].rpartition("Unsatisfiable schema: ")
    return f"nothing matches it: {line[2]}" if line[1] else line[2]
