"""Unique: values that differ, and all arrays of them. Pure."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .keywords import KNOWN

MAX_TOTAL = 10_000
"""Schemas of arrays, in one schema."""
MAX_SCHEMAS = 2000
"""For the arrays of 5 values, in any order and of any length, it takes 1631, for those of 6 more than 11,000."""


def listed(schema: Any) -> list[Any] | None:
    """The values that a schema allows, if it lists them and says no more."""
    if not isinstance(schema, Mapping) or schema.keys() & KNOWN.keys() - {"type", "enum", "const"}:
        return None
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "const" in schema or "enum" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        return [value for value in values if not kinds or any(_is_of(value, kind) for kind in kinds)]
    return [True, False] if kinds == ["boolean"] else None


def _is_of(value: Any, kind: str) -> bool:
    match value:
        case bool() | None:
            return kind == ("null" if value is None else "boolean")
        case int() | float():
            return kind == "number" or (kind == "integer" and value == int(value))
        case str():
            return kind == "string"
    return kind == ("array" if isinstance(value, list) else "object")


def arrays(values: Sequence[Any], least: int, most: int | None, n_left: int) -> list[dict[str, Any]] | None:
    """A schema of each array of `values` without one twice, which take at most `n_left`; None if there are too many."""
    lengths = range(least, min(len(values), len(values) if most is None else most) + 1)
    n_schemas = 0
    for length in lengths:
        n_schemas += math.perm(len(values), length) * (length + 1)
        if n_schemas > min(MAX_SCHEMAS, n_left):
            return None
    return [_array(row) for length in lengths for row in itertools.permutations(values, length)]


def size(arrays: Iterable[Mapping[str, Any]]) -> int:
    """How many schemas they take."""
    return sum(1 + len(array["prefixItems"]) for array in arrays)


def _array(row: Iterable[Any]) -> dict[str, Any]:
    first = [{"const": value} for value in row]
    return {"type": "array", "prefixItems": first, "items": False, "minItems": len(first), "maxItems": len(first)}


def distinct(values: Sequence[Any]) -> list[Any]:
    """Each value once."""
    return list({json.dumps(plain(value), sort_keys=True): value for value in values}.values())


def are_distinct(sets: list[frozenset[str]]) -> bool:
    return all(sets) and sum(map(len, sets)) == len(frozenset().union(*sets))


def plain(value: Any) -> Any:
    """A JSON value in which equal numbers are of one type."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [plain(each) for each in value]
        case dict():
            return {key: plain(each) for key, each in value.items()}
    return value
