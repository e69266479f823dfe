"""Finite: whether a value obeys a schema, as far as what is required shows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def is_finite(root: Any, defs: Mapping[str, Any]) -> bool:
    """A value can obey `root` that does not have to hold another one for ever, or one that nothing matches."""
    known: set[str] = set()
    left = list(defs)[::-1]
    while left:
        found = {name for name in left if _is_finite(defs[name], known)}
        known |= found
        left = [name for name in left if name not in found]
        if not found:
            break
    return _is_finite(root, known)


def find_false(schema: Mapping[str, Any]) -> str | None:
    """The keyword by which a schema demands a value of the schema `false`, which nothing matches."""
    for name in ("allOf", "anyOf", "oneOf"):
        parts = schema.get(name, ())
        if parts and (any if name == "allOf" else all)(part is False for part in parts):
            return name
    for kind, name in (("object", "required"), ("array", "minItems")):
        if schema.get("type") in (kind, [kind]) and any(part is False for part in _needed(schema, kind)):
            return name
    return None


def _is_finite(schema: Any, known: set[str]) -> bool:
    if not isinstance(schema, dict):
        return schema is not False
    if "$ref" in schema and schema["$ref"].removeprefix("#/$defs/") not in known:
        return False
    if not all(_is_finite(each, known) for each in schema.get("allOf", ())):
        return False
    if not all(any(_is_finite(each, known) for each in schema[name]) for name in ("anyOf", "oneOf") if name in schema):
        return False
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if len(kinds) != 1:
        return True
    return all(_is_finite(each, known) for each in _needed(schema, kinds[0]))


def _needed(schema: Mapping[str, Any], kind: str) -> Iterator[Any]:
    """The schemas of parts that every value has."""
    if kind == "object":
        known = schema.get("properties", {})
        more = schema.get("additionalProperties", True)
        yield from (known.get(name, more) for name in schema.get("required", ()))
    elif kind == "array":
        least, first = schema.get("minItems", 0), schema.get("prefixItems", [])
        yield from first[:least]
        if least > len(first):
            yield schema.get("items", True)
