"""Answers of two servers side by side: what of them is determined, and where they differ."""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

VOLATILE = {
    *("id", "created", "timings", "time_ms"),  # of one answer
    "id_task",  # counted otherwise
    "id_slot",  # whichever is free; both say so where a request asks for one that is not
}
OURS = {"cache", "state", "n_preempted"}
"""Members that only ours has."""

TOLERANCE = 2e-3
"""Of log probabilities, which are rounded to three digits on the way."""


class Client:
    """One connection to a server, opened again where the server closes it."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def ask(self, method: str, path: str, body: Any) -> Answer:
        data = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, path, data, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
        except (ConnectionError, http.client.RemoteDisconnected):
            self._connection.close()
            self._connection.request(method, path, data, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
        return Answer(response.status, response.headers.get_content_type(), response.read())

    def close(self) -> None:
        self._connection.close()


class Answer:
    """Status, content type, and what the body says: of a stream the list of its events."""

    def __init__(self, status: int, content_type: str, body: bytes) -> None:
        self.status = status
        self.content_type = content_type
        self.body = body

    @classmethod
    def of(cls, status: int, content_type: str, body: bytes) -> Answer:
        return cls(status, content_type.partition(";")[0], body)

    @property
    def told(self) -> Any:
        if self.content_type == "text/event-stream":
            lines = [line.removeprefix("data: ") for line in self.body.decode().split("\n")]
            events = [line if line == "[DONE]" else determined(json.loads(line)) for line in lines if line]
            return sorted(events, key=index_of)
        if self.content_type != "application/json":
            return self.body
        told = determined(json.loads(self.body))
        if self.status >= 400:  # the words are our own; that there are some is compared
            told["error"]["message"] = bool(told["error"]["message"])
        return told


def index_of(event: Any) -> int:
    """Which answer an event is of: those of several come in whatever order."""
    if not isinstance(event, dict):
        return 1 << 30
    choices = event.get("choices", [event])
    return int(choices[0].get("index", 0)) if choices else 1 << 29


def determined(value: Any) -> Any:
    """A JSON value without what differs from answer to answer, but with the names of it."""
    match value:
        case dict():
            return {
                key: type(each).__name__ if key in VOLATILE else determined(each)
                for key, each in value.items()
                if key not in OURS
            }
        case list():
            return [determined(each) for each in value]
    return value


def difference(ours: Answer, reference: Answer) -> str:
    """The first place where two answers differ; nothing for answers that are the same."""
    return next(differences(ours, reference), "")


def differences(ours: Answer, reference: Answer) -> Iterator[str]:
    """Every place where two answers differ, by its path."""
    if (ours.status, ours.content_type) != (reference.status, reference.content_type):
        yield f"{ours.status} {ours.content_type} {ours.body[:200]!r}, {reference.status} {reference.body[:200]!r}"
    else:
        yield from _differences(ours.told, reference.told, "")


def _differences(ours: Any, reference: Any, path: str) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(reference, dict):
        if ours.keys() != reference.keys():
            yield f"{path}: members {sorted(ours.keys() ^ reference.keys())} are not in both"
        for key in ours.keys() & reference.keys():
            yield from _differences(ours[key], reference[key], f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(reference, list):
        if len(ours) != len(reference):
            yield f"{path}: {len(ours)} entries, {len(reference)}: {ours!s:.300}, {reference!s:.300}"
        for i, (one, other) in enumerate(zip(ours, reference)):  # noqa: B905 - what both have
            yield from _differences(one, other, f"{path}[{i}]")
    elif not is_same(ours, reference):
        yield f"{path}: {ours!r}, {reference!r}"


def is_same(ours: Any, reference: Any) -> bool:
    if is_number(ours) and is_number(reference):
        return math.isclose(ours, reference, rel_tol=1e-6, abs_tol=TOLERANCE)
    return type(ours) is type(reference) and bool(ours == reference)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
