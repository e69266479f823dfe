"""JSON Schema of request parameters, as `/openapi.json` has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..samplers import CODES
from .field import INT32_MAX, Field, Kind, Table

Schema = dict[str, Any]

ROOT = "#/components/schemas/{name}"

PROMPT = "Prompt"
"""The component that describes prompts, which may hold each other."""

TOKEN_OR_TEXT: Schema = {"type": ["string", "integer"]}

PROMPTS: Schema = {
    "description": "A text, token ids, both mixed, an object that holds one of these, or a list of such prompts.",
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": TOKEN_OR_TEXT},
        {
            "type": "object",
            "properties": {"prompt_string": {"anyOf": [{"type": "string"}, {"type": "array", "items": TOKEN_OR_TEXT}]}},
            "required": ["prompt_string"],
        },
        {"type": "array", "items": {"$ref": ROOT.format(name=PROMPT)}},
    ],
}


SCALARS = frozenset({Kind.INTEGER, Kind.NUMBER, Kind.BOOLEAN, Kind.STRING})


def of_table(table: Table) -> dict[str, Schema]:
    """The properties of a request, by name."""
    properties = {}
    for field in table.fields.values():
        properties[field.name] = of_field(field)
        for alias in field.aliases:
            if table.field_of(alias) is field:
                properties[alias] = of_field(field) | {"description": f"Another name of `{field.name}`."}
    return properties


def of_values(table: Table) -> dict[str, Schema]:
    """The properties of an answer that shows what a request was decoded to, by name; the simple ones."""
    return {field.name: of_field(field) for field in table.fields.values() if field.kind in SCALARS}


def of_field(field: Field) -> Schema:
    """The values that a field takes; null is the same as absent, unless the field is required."""
    schema: Schema = _KINDS[field.kind](field)
    if field.one_of:
        schema["enum"] = list(field.one_of) if field.required else [*field.one_of, None]
    if not field.required:
        _allow_null(schema)
        if field.default is not None:
            schema["default"] = list(field.default) if isinstance(field.default, tuple) else field.default
    return schema | {"description": describe(field)}


def describe(field: Field) -> str:
    """The help of a field, and what the schema cannot say."""
    notes = [field.help]
    limits = f"{_limit('at least', field.low)} {_limit('at most', field.high)}".strip()
    if field.soft and limits:
        notes.append(f"Other values are moved to {limits}.")
    return " ".join(notes)


def _limit(word: str, limit: float | None) -> str:
    """A limit in words; empty for those that only say how large numbers can be."""
    return "" if limit is None or abs(limit) >= INT32_MAX else f"{word} {limit:g}"


def of_types(*types: Any) -> tuple[list[Schema], dict[str, Schema]]:
    """A schema for each of `types`, and the components that they refer to."""
    schemas, components = msgspec.json.schema_components(types, ref_template=ROOT)
    return list(schemas), components


def _allow_null(schema: Schema) -> None:
    if "anyOf" in schema:
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    elif "$ref" in schema:
        schema["anyOf"] = [{"$ref": schema.pop("$ref")}, {"type": "null"}]
    elif "type" in schema:
        schema["type"] = [schema["type"], "null"]


def _integer(field: Field) -> Schema:
    return {"type": "integer"} | _limits(field)


def _number(field: Field) -> Schema:
    return {"type": "number"} | _limits(field)


def _limits(field: Field) -> Schema:
    limits = {"minimum": field.low, "maximum": field.high}
    return {} if field.soft else {name: limit for name, limit in limits.items() if limit is not None}


def _string(field: Field) -> Schema:
    return {"type": "string"} | ({} if field.high is None else {"maxLength": field.high})


def _array_of(items: Schema) -> Any:
    def schema(field: Field) -> Schema:
        sizes = {"minItems": field.low, "maxItems": field.high}
        return {"type": "array", "items": items} | {name: n for name, n in sizes.items() if n is not None}

    return schema


def _samplers(field: Field) -> Schema:
    names = {"type": "array", "items": {"type": "string"}}
    return {"anyOf": [names, {"type": "string", "pattern": f"^[{''.join(sorted(CODES.values()))}]*$"}]}


def _stop(field: Field) -> Schema:
    return {"anyOf": [{"type": "string"}, _array_of({"type": "string"})(field)]}


def _bias(field: Field) -> Schema:
    bias = {"anyOf": [{"type": "number"}, {"const": False}]}
    pair = {"type": "array", "prefixItems": [TOKEN_OR_TEXT, bias], "minItems": 2, "maxItems": 2}
    return {"anyOf": [_array_of(pair)(field), {"type": "object", "additionalProperties": bias}]}


def _shaped(field: Field) -> Schema:
    """What a field's shape says, with the limits of a list."""
    [schema], _ = of_types(field.shape)
    sizes: Mapping[str, float | None] = {"minItems": field.low, "maxItems": field.high}
    return schema | {name: n for name, n in sizes.items() if n is not None}


def _array(field: Field) -> Schema:
    return _shaped(field) if field.shape else {"type": "array"}


def _object(field: Field) -> Schema:
    return _shaped(field) if field.shape else {"type": "object"}


def _any(field: Field) -> Schema:
    return _shaped(field) if field.shape else {}


_KINDS = {
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.BOOLEAN: lambda field: {"type": "boolean"},
    Kind.STRING: _string,
    Kind.STRINGS: _array_of({"type": "string"}),
    Kind.SAMPLERS: _samplers,
    Kind.ARRAY: _array,
    Kind.OBJECT: _object,
    Kind.STOP: _stop,
    Kind.BIAS: _bias,
    Kind.SHAPE: _shaped,
    Kind.PROMPT: lambda field: {"$ref": ROOT.format(name=PROMPT)},
    Kind.ANY: _any,
}
