"""Count: HTTP requests by route and status, for the metrics."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

from ..errors import LlamaHTTPError
from ..meter import reason
from .state import STATE

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CLIENT_LEFT = 499
"""The status, in the counts only, of requests whose client did not wait for the answer's end; nginx calls it so."""


@web.middleware
async def count_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """To be placed within the middleware that turns errors into answers."""
    http = request.app[STATE].metrics.http
    http.n_open += 1
    status = 500
    try:
        response = await handler(request)
        status = response.status
        return response
    except LlamaHTTPError as error:
        status = error.status
        http.refused[reason(error)] += 1
        raise
    except web.HTTPException as error:
        status = error.status
        raise
    except (asyncio.CancelledError, ConnectionError):
        status = CLIENT_LEFT
        raise
    finally:
        http.n_open -= 1
        http.responses[route(request), method(request), str(status)] += 1


def route(request: web.Request) -> str:
    """The template of the route: there are as many labels as routes, whatever clients ask for."""
    resource = request.match_info.route.resource
    return "unmatched" if resource is None else resource.canonical


def method(request: web.Request) -> str:
    return request.method if request.method in METHODS else "other"
