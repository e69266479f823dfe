"""Schemas of every kind that is enforced, and what each has to refuse."""

from __future__ import annotations

from typing import Any

OBJECT: dict[str, Any] = {"type": "object"}
PERSON: dict[str, Any] = {
    **OBJECT,
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "ü"]}, "maxItems": 3},
        "mail": {"anyOf": [{"type": "string", "format": "email", "maxLength": 20}, {"type": "null"}]},
    },
    "required": ["name", "age"],
}
TREE: dict[str, Any] = {
    "$defs": {
        "tree": {
            **OBJECT,
            "properties": {
                "value": {"type": "integer", "minimum": 0, "maximum": 9},
                "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2},
            },
            "required": ["value"],
        }
    },
    "$ref": "#/$defs/tree",
}

SCHEMAS: dict[str, Any] = {
    "person": PERSON,
    "tree": TREE,
    "root recursion": {**OBJECT, "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}},
    "array bounds": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    "tuple": {"prefixItems": [{"type": "integer", "minimum": -3, "maximum": 3}, {"type": "null"}], "minItems": 2}
    | {"items": False},
    "tuple of draft 7": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "items": [{"type": "boolean"}, {"type": "null"}],
        "additionalItems": False,
        "minItems": 1,
    },
    "draft 4": {"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer", "minimum": 3, "maximum": 5}
    | {"exclusiveMinimum": True},
    "union of types": {"type": ["integer", "null", "boolean"], "minimum": 0, "maximum": 99},
    "one of objects": {
        "oneOf": [
            {**OBJECT, "properties": {"kind": {"const": "a"}, "n": {"type": "null"}}, "required": ["kind"]},
            {**OBJECT, "properties": {"kind": {"const": "b"}, "m": {"type": "boolean"}}},
        ]
    },
    "one of values": {"oneOf": [{"const": 1, "title": "one"}, {"const": 2.5}, {"enum": ["x", None]}]},
    "all of": {
        "allOf": [
            {"properties": {"a": {"type": "integer", "maximum": 9}}, "required": ["a"]},
            {"properties": {"a": {"minimum": 5}, "b": {"type": "null"}}, "required": ["b"]},
        ],
        "maxProperties": 2,
    },
    "any of beside properties": {
        "properties": {"a": {"type": "null"}, "b": {"type": "null"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        "additionalProperties": False,
    },
    "reference with siblings": {
        "definitions": {"base": {"properties": {"a": {"type": "null"}}, "required": ["a"]}},
        "allOf": [{"$ref": "#/definitions/base"}, {"properties": {"b": {"type": "boolean"}}, "required": ["b"]}],
        "maxProperties": 2,
    },
    "enum": {"enum": ["a", 1, None, {"b": [1, '\n"\\']}, 1.5, True]},
    "enum and more": {"enum": ["a", "bbb", "bbbb", 7], "minLength": 2, "type": "string", "maxLength": 3},
    "const": {"const": {"a": [1, 2.5, 'é"\n']}},
    "pattern": {"type": "string", "pattern": "^[a-f]{2}-\\d{3}$"},
    "pattern in the middle": {"type": "string", "pattern": "ab?c", "maxLength": 6},
    "pattern of others": {"type": "string", "pattern": "^.\\W\\D\\S[^\\d\\s]$"},
    "pattern of ends": {"type": "string", "pattern": "^a|z$", "maxLength": 4},
    "pattern and length": {"type": "string", "pattern": "^[a-c\\]]+$", "minLength": 2, "maxLength": 4},
    "length": {"type": "string", "minLength": 2, "maxLength": 5},
    "whole numbers": {"type": "integer", "exclusiveMinimum": -20, "maximum": 120},
    "numbers": {"type": "number", "minimum": -0.5, "exclusiveMaximum": 1.25, "multipleOf": 0.25},
    "multiples": {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 1000},
    "int32": {"type": "integer", "format": "int32"},
    "named only": {"properties": {"a": {"type": "boolean"}}, "required": ["z"], "maxProperties": 2},
    "others": {"properties": {"a": {"type": "null"}}, "additionalProperties": {"type": "boolean"}},
    "names by pattern": {"patternProperties": {"^[a-c]{1,2}$": {"type": "null"}}, "additionalProperties": False}
    | {"maxProperties": 2},
    "unicode keys": {
        **OBJECT,
        "properties": {'né"e\n': {"type": "null"}, "漢字": {"const": "字"}, "a/b~c": {"type": "boolean"}},
        "required": ['né"e\n', "漢字", "a/b~c"],
    },
    "no type": {"minimum": 3, "maximum": 5},
    "64 bits": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "64 bits without sign": {"type": "integer", "minimum": 0, "maximum": 2**64 - 1},
    "beyond 53 bits": {"type": "integer", "minimum": 2**53 + 1, "exclusiveMaximum": 2**53 + 9},
    "large numbers": {"type": "integer", "minimum": 10**18 - 400, "maximum": 10**18 - 5},
    "large from": {"type": "integer", "exclusiveMinimum": 2 * 10**18 + 1},
    "large up to": {"type": "number", "exclusiveMaximum": -(2**62) - 1},
    "doubles": {"type": "number", "minimum": -1.7976931348623157e308, "maximum": 1.7976931348623157e308},
    "positive doubles": {"type": "number", "exclusiveMinimum": 0, "maximum": 1.7976931348623157e308},
    "int64": {"type": "integer", "format": "int64"},
    "uint64": {"type": "integer", "format": "uint64"},
    "other formats": {
        "prefixItems": [
            {"type": "string", "format": format, "maxLength": 3} for format in ("password", "binary", "path")
        ]
        + [{"type": "integer", "format": "decimal", "maximum": 3}],
        "minItems": 4,
        "items": False,
    },
    "record of Zod": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "propertyNames": {"type": "string"},
        "additionalProperties": {"type": "boolean"},
    },
    "record of names": {
        "type": "object",
        "propertyNames": {"$ref": "#/$defs/Day"},
        "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 9},
        "required": ["mon"],
        "$defs": {"Day": {"enum": ["mon", "tue", "wed"], "title": "Day"}},
    },
    "record of names beside properties": {
        "properties": {"a": {"type": "null"}, "b": {"type": "boolean"}},
        "propertyNames": {"type": "string", "enum": ["b", "c"]},
        "required": ["b"],
    },
    "annotations of generators": {
        "type": "object",
        "properties": {
            "data": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png", "maxLength": 4},
            "pick": {"enum": ["a", "b"], "enumNames": ["A", "B"], "enumDescriptions": ["x", "y"]},
        },
        "propertyOrdering": ["data", "pick"],
        "required": ["data", "pick"],
        "markdownDescription": "**x**",
        "unevaluatedProperties": True,
    },
    "set of few": {"type": "array", "items": {"enum": ["a", "b", 1, 1.0, None]}, "uniqueItems": True, "minItems": 2},
    "set of an enumeration": {
        "$defs": {"Color": {"type": "string", "enum": ["red", "green", "blue"], "title": "Color"}},
        "properties": {"colors": {"items": {"$ref": "#/$defs/Color"}, "type": "array", "uniqueItems": True}},
        "required": ["colors"],
    },
    "set of many, of few items": {
        "items": {"enum": list(range(15))},
        "uniqueItems": True,
        "maxItems": 2,
        "minItems": 2,
    },
    "set of one": {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "maxItems": 1},
    "set of those of a type": {
        "items": {"type": ["string", "integer"], "enum": ["a", "b", None, 1.0, 2.5, [], {}, True]},
        "uniqueItems": True,
        "minItems": 2,
    },
    "set or nothing": {"type": ["array", "null"], "items": {"type": "boolean"}, "uniqueItems": True},
    "set beside alternatives": {
        "type": "array",
        "items": {"enum": ["a", "b"]},
        "uniqueItems": True,
        "anyOf": [{"minItems": 2}, {"maxItems": 0}],
    },
    "annotations": {"type": "null", "title": "x", "default": 3, "examples": [1], "x-order": 3, "$comment": "y"},
    **{
        format: {"type": "string", "format": format, "maxLength": 48}
        for format in ("date-time", "time", "date", "duration", "hostname", "ipv4", "ipv6", "uuid", "uri")
    },
}
"""All of them valid for some short JSON."""

REFUSED: dict[str, tuple[Any, str]] = {
    "contains": ({"properties": {"a": {"contains": True}}}, "at '/properties/a/contains': the keyword 'contains'"),
    "not": ({"not": {"type": "string"}}, "at '/not': the keyword 'not'"),
    "if": ({"if": True, "then": False}, "at '/if': the keyword 'if'"),
    "dependencies": ({"dependentSchemas": {"a": True}}, "at '/dependentSchemas': the keyword"),
    "names": ({"propertyNames": {"pattern": "^a"}}, "at '/propertyNames': can be enforced only where it"),
    "name that is not allowed": (
        {"propertyNames": {"enum": ["a"]}, "required": ["b"]},
        "at '/required': it asks for a value of the schema 'false'",
    ),
    "unevaluated": ({"unevaluatedProperties": False}, "at '/unevaluatedProperties': the keyword"),
    "misspelt": ({"type": "string", "minLenght": 3}, "at '/minLenght': the keyword 'minLenght' is not supported"),
    "options": ({"x-guidance": {"lenient": True}}, "at '/x-guidance': the keyword"),
    "in definitions": ({"$defs": {"a/b": {"not": {}}}, "$ref": "#/$defs/a~1b"}, "at '/$defs/a~1b/not': the keyword"),
    "in alternatives": ({"anyOf": [True, {"not": {}}]}, "at '/anyOf/1/not': the keyword"),
    "remote": ({"$ref": "http://127.0.0.1/x.json"}, "at '/$ref': 'http://127.0.0.1/x.json' is not a reference within"),
    "anchor": ({"$ref": "#x"}, "at '/$ref': '#x' is not a reference within"),
    "nowhere": ({"$ref": "#/$defs/a"}, "at '/$ref': there is no schema at '#/$defs/a'"),
    "no schema": ({"$ref": "#/title", "title": "x"}, "at '/$ref': there is no schema at '#/title'"),
    "type": ({"type": "strng"}, "at '/type': has to be one of null, boolean, object"),
    "properties": ({"properties": [1]}, "at '/properties': has to be an object of schemas, but is [1]"),
    "count": ({"minLength": -1}, "at '/minLength': has to be a whole number that is not negative, but is -1"),
    "limit": ({"minimum": 1e300}, "at '/minimum': only numbers of 64 bits can be enforced, but it is 1e+300"),
    "limit of the other side": ({"exclusiveMaximum": -(2**64)}, "at '/exclusiveMaximum': only numbers of 64 bits"),
    "no limit": ({"minimum": "3"}, "at '/minimum': has to be a number, but is"),
    "exclusive of nothing": (
        {"items": {"type": "integer", "exclusiveMinimum": True}},
        "at '/items/exclusiveMinimum': is true, as in draft 4, but there is no 'minimum' beside it",
    ),
    "no flag": ({"uniqueItems": "yes"}, "at '/uniqueItems': has to be true or false, but is"),
    "too few values": (
        {"items": {"enum": ["a", "b"]}, "minItems": 3, "uniqueItems": True},
        "at '/minItems': there are fewer than 3 values that differ",
    ),
    "factor": ({"multipleOf": 123457}, "at '/multipleOf': has to be a positive number of few digits"),
    "count of others": ({"minProperties": 2}, "at '/minProperties': cannot be enforced where properties are allowed"),
    "lookahead": ({"pattern": "^(?=a)"}, "at '/pattern': the pattern '^(?=a)': a lookahead cannot be enforced"),
    "boundary": (
        {"pattern": "\\bx"},
        "at '/pattern': the pattern '\\\\bx': the word boundary '\\b' cannot be enforced",
    ),
    "backreference": ({"pattern": "(a)\\1"}, "at '/pattern': the pattern '(a)\\\\1': the backreference '\\1'"),
    "bracket": ({"properties": {"a": {"pattern": "("}}}, "at '/properties/a/pattern': the pattern '(' cannot be read"),
    "unclosed group": (
        {"pattern": "(unclosed"},
        "at '/pattern': the pattern '(unclosed' cannot be read: unclosed group",
    ),
    "bracket in a name": (
        {"patternProperties": {"a/[z-a]": True}},
        "at '/patternProperties/a~1[z-a]': the pattern 'a/[z-a]' cannot be read: invalid character class range",
    ),
    "count of properties": (
        {"items": {"type": "object", "properties": {"a": {}}, "minProperties": 2}},
        "at '/items/minProperties': cannot be enforced where a property is named that is not 'required'",
    ),
    "count of none": (
        {"type": "object", "properties": {"a": {}}, "maxProperties": 0},
        "at '/maxProperties': cannot be enforced where a property is named that is not 'required'",
    ),
    "anchor in the middle": ({"items": {"pattern": "a^b"}}, "at '/items': '^' or '$' in the middle of a pattern"),
    "control characters": ({"const": "\u0001"}, "at '/const': the character U+0001 in a value cannot be enforced"),
    "contradictory range": (
        {"type": "integer", "minimum": 5, "maximum": 3},
        "at its root: nothing matches it: minimum",
    ),
    "contradictory types": (
        {"properties": {"a": {"allOf": [{"type": "string"}, {"type": "null"}]}}, "required": ["a"]},
        "at '/properties/a': nothing matches it: incompatible types",
    ),
    "contradictory texts": ({"minLength": 5, "pattern": "^a$"}, "at its root: nothing matches its pattern, format"),
    "nothing": (False, "at its root: nothing matches the schema 'false'"),
    "nothing that is required": (
        {"properties": {"a": {"properties": {"b": False}, "required": ["b"]}}, "required": ["a"]},
        "at '/properties/a/required': it asks for a value of the schema 'false', which nothing matches",
    ),
    "nothing but false": ({"anyOf": [False, False]}, "at '/anyOf': it asks for a value of the schema 'false'"),
    "false items": ({"items": False, "minItems": 1}, "at '/minItems': it asks for a value of the schema 'false'"),
    "names not allowed": (
        {"type": "object", "additionalProperties": False, "required": ["a"]},
        "at '/required': it asks for a value of the schema 'false'",
    ),
    "no value": ({"enum": []}, "at '/enum': has to be a list of values, but is []"),
    "endless": ({**OBJECT, "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "at its root: no value that ends"),
    "circular": (
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        "at its root: no value that ends can obey it",
    ),
    "one of overlapping": (
        {"items": {"oneOf": [{"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "b$"}]}},
        "at '/items': of 'oneOf' only one may hold at a time, which cannot be enforced for these",
    ),
    "names of two patterns": ({"patternProperties": {"^a": True, "b$": False}}, "at its root: two of 'patternPropert"),
}
"""What cannot be enforced, and what of it is said."""


def nested(depth: int) -> Any:
    schema: Any = {"type": "null"}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


def row(n: int, reference: Any) -> Any:
    """Definitions of which each refers to the next."""
    defs = {f"d{i}": reference({"$ref": f"#/$defs/d{i + 1}"}) for i in range(n)}
    return {"$defs": {**defs, f"d{n}": {"type": "null"}}, "$ref": "#/$defs/d0"}


BOMBS: dict[str, Any] = {
    "deep": nested(5000),
    "deep enough": nested(46),
    "properties": {"properties": {f"p{i}": {"type": "string"} for i in range(10_000)}},
    "properties that may be": {"properties": {f"p{i}": {"type": "string"} for i in range(1000)}},
    "fewer of them": {"properties": {f"p{i}": {"type": "string"} for i in range(400)}, "additionalProperties": True},
    "properties that must be": {
        "properties": {f"p{i}": {} for i in range(999)},
        "required": [f"p{i}" for i in range(999)],
    },
    "schemas": {"prefixItems": [{"anyOf": [{"type": "null"}] * 100}] * 1000},
    "references": row(10_000, lambda reference: reference),
    "references in objects": row(490, lambda reference: {"properties": {"a": reference}}),
    "references in parts": row(240, lambda reference: {"allOf": [reference, {"title": "x"}]}),
    "laughs of parts": row(30, lambda reference: {"allOf": [reference, reference]}),
    "laughs of alternatives": row(30, lambda reference: {"anyOf": [reference, {"items": reference}]}),
    "laughs of members": row(30, lambda reference: {"properties": {"a": reference, "b": reference}}),
    "product of alternatives": {
        "allOf": [{"anyOf": [{"required": [f"a{i}"]}, {"required": [f"b{i}"]}]} for i in range(20)]
    },
    "patterns together": {"allOf": [{"pattern": f"a{i}.*b"} for i in range(20)]},
    "multiples together": {"allOf": [{"type": "integer", "multipleOf": factor} for factor in (7, 11, 13, 17, 19, 23)]},
    "sets": {"properties": {f"p{i}": {"items": {"enum": [*"abcde"]}, "uniqueItems": True} for i in range(400)}},
    "names": {"propertyNames": {"enum": [f"p{i}" for i in range(20_000)]}},
    "set of pairs": {"items": {"enum": list(range(20_000))}, "uniqueItems": True, "maxItems": 2},
    "set of all": {"items": {"enum": list(range(20_000))}, "uniqueItems": True, "minItems": 10_000},
    "repetitions": {"pattern": "^(([a-z]{1,100}){1,100}){1,100}$"},
    "many states": {"pattern": "^(a|b)*a(a|b){30}$"},
    "long": {"type": "string", "minLength": 10**9},
    "many": {"type": "array", "minItems": 10**9},
    "values": {"enum": [f"value {i}" for i in range(20_000)]},
    "limits": {"prefixItems": [{"minimum": i + 0.123456, "maximum": i + 1e9 + 0.98765} for i in range(300)]},
}
"""Each is compiled, or refused, within a second."""
