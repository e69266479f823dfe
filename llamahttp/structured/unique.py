"""Unique: values that differ, and all arrays of them. Pure."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_ARRAYS = 400
"""Of 5 values there are 326, in any order and of any length; of 6 there are 1957."""


def listed(items: Any) -> list[Any] | None:
    """The values that items can have, if their schema lists them."""
    if not isinstance(items, Mapping):
        return None
    if "const" in items:
        return [items["const"]]
    if isinstance(items.get("enum"), list):
        return list(items["enum"])
    return [True, False] if items.get("type") == "boolean" else None


def arrays(values: Sequence[Any], least: int, most: int | None) -> list[dict[str, Any]] | None:
    """A schema of each array of `values` without one twice; None if there are too many."""
    lengths = range(least, min(len(values), len(values) if most is None else most) + 1)
    n_arrays = 0
    for length in lengths:
        n_arrays += math.perm(len(values), length)
        if n_arrays > MAX_ARRAYS:
            return None
    return [_array(row) for length in lengths for row in itertools.permutations(values, length)]


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
