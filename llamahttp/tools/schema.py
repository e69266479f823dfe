"""Schema: what the parameters of a tool say that a grammar and a parser need to know. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..structured.keywords import ANNOTATIONS

Schema = Any
"""A JSON Schema: an object, or a boolean."""

TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
MAX_REFS = 50
MAX_PARTS = 200
"""Schemas within one that are looked at for its types: those that refer to each other have no end."""
_ROOTS = ("$defs", "definitions")


def resolve(schema: Schema, root: Schema) -> Schema:
    """`schema`, or what it refers to within `root`."""
    for _ in range(MAX_REFS):
        ref = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(ref, str) or not ref.startswith("#"):
            return schema
        target = root
        for part in ref[1:].split("/")[1:]:
            target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
        if target is None:
            return schema
        schema = target
    return schema


def types(schema: Schema, root: Schema) -> frozenset[str]:
    """The types that a value may have; all where nothing is said, or too much to follow."""
    try:
        found = _types(schema, root, [MAX_PARTS])
    except RecursionError:
        return TYPES
    return found or TYPES


def _types(schema: Schema, root: Schema, n_left: list[int]) -> frozenset[str]:
    schema = resolve(schema, root)
    n_left[0] -= 1
    if not isinstance(schema, Mapping) or n_left[0] < 0:
        return TYPES
    found = TYPES
    kind = schema.get("type")
    if isinstance(kind, str):
        found &= {kind}
    elif isinstance(kind, list):
        found &= {each for each in kind if isinstance(each, str)}
    elif "properties" in schema:
        found &= {"object"}
    elif "items" in schema:
        found &= {"array"}
    if "const" in schema:
        found &= _types_of(schema["const"])
    if isinstance(schema.get("enum"), list):
        found &= frozenset().union(*map(_types_of, schema["enum"]))
    for name in ("anyOf", "oneOf"):
        if isinstance(schema.get(name), list):
            found &= frozenset().union(*(_types(each, root, n_left) for each in schema[name]))
    if isinstance(schema.get("allOf"), list):
        for each in schema["allOf"]:
            found &= _types(each, root, n_left)
    return found


def _types_of(value: object) -> frozenset[str]:
    """What JSON Schema calls a value: an integer is a number too."""
    kind = type_of(value)
    return frozenset({"integer", "number"}) if kind == "integer" else frozenset({kind})


def alternatives(schema: Schema, root: Schema) -> list[Schema]:
    """Schemas that together allow what this one does, resolved; of one type each, unless there are too many."""
    left: list[Schema] = [schema]
    found: list[Schema] = []
    for _ in range(MAX_PARTS):
        if not left:
            return found
        each = resolve(left.pop(0), root)
        options = _options(each, root)
        if options is None:
            found.append(each)
        elif len(options) + len(left) <= MAX_PARTS:
            left = options + left
        else:
            break
    return [resolve(schema, root)]


def _options(schema: Schema, root: Schema) -> list[Schema] | None:
    """What a schema is a choice of; None if it is none, or its parts cannot be taken apart."""
    if not isinstance(schema, Mapping) or "enum" in schema or "const" in schema:
        return None
    for name in ("anyOf", "oneOf"):
        if isinstance(schema.get(name), list):
            rest = {key: value for key, value in schema.items() if key != name and key not in ANNOTATIONS}
            options = [resolve(each, root) for each in schema[name]]
            if any(isinstance(each, Mapping) and each.keys() & rest.keys() for each in options):
                return None
            return [{**rest, **each} if isinstance(each, Mapping) else rest for each in options if each is not False]
    kinds = schema.get("type")
    if isinstance(kinds, list) and len(kinds) > 1:
        return [{**schema, "type": kind} for kind in kinds]
    return None


def type_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def properties(schema: Schema) -> Mapping[str, Schema]:
    """The arguments that a tool names."""
    schema = resolve(schema, schema)
    found = schema.get("properties") if isinstance(schema, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def required(schema: Schema) -> frozenset[str]:
    schema = resolve(schema, schema)
    found = schema.get("required") if isinstance(schema, Mapping) else None
    return frozenset(name for name in found if isinstance(name, str)) if isinstance(found, list) else frozenset()


def is_open(schema: Schema) -> bool:
    """Arguments are allowed that it does not name. As in llama-server not, if it names some and does not say so."""
    schema = resolve(schema, schema)
    if not isinstance(schema, Mapping):
        return True
    more = schema.get("additionalProperties")
    return more is not False if not properties(schema) else more is not None and more is not False


def within(schema: Schema, root: Schema) -> Schema:
    """A part of `root` as a schema of its own, which still finds what it refers to."""
    if not isinstance(schema, Mapping) or not isinstance(root, Mapping):
        return schema
    return {name: root[name] for name in _ROOTS if name in root} | dict(schema)
