"""Answer format: what a request says that the content of its answers has to be. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidRequest
from ..structured.answer import JsonAnswer, RegexAnswer
from ..structured.schema import Schema
from .body import json_type
from .field import Field, Table

CONSTRAINTS = ("json_schema", "grammar", "regex", "response_format")
"""Fields of which a request can have one."""
ANY_OBJECT: Schema = {"type": "object"}


def settle(table: Table, values: dict[str, Any], body: Mapping[str, object]) -> None:
    """Let the constraint that a request names replace those that it would have by default. Raises InvalidRequest for
    two at once."""
    names = [name for name in CONSTRAINTS if name in table.fields]
    given = [name for name in names if is_given(table.fields[name], body) and is_set(name, values[name])]
    if len(given) > 1:
        first, second = given[:2]
        raise InvalidRequest(f"Cannot use both {first} and {second}", param=first)
    for name in names:
        if given and name not in given:
            values[name] = table.fields[name].default


def is_given(field: Field, body: Mapping[str, object]) -> bool:
    return any(body.get(name) is not None for name in field.names)


def is_set(name: str, value: Any) -> bool:
    if name == "response_format":
        return value.get("type") not in (None, "", "text")
    return value is not None if name == "json_schema" else bool(value)


def read_format(values: Mapping[str, Any]) -> tuple[str, JsonAnswer | RegexAnswer] | None:
    """The field that says it, and what it says. Raises InvalidRequest."""
    response_format = values.get("response_format", {})
    if is_set("response_format", response_format):
        return "response_format", JsonAnswer(schema_of(response_format), is_strict=is_strict(response_format))
    if values["regex"]:
        return "regex", RegexAnswer(values["regex"])
    if values["json_schema"] is not None:
        return "json_schema", JsonAnswer(checked(values["json_schema"], "json_schema"))
    return None


def schema_of(response_format: Mapping[str, Any]) -> Schema:
    """The schema of a `response_format`: OpenAI's, or llama-server's with `schema` beside `type`."""
    kind = response_format.get("type")
    schema = response_format.get("schema")
    where = "response_format.schema"
    if kind == "json_schema":
        named = response_format.get("json_schema", {})
        if not isinstance(named, dict):
            raise InvalidRequest(
                f"Expected 'response_format.json_schema' to be an object, but it is {json_type(named)}"
            )
        if "schema" in named:
            schema, where = named["schema"], "response_format.json_schema.schema"
    elif kind != "json_object":
        raise InvalidRequest(
            f'response_format type must be one of "text", "json_object" or "json_schema", but got: {kind}'
        )
    return checked({} if schema is None else schema, where)


def is_strict(response_format: Mapping[str, Any]) -> bool:
    """OpenAI's `strict`: unless it is false, what a schema asks for and cannot be enforced is an error."""
    named = response_format.get("json_schema")
    return not isinstance(named, dict) or named.get("strict") is not False


def checked(schema: object, where: str) -> Schema:
    if not isinstance(schema, bool | dict):
        raise InvalidRequest(f"Expected '{where}' to be a JSON Schema object, but it is {json_type(schema)}")
    return ANY_OBJECT if schema == {} else schema
