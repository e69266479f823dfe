"""Route: what a path of the server does, takes and gives. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ..errors import Disabled, NotSupported
from .body import ErrorBody, error_body
from .field import Field, Table
from .shapes import Error

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Refusals:
    """What errors look like where a dialect has its own shape of them."""

    shape: Any
    """The type, for readers of the documentation."""
    body: ErrorBody


LLAMA_REFUSALS = Refusals(Error, error_body)


@dataclass(frozen=True, slots=True)
class Route:
    """One handler and the paths that it serves."""

    method: str
    paths: tuple[str, ...]
    handler: Handler
    """Its docstring is the route's description."""
    tag: str
    body: Table | Any = None
    """Parameters in a JSON object, or the type of a body that is none."""
    query: tuple[Field, ...] = ()
    """Parameters after the path."""
    answers: tuple[Any, ...] = ()
    """Types of a JSON answer; none for another type of content."""
    events: tuple[Any, ...] = ()
    """Types of the events' data, where the answer can be a stream."""
    content_type: str = "application/json"
    """Of the answer; empty where it has no content."""
    segments: tuple[Field, ...] = ()
    """Parameters in the path."""
    refusals: Refusals = LLAMA_REFUSALS

    @property
    def description(self) -> str:
        return inspect.getdoc(self.handler) or ""


def missing(why: str) -> Handler:
    """A handler for a route of llama-server that this server does not have, so that a client learns more than that."""

    async def handler(http: web.Request) -> web.StreamResponse:
        raise NotSupported(f"{http.path}: {why}")

    handler.__doc__ = f"Not supported: {why}."
    return handler


async def disabled(http: web.Request) -> web.StreamResponse:
    """A feature of llama-server that is off by default there, and always off here."""
    raise Disabled("this feature is disabled")
