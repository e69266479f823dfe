"""The HTTP side: requests in the dialects that clients speak, to tasks for the engine and back."""

from __future__ import annotations

import functools

from aiohttp import web

from .admin import DOCUMENT
from .body import ERROR_BODIES, TIMEOUT_S, encode
from .files import add_files
from .middleware import add_headers
from .openapi import document
from .route import Route
from .routes import EVENTS, ROUTES
from .state import STATE


@functools.cache
def encoded_document(prefix: str) -> bytes:
    return encode(document(ROUTES, prefix))


def setup(app: web.Application) -> None:
    """Add the routes. The application must also have `state.STATE` and `middleware.MIDDLEWARES`."""
    config = app[STATE].config.http
    app[TIMEOUT_S] = config.timeout
    app.on_response_prepare.append(add_headers)
    app[DOCUMENT] = functools.partial(encoded_document, config.api_prefix)
    app[ERROR_BODIES] = {}
    for route in ROUTES:
        for path in route.paths:
            add_route(app.router, route, config.api_prefix + path)
            app[ERROR_BODIES][config.api_prefix + path] = route.refusals.body
    add_files(app.router, config)


def add_route(router: web.UrlDispatcher, route: Route, path: str) -> None:
    path = path.replace("{model}", "{model:.+}")  # a model's name may be a path
    if route.method == "GET":
        router.add_get(path, route.handler, allow_head=route.content_type != EVENTS)  # a stream has nothing but a body
    else:
        router.add_route(route.method, path, route.handler)
