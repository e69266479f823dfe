"""Schema: a JSON Schema, checked for what a grammar can see to, as the schema that llguidance compiles. Pure.

Whatever cannot be enforced is an error that names the keyword and the place: an answer that ends is one that the schema
validates. For that the grammar may hold less than the schema allows:

- Objects that name their properties have no others, unless `additionalProperties` says so; as in llama-server. Where
  several schemas hold for one object (`allOf`, `$ref` with siblings), it is as the schema says.
- Properties come in the order in which they are listed; then others that are required, then those that are not named.
- A schema without a `type` is for the type that its keywords are for.
- White space is one blank, or up to two line ends and 20 blanks, where JSON allows some; at neither end of the whole.
- Numbers that have a limit lie within 64 bits, and a limit of more than 53 may move inwards to one that can be held.
- Strings hold no control characters but those that `\\n`, `\\r`, `\\t`, `\\b` and `\\f` stand for; nor DEL.

Less is enforced in two things. A format that is not known is an annotation. And `uniqueItems`, which every generator
writes for a set, is left to the model where it cannot be enforced and whoever asks says `strict: false`, or the schema
is that of a tool without `strict`: llama-server ignores it always, and who reads a set drops what comes twice.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from . import unique
from .finite import find_false, is_finite
from .keywords import (
    IMPLIED,
    IN_PLACE,
    KNOWN,
    MAX_FACTOR,
    NO_LEAP,
    NUMBER_FORMATS,
    TEXT_FORMATS,
    says_nothing,
    scaled,
)
from .number import put_limits
from .pattern import PatternError, to_rust
from .place import SchemaError, child, find, shown

Schema = Any
"""A JSON Schema: an object, or a boolean."""

MAX_DEPTH = 96
"""Objects and arrays in each other: the compiler reads them by recursion."""
MAX_SCHEMAS = 10_000
"""Schemas in a schema; with those that are referred to from different places counted for each of two meanings."""
MAX_REFERRED = 500
"""Schemas that are referred to: a row of references is followed by recursion."""
MAX_PROPERTIES = 1000
"""Of one object: compiling them takes time by their square."""
MAX_OPTIONAL = 400
"""Properties of one object that may be left out: any of them may come next."""
MAX_TOGETHER = 10
"""Patterns in schemas that hold for a value together: compiling them takes time that doubles with each."""
N_CACHED = 64
OPENING = frozenset({"patternProperties", "additionalProperties"})
"""They say which properties an object may have that it does not name."""
EXCLUSIVE = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))
UNWRITABLE = re.compile(r"(?<!\\)(?:\\\\)*(\\u00[01].|[\x7f\ud800-\udfff])")
"""What the compiler leaves out of the strings of JSON, or cannot read."""
OPTIONS = {
    "whitespace_pattern": r" |\n{1,2}[ \t]{0,20}",
    "json_allowed_escapes": 'nrbtf\\"',  # with \u a key could be written in a second way, and have any value
    "coerce_one_of": False,
    "lenient": False,
}


def enforceable(schema: Schema, *, is_strict: bool = True) -> dict[str, Any]:
    """The schema to compile: an object with the options that it needs. Raises SchemaError."""
    check_depth(schema)
    return _enforceable(json.dumps(schema), is_strict)


@functools.lru_cache(N_CACHED)
def _enforceable(text: str, is_strict: bool) -> dict[str, Any]:
    return _Reader(json.loads(text), is_strict=is_strict).read()


def places(schema: Schema) -> list[tuple[str, dict[str, Any]]]:
    """The schema to compile, and the schemas in it as they are compiled, each with its place. Raises SchemaError."""
    reader = _Reader(schema, is_strict=False)
    root = reader.read()
    return [("", root), *reader.places]


def check_depth(schema: Schema) -> None:
    """Raises SchemaError for what is nested too deep to be read by recursion."""
    if is_deeper(schema, MAX_DEPTH):
        raise SchemaError(
            "", f"the objects and arrays of the schema itself are nested more than {MAX_DEPTH} deep, which is the limit"
        )


def is_deeper(value: object, n_levels: int) -> bool:
    """Whether there are more than `n_levels` objects and arrays of JSON within each other; found without recursion."""
    level: list[object] = [value]
    for _ in range(n_levels):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


class _Reader:
    """Reads what the root leads to; a schema that is only part of an object's (`is_part`) stays open for the rest."""

    def __init__(self, root: Schema, *, is_strict: bool) -> None:
        self._root = root
        self._is_strict = is_strict
        self._n = 0
        self._names: dict[tuple[str, bool], str] = {}
        self._defs: dict[str, Schema] = {}
        self._left: list[tuple[str, Schema, str, bool]] = []
        self._factor = 1
        self._n_together = 0
        self._n_arrays = 0
        self.places: list[tuple[str, dict[str, Any]]] = []
        """Each schema that was read, and where it stands."""

    def read(self) -> dict[str, Any]:
        root = self._schema(self._root, "", is_part=False)
        while self._left:  # rather than by recursion: a reference may lead to the next for as long as one likes
            name, schema, at, is_part = self._left.pop()
            self._defs[name] = self._schema(schema, at, is_part=is_part)
        for _, schema in self.places:
            if "oneOf" in schema:
                self._one_of(schema)
        if not isinstance(root, dict):
            root = {"allOf": [root]}
        if not is_finite(root, self._defs):
            raise self._endless()
        return {"x-guidance": OPTIONS, **({"$defs": self._defs} if self._defs else {}), **root}

    def _endless(self) -> SchemaError:
        if self._root is False:
            return SchemaError("", "nothing matches the schema 'false'")
        for at, found in self.places:
            name = find_false(found)
            if name:
                return SchemaError(child(at, name), "it asks for a value of the schema 'false', which nothing matches")
        return SchemaError(
            "", "no value that ends can obey it: something that is required refers to itself, or is 'false'"
        )

    def _schema(self, schema: Schema, at: str, *, is_part: bool) -> Schema:
        self._n += 1
        if self._n > MAX_SCHEMAS:
            raise SchemaError(at, f"there are more than {MAX_SCHEMAS} schemas in it, which is the limit")
        if not isinstance(schema, dict):
            return schema
        self._check(schema, at)
        schema = _modern({name: value for name, value in schema.items() if name in KNOWN})
        schema = self._with_names(schema, at)
        is_part_within = is_part or _is_merged(schema)
        found: dict[str, Any] = {}
        for name, value in schema.items():
            found |= self._keyword(name, value, child(at, name), is_part=is_part_within)
        found |= self._kinds(schema)
        if "properties" in schema and not is_part_within and OPENING.isdisjoint(schema):
            unnamed = {name: True for name in found.get("required", ()) if name not in found["properties"]}
            found |= {"properties": found["properties"] | unnamed, "additionalProperties": False}
        _check_count(found, at)
        n_optional = len(found.get("properties", {}).keys() - set(found.get("required", ())))
        if n_optional > MAX_OPTIONAL:
            raise SchemaError(
                child(at, "properties"),
                f"{n_optional} properties that are not 'required' are more than the limit of {MAX_OPTIONAL}",
            )
        _put_format(schema, found)
        put_limits(found, at)
        if schema.get("uniqueItems"):
            self._put_unique(schema, found, at)
        self.places.append((at, found))
        return found

    def _check(self, schema: Mapping[str, Any], at: str) -> None:
        for name, value in schema.items():
            if name in KNOWN:
                holds, what = KNOWN[name]
                if not holds(value):
                    raise SchemaError(child(at, name), f"has to be {what}, but is {shown(value)}")
            elif name == "$id" and at:
                raise SchemaError(child(at, name), "only the whole schema can have a '$id'")
            elif not says_nothing(name, value):
                raise SchemaError(child(at, name), f"the keyword {name!r} is not supported, and cannot be enforced")
        for exclusive, limit in EXCLUSIVE:
            if schema.get(exclusive) is True and limit not in schema:
                raise SchemaError(child(at, exclusive), f"is true, as in draft 4, but there is no {limit!r} beside it")

    def _keyword(self, name: str, value: Any, at: str, *, is_part: bool) -> dict[str, Any]:
        match name:
            case "$ref":
                return {name: self._reference(value, at, is_part=is_part)}
            case "allOf" | "anyOf" | "oneOf":
                return {name: [self._schema(each, child(at, i), is_part=is_part) for i, each in enumerate(value)]}
            case "prefixItems":
                return {name: [self._schema(each, child(at, i), is_part=False) for i, each in enumerate(value)]}
            case "items" | "additionalProperties":
                return {name: self._schema(value, at, is_part=False)}
            case "properties" | "patternProperties":
                if len(value) > MAX_PROPERTIES:
                    raise SchemaError(at, f"{len(value)} properties are more than the limit of {MAX_PROPERTIES}")
                is_pattern = name == "patternProperties"
                return {
                    name: {
                        self._pattern(key, child(at, key)) if is_pattern else key: self._schema(
                            each, child(at, key), is_part=False
                        )
                        for key, each in value.items()
                    }
                }
            case "pattern":
                self._n_together += is_part
                if self._n_together > MAX_TOGETHER:
                    raise SchemaError(at, f"more than {MAX_TOGETHER} patterns hold together with others, the limit")
                return {name: self._pattern(value, at)}
            case "const" | "enum":
                found = UNWRITABLE.search(json.dumps(value, ensure_ascii=False))
                if found:
                    raise SchemaError(at, f"the character {_named(found[1])} in a value cannot be enforced")
            case "multipleOf" if is_part:
                self._factor *= scaled(value)
                if self._factor > MAX_FACTOR:
                    raise SchemaError(at, f"the product of all factors is above the limit of {MAX_FACTOR}")
            case "format" | "uniqueItems":
                return {}
            case "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties":
                return {name: int(value)}
        return {name: value}

    def _pattern(self, pattern: str, at: str) -> str:
        try:
            return to_rust(pattern, in_json=True)
        except PatternError as error:
            raise SchemaError(at, f"the pattern {pattern[:64]!r}: {error}") from None

    def _reference(self, ref: str, at: str, *, is_part: bool) -> str:
        pointer = unquote(ref[1:])
        if not ref.startswith("#") or (pointer and not pointer.startswith("/")):
            raise SchemaError(at, f"{ref[:64]!r} is not a reference within the schema, such as '#/$defs/NAME'")
        known = self._names.get((pointer, is_part))
        if known is None:
            if len(self._names) == MAX_REFERRED:
                raise SchemaError(at, f"more than {MAX_REFERRED} schemas are referred to, which is the limit")
            known = self._names[pointer, is_part] = f"d{len(self._names)}"
            target = find(self._root, pointer)
            if not isinstance(target, bool | dict):
                raise SchemaError(at, f"there is no schema at {ref[:64]!r}")
            self._left.append((known, target, pointer, is_part))
        return f"#/$defs/{known}"

    def _kinds(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The type that a schema is for which has none."""
        if not {"type", "enum", "const"}.isdisjoint(schema):
            return {}
        kinds = dict.fromkeys(kind for name in schema for kind in IMPLIED.get(name, ()))
        if schema.get("format") in NUMBER_FORMATS:
            kinds["number"] = None
        if schema.get("format") in TEXT_FORMATS:
            kinds["string"] = None
        return {"type": list(kinds)} if kinds else {}

    def _put_unique(self, schema: Mapping[str, Any], found: dict[str, Any], at: str) -> None:
        """Put what `uniqueItems` asks for into `found`: one of all arrays, if there are few."""
        least, most = found.get("minItems", 0), found.get("maxItems")
        if most is not None and most <= 1:
            return
        items = self._resolved(schema.get("items"))
        values = None if "prefixItems" in found else unique.listed(items)
        rows = (
            None
            if values is None
            else unique.arrays(unique.distinct(values), least, most, unique.MAX_TOTAL - self._n_arrays)
        )
        if rows is None:
            if not self._is_strict:
                return
            raise SchemaError(
                child(at, "uniqueItems"),
                "can be enforced only where 'items' has an 'enum' of few values, or 'maxItems' is 1; with 'strict' "
                "false it is left to the model",
            )
        if not rows:
            raise SchemaError(child(at, "minItems"), f"there are fewer than {least} values that differ")
        self._n_arrays += unique.size(rows)
        kinds = found.get("type", "array")
        others = [kind for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind != "array"]
        for name in ("items", "minItems", "maxItems"):  # which the arrays obey, and would be merged with each
            found.pop(name, None)
        _put_any_of(found, [*rows, *({"type": kind} for kind in others)])

    def _with_names(self, schema: dict[str, Any], at: str) -> dict[str, Any]:
        """A schema with the properties that it may have, if it lists their names by themselves."""
        rule = schema.pop("propertyNames", True)
        if says_nothing("propertyNames", rule):
            return schema
        rule = self._resolved(rule)
        names = unique.listed(rule)
        if names is None or "patternProperties" in schema:
            raise SchemaError(child(at, "propertyNames"), "can be enforced only where it is an 'enum' of all names")
        own, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        allowed = dict.fromkeys(name for name in names if isinstance(name, str))
        named = {name: own.get(name, more) for name in (*own, *allowed) if name in allowed}
        return schema | {"properties": named, "additionalProperties": False}

    def _resolved(self, schema: Schema) -> Schema:
        """What a schema refers to, if it does nothing else."""
        for _ in range(MAX_REFERRED):
            if not isinstance(schema, dict) or "$ref" not in schema or schema.keys() & KNOWN.keys() != {"$ref"}:
                break
            schema = find(self._root, unquote(schema["$ref"][1:]))
        return schema

    # --- alternatives of which one holds

    def _one_of(self, found: dict[str, Any]) -> None:
        """Make visible that at most one can hold, where a glance shows it: distinct values, or a property of such."""
        options = found["oneOf"]
        values = [self._values(option) for option in options]
        if unique.are_distinct(values):
            _put_any_of(found, options)
            del found["oneOf"]
            return
        for name in self._properties(options[0]):
            tags = [self._values(self._properties(option).get(name, True)) for option in options]
            if unique.are_distinct(tags):
                found["oneOf"] = [_requiring(option, name) for option in options]
                return

    def _target(self, schema: Schema) -> Schema:
        for _ in range(MAX_REFERRED):
            if not isinstance(schema, dict) or "$ref" not in schema:
                break
            schema = self._defs.get(schema["$ref"].removeprefix("#/$defs/"), True)
        return schema

    def _properties(self, schema: Schema) -> Mapping[str, Schema]:
        schema = self._target(schema)
        found: Mapping[str, Schema] = schema.get("properties", {}) if isinstance(schema, dict) else {}
        return found

    def _values(self, schema: Schema) -> frozenset[str]:
        """The values that a schema lists, as texts; empty if it does not."""
        schema = self._target(schema)
        if not isinstance(schema, dict):
            return frozenset()
        listed = [schema["const"]] if "const" in schema else schema.get("enum", [])
        return frozenset(json.dumps(unique.plain(value), sort_keys=True) for value in listed)


def _put_format(schema: Mapping[str, Any], found: dict[str, Any]) -> None:
    """Put what a format asks for into `found`."""
    format = schema.get("format")
    if format in TEXT_FORMATS:
        found["format"] = format
    limits = NUMBER_FORMATS.get(format or "")
    if limits:
        found["minimum"] = max(limits[0], found.get("minimum", limits[0]))
        found["maximum"] = min(limits[1], found.get("maximum", limits[1]))
    if format in NO_LEAP:
        found["allOf"] = [*found.get("allOf", ()), {"type": "string", "pattern": NO_LEAP[format]}]


def _put_any_of(found: dict[str, Any], options: list[Schema]) -> None:
    """Demand one of `options`, besides what is demanded already."""
    if "anyOf" in found:
        found["allOf"] = [*found.get("allOf", ()), {"anyOf": options}]
    else:
        found["anyOf"] = options


def _modern(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with what older drafts said otherwise in the words of the last one."""
    if isinstance(schema.get("items"), list):
        schema = {**schema, "prefixItems": schema["items"], "items": schema.get("additionalItems", True)}
    schema.pop("additionalItems", None)
    for exclusive, limit in EXCLUSIVE:
        if isinstance(schema.get(exclusive), bool):
            is_exclusive = schema.pop(exclusive)
            if is_exclusive and limit in schema:
                schema[exclusive] = schema.pop(limit)
    return schema


def _is_merged(schema: Mapping[str, Any]) -> bool:
    """Several schemas hold for the same object."""
    parts = [name for name in schema if name in (*IN_PLACE, "$ref")]
    if not parts:
        return False
    is_several = len(parts) > 1 or len(schema.get("allOf", ())) > 1
    return is_several or any(IMPLIED.get(name) == ("object",) for name in schema)


def _check_count(schema: Mapping[str, Any], at: str) -> None:
    """Raises SchemaError where a count of properties would count one twice that comes twice."""
    least = schema.get("minProperties", 0)
    is_open = schema.get("additionalProperties", True) is not False or "patternProperties" in schema
    if least > max(1, len(set(schema.get("required", ())))) and is_open:
        raise SchemaError(
            child(at, "minProperties"),
            "cannot be enforced where properties are allowed that are not named, unless as many are 'required'",
        )


def _requiring(schema: Schema, name: str) -> Schema:
    required = schema.get("required", ())
    return schema if name in required else {**schema, "required": [*required, name]}


def _named(char: str) -> str:
    r"""A character as U+007F, from itself or from `\u007f`."""
    return f"U+{char[2:].upper() if char[1:] else f'{ord(char):04X}'}"
