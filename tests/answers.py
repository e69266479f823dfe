"""Answers, held against what `/openapi.json` promises: nothing may be missing, and nothing may be there beside it."""

from __future__ import annotations

import copy
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

URI = "urn:openapi"


class Document:
    """An OpenAPI document as a judge."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = closed(document)
        resource = Resource.from_contents(self.document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(URI, resource)

    def check(self, path: str, method: str, status: int, answer: object) -> None:
        """A JSON answer to a request. Raises AssertionError."""
        responses = self.document["paths"][path][method]["responses"]
        assert str(status) in responses, f"{method} {path}: status {status} is not documented"
        self._validate(responses[str(status)]["content"]["application/json"]["schema"], answer)

    def check_event(self, path: str, event: object) -> None:
        """The data of an event of a streamed answer, or of an error in its place."""
        responses = self.document["paths"][path]["post"]["responses"]
        error = responses["400"]["content"]["application/json"]["schema"]
        events = responses["200"]["content"]["text/event-stream"]["x-event-data"]
        self._validate({"anyOf": [events, error]}, event)

    def _validate(self, schema: dict[str, Any], value: object) -> None:
        validator = Draft202012Validator(absolute(schema), registry=self._registry)
        problems = [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(value)]
        details = [
            f"{inner.json_path}: {inner.message[:200]}"
            for error in validator.iter_errors(value)
            for inner in error.context or ()
        ]
        assert not problems, "\n".join([*problems, *details])


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """A document whose objects allow no members but those that they name."""
    document = copy.deepcopy(document)
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    # nested paths that a request picks are members of their own
    document["components"]["schemas"]["Completion"]["patternProperties"] = {"/": {}}
    return document


def absolute(schema: Any) -> Any:
    """References into the document, which the schema itself is not."""
    if isinstance(schema, dict):
        return {key: URI + value if key == "$ref" else absolute(value) for key, value in schema.items()}
    return [absolute(each) for each in schema] if isinstance(schema, list) else schema
