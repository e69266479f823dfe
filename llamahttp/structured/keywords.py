"""Keywords: those of JSON Schema that a grammar can see to, and what their values have to be. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TYPES = ("null", "boolean", "object", "array", "number", "integer", "string")
IN_PLACE = ("allOf", "anyOf", "oneOf")
"""Lists of schemas for the same value."""
MAX_FACTOR = 10_000
"""Of `multipleOf`, without its decimal point: an automaton counts up to it."""


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value == int(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_limit(value: Any) -> bool:
    return isinstance(value, bool) or _is_number(value)


def _is_factor(value: Any) -> bool:
    return _is_number(value) and 0 < value <= MAX_FACTOR and scaled(value) <= MAX_FACTOR


def scaled(factor: float) -> int:
    """A factor without its decimal point."""
    whole, _, decimals = f"{factor:.12f}".rstrip("0").partition(".")
    return int(whole + decimals)


def _is_schema(value: Any) -> bool:
    return isinstance(value, bool | dict)


def _is_items(value: Any) -> bool:
    return _is_schema(value) or _is_schemas(value)


def _is_schemas(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_schema, value))


def _is_alternatives(value: Any) -> bool:
    return bool(value) and _is_schemas(value)


def _is_map(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_schema, value.values()))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_type(value: Any) -> bool:
    kinds = value if isinstance(value, list) else [value]
    return bool(kinds) and all(isinstance(kind, str) and kind in TYPES for kind in kinds)


def _is_list(value: Any) -> bool:
    return bool(value) and isinstance(value, list)


COUNT = (_is_count, "a whole number that is not negative")
NUMBER = (_is_number, "a number")
LIMIT = (_is_limit, "a number")
TEXT = (_is_text, "a string")

KNOWN: dict[str, tuple[Callable[[Any], bool], str]] = {
    "type": (_is_type, f"one of {', '.join(TYPES)}, or a list of these"),
    "enum": (_is_list, "a list of values"),
    "const": (lambda value: True, ""),
    "$ref": TEXT,
    "allOf": (_is_alternatives, "a list of schemas"),
    "anyOf": (_is_alternatives, "a list of schemas"),
    "oneOf": (_is_alternatives, "a list of schemas"),
    "properties": (_is_map, "an object of schemas"),
    "patternProperties": (_is_map, "an object of schemas"),
    "additionalProperties": (_is_schema, "a schema"),
    "required": (_is_names, "a list of strings"),
    "propertyNames": (_is_schema, "a schema"),
    "minProperties": COUNT,
    "maxProperties": COUNT,
    "prefixItems": (_is_schemas, "a list of schemas"),
    "items": (_is_items, "a schema, or a list of schemas"),
    "additionalItems": (_is_schema, "a schema"),
    "minItems": COUNT,
    "maxItems": COUNT,
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
    "minLength": COUNT,
    "maxLength": COUNT,
    "pattern": TEXT,
    "format": TEXT,
    "minimum": NUMBER,
    "maximum": NUMBER,
    "exclusiveMinimum": LIMIT,
    "exclusiveMaximum": LIMIT,
    "multipleOf": (_is_factor, f"a positive number of few digits, at most {MAX_FACTOR} without its decimal point"),
}
"""Each with what its value has to be."""

IMPLIED = {
    **dict.fromkeys(
        (
            *("properties", "patternProperties", "additionalProperties", "required", "minProperties", "maxProperties"),
            "propertyNames",
        ),
        ("object",),
    ),
    **dict.fromkeys(("prefixItems", "items", "additionalItems", "minItems", "maxItems", "uniqueItems"), ("array",)),
    **dict.fromkeys(("minLength", "maxLength", "pattern"), ("string",)),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), ("number",)),
}
"""Types that a schema without a `type` is for."""

ANNOTATIONS = frozenset(
    [
        *("title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment"),
        *("$schema", "$id", "id", "$defs", "definitions", "nullable", "discriminator", "externalDocs", "xml"),
        *("$anchor", "$vocabulary", "contentEncoding", "contentMediaType", "contentSchema", "propertyOrdering"),
        *("enumNames", "enumDescriptions", "markdownEnumDescriptions", "markdownDescription", "deprecationMessage"),
    ]
)
"""They say nothing about values, or name schemas for others to refer to. As does all that begins with `x-`."""


def _is_any_name(value: Any) -> bool:
    kind = value.get("type", "string") if isinstance(value, dict) else ()
    return value is True or (
        (kind == "string" or (isinstance(kind, list) and "string" in kind))
        and all(name == "type" or is_annotation(name) for name in value)
    )


def _is_anything(value: Any) -> bool:
    return value is True or value == {}


TRIVIAL: dict[str, Callable[[Any], bool]] = {
    "uniqueItems": lambda value: value is False,
    "propertyNames": _is_any_name,
    "unevaluatedProperties": _is_anything,
    "unevaluatedItems": _is_anything,
}
"""Keywords that cannot be enforced, but say nothing with some values."""


def is_annotation(name: str) -> bool:
    """Whether a keyword says nothing about values."""
    return name in ANNOTATIONS or (name.startswith("x-") and name != "x-guidance")


def says_nothing(name: str, value: Any) -> bool:
    """Whether a keyword with its value says nothing about values."""
    return is_annotation(name) or (name in TRIVIAL and TRIVIAL[name](value))


TEXT_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"))
"""What they say is enforced. Any other format is an annotation, as all are in JSON Schema unless agreed otherwise."""
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_MONTHS = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|[12][0-9])"
_DATE = f"[0-9]{{4}}-({_MONTHS})"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_GROUP = "[0-9A-Fa-f]{1,4}"
FORMAT_PATTERNS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": "P([0-9]+W|([0-9]+Y([0-9]+M([0-9]+D)?)?|[0-9]+M([0-9]+D)?|[0-9]+D)"
    "|T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S))",
    "email": rf"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@{_LABEL}(\.{_LABEL})+",
    "hostname": rf"{_LABEL}(\.{_LABEL}){{0,3}}",
    "ipv4": rf"({_BYTE}\.){{3}}{_BYTE}",
    "ipv6": f"({_GROUP}:){{7}}{_GROUP}|({_GROUP}:){{1,6}}:{_GROUP}|::({_GROUP})?",
    "uuid": "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    "uri": r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:?#@!$&'()*+,;=%\/-]+",
}
"""The same as regular expressions, for strings that are not in JSON; perhaps not all that there can be."""
NUMBER_FORMATS: dict[str, tuple[int, int] | None] = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int8": (-(2**7), 2**7 - 1),
    "uint8": (0, 2**8 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
    "float": None,
    "double": None,
}
"""Each with the least and the largest number; OpenAPI's, and what others added."""

NO_LEAP = {"time": "^.{6}[0-5]", "date-time": "^.{17}[0-5]"}
"""Times without second 60, which validators that know no leap seconds refuse."""
