"""The HTTP side: requests in the dialects that clients speak, to tasks for the engine and back."""

from __future__ import annotations

import functools

from aiohttp import web

from ..config import HttpConfig
from ..errors import StartupError
from . import admin
from .admin import DOCUMENT
from .body import ERROR_BODIES, TIMEOUT_S, encode
from .files import add_files
from .middleware import add_headers
from .openapi import document
from .predict import Predict
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
    add_predict(app.router, config)
    add_files(app.router, config)


def add_predict(router: web.UrlDispatcher, config: HttpConfig) -> None:
    """Vertex AI's routes, where it runs the server. Raises StartupError for a path that means something else."""
    taken = {path for route in ROUTES for path in route.paths}
    if config.predict_route in taken:
        raise StartupError(f"AIP_PREDICT_ROUTE={config.predict_route} is a route of its own")
    if config.predict_route:
        router.add_post(config.api_prefix + config.predict_route, Predict(ROUTES).answer)
    if config.health_route and config.health_route not in taken:
        router.add_get(config.api_prefix + config.health_route, admin.health)


def add_route(router: web.UrlDispatcher, route: Route, path: str) -> None:
    path = path.replace("{model}", "{model:.+}")  # a model's name may be a path
    if route.method == "GET":
        router.add_get(path, route.handler, allow_head=route.content_type != EVENTS)  # a stream has nothing but a body
    else:
        router.add_route(route.method, path, route.handler)
