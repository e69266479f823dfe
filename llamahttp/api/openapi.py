"""OpenAPI: the document that `/openapi.json` gives, made from the routes, their parameters and their shapes. Pure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..errors import LlamaHTTPError, StartupError
from ..version import __version__
from .field import Field, Table
from .json_schema import PROMPT, PROMPTS, ROOT, Schema, of_field, of_table, of_types
from .route import Route
from .shapes import Error

TITLE = "llamahttp"
DESCRIPTION = "llama-server's HTTP API. Null is the same as absent; members that are not listed are ignored."


def kinds(error: type[LlamaHTTPError] = LlamaHTTPError) -> Iterator[type[LlamaHTTPError]]:
    """Every kind of error that a client may get, of those that all parts share."""
    if error is StartupError or error.__module__ != LlamaHTTPError.__module__:
        return
    yield error
    for kind in error.__subclasses__():
        yield from kinds(kind)


def refusals(shape: Any = Error) -> dict[str, Any]:
    """All answers but the one that was asked for, by status."""
    reasons: dict[int, list[str]] = {}
    for kind in kinds():
        reason = "Something failed here." if kind is LlamaHTTPError else (inspect.getdoc(kind) or "").split("\n\n")[0]
        reasons.setdefault(kind.status, []).append(reason.replace("\n", " "))
    return {str(status): refusal(" ".join(reasons[status]), shape) for status in sorted(reasons)}


def document(routes: Sequence[Route], prefix: str = "") -> dict[str, Any]:
    """The whole document as JSON-ready values; `prefix` begins every path (`--api-prefix`)."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for path in route.paths:
            paths.setdefault(path, {})[route.method.lower()] = operation(route, path)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": __version__, "description": DESCRIPTION},
        "servers": [{"url": prefix or "/"}],
        "security": [{}, {"bearer": []}, {"key": []}],
        "paths": paths,
        "components": {
            "schemas": {PROMPT: PROMPTS} | components(routes),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
    }


def components(routes: Iterable[Route]) -> dict[str, Schema]:
    """Every type that a route takes or gives, by name."""
    types: list[Any] = [Error]
    for route in routes:
        types += [*route.answers, *route.events, route.refusals.shape]
        if isinstance(route.body, Table):
            types += [field.shape for field in route.body.fields.values() if field.shape is not None]
        elif route.body is not None:
            types.append(route.body)
    return of_types(*types)[1]


def operation(route: Route, path: str) -> dict[str, Any]:
    """What one method of one path does."""
    described: dict[str, Any] = {
        "operationId": operation_id(route, path),
        "tags": [route.tag],
        "description": route.description,
        "responses": responses(route),
    }
    summary = route.description.split("\n\n")[0].replace("\n", " ")
    parameters = [parameter(field, "path") for field in route.segments]
    parameters += [parameter(field, "query") for field in route.query]
    if parameters:
        described["parameters"] = parameters
    if route.body is not None:
        described["requestBody"] = request_body(route.body)
    return {"summary": summary, **described}


def operation_id(route: Route, path: str) -> str:
    return "_".join([route.method.lower(), *re.findall(r"\w+", path)])


def parameter(field: Field, where: str) -> dict[str, Any]:
    schema = of_field(field)
    return {
        "name": field.name,
        "in": where,
        "required": field.required,
        "description": schema.pop("description"),
        "schema": schema,
    }


def request_body(body: Table | Any) -> dict[str, Any]:
    """A JSON body, whatever its content type says."""
    if isinstance(body, Table):
        required = [field.name for field in body.fields.values() if field.required]
        schema: Schema = {"type": "object", "properties": of_table(body)} | ({"required": required} if required else {})
    elif body is Any:
        return {"required": False, "content": {"application/json": {"schema": {}}}}
    else:
        [schema], _ = of_types(body)
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def responses(route: Route) -> dict[str, Any]:
    """The answer that is asked for, and all refusals, which have one shape."""
    refused = refusals(route.refusals.shape)
    if not route.content_type:
        return {"204": {"description": "It is done."}} | refused
    if not route.answers and route.content_type == "application/json":
        return refused  # all that the route does is to say why it is not there
    return {"200": success(route)} | refused


def success(route: Route) -> dict[str, Any]:
    schema = one_of(route.answers) if route.answers else {"type": "string"}
    content: dict[str, Any] = {route.content_type: {"schema": schema}}
    if route.events:
        content["text/event-stream"] = {"schema": {"type": "string"}, "x-event-data": one_of(route.events)}
    return {"description": "The answer.", "content": content}


def one_of(types: Sequence[Any]) -> Schema:
    schemas, _ = of_types(*types)
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def refusal(reason: str, shape: Any) -> dict[str, Any]:
    schema = {"$ref": ROOT.format(name=shape.__name__)}
    return {"description": reason, "content": {"application/json": {"schema": schema}}}
