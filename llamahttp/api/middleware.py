"""Middleware: the log, errors to JSON, cross-origin rules, 503 while the model loads, API keys."""

from __future__ import annotations

import hmac
import logging
import time
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from ..errors import LlamaHTTPError, MethodNotAllowed, NotFound, NotSupported, Unauthorized, Unavailable
from ..version import __version__
from .body import error_body, json_response
from .count import count_requests
from .page import FILES
from .state import LOADING, STATE

log = logging.getLogger(__name__)

PUBLIC = frozenset({"/health", "/v1/health", *FILES})
"""Paths that need no API key."""

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
"""Pages from these hosts may call the server."""

MAX_REASON = 300
"""Characters of an error that are logged; clients' own words may be in it."""

SERVER = f"llama.cpp llamahttp/{__version__}"
"""Clients look for `llama.cpp` in this header to know which extensions there are."""


@web.middleware
async def log_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One line a request, when it has ended."""
    level = log_level(request)
    if not log.isEnabledFor(level):
        return await handler(request)
    began = time.perf_counter()
    outcome: int | str = "client left"
    try:
        response = await handler(request)
        outcome = response.status
        return response
    finally:
        seconds = time.perf_counter() - began
        log.log(level, "%s %s: %s after %.3f s", request.method, request.rel_url.raw_path, outcome, seconds)


def log_level(request: web.Request) -> int:
    """GETs, which monitors repeat all day, are logged at debug only."""
    return logging.DEBUG if request.method in ("GET", "HEAD", "OPTIONS") else logging.INFO


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error of a handler as JSON; the last place where an unexpected one is caught."""
    try:
        return await handler(request)
    except LlamaHTTPError as error:
        return refuse(request, error)
    except web.HTTPNotFound:
        return refuse(request, NotFound("File Not Found"))
    except web.HTTPMethodNotAllowed as error:
        response = refuse(request, MethodNotAllowed(f"{request.path} does not take {request.method}"))
        response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return response
    except (web.HTTPException, ConnectionError):
        raise
    except Exception:
        log.exception("%s %s failed", request.method, request.rel_url.raw_path)
        if request.writer.output_size > 0:
            raise ConnectionResetError("the response has begun: all that is left is to break it off") from None
        return refuse(request, LlamaHTTPError("internal error; the server's log has the details"))


def refuse(request: web.Request, error: LlamaHTTPError) -> web.Response:
    """The answer to a request that ends with `error`."""
    reason = printable(str(error)[:MAX_REASON])
    log.log(log_level(request), "%s %s refused: %s", request.method, request.rel_url.raw_path, reason)
    response = json_response(error_body(error), error.status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, NotSupported):
        response.headers["x-should-retry"] = "false"  # OpenAI's clients repeat every other 5xx
    return response


def printable(text: str) -> str:
    """`text` without what begins a line of the log or moves a terminal's cursor."""
    return "".join(character if character.isprintable() else " " for character in text)


@web.middleware
async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer preflights, which carry no key, for any path and at any time."""
    if request.method != "OPTIONS":
        return await handler(request)
    return web.Response(
        headers={
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
            # by name: browsers do not count Authorization among `*`
            "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", "*"),
        }
    )


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal `on_response_prepare`: headers of every response, streams included."""
    response.headers["Server"] = SERVER
    origin = request.headers.get("Origin")
    if origin and is_local(origin):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Vary"] = "Origin"


def is_local(origin: str) -> bool:
    try:
        return urlsplit(origin).hostname in LOCAL_HOSTS
    except ValueError:
        return False


@web.middleware
async def loading(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Until the model is loaded only the page is served."""
    state = request.app[STATE]
    if state.error is not None and request.path not in FILES:
        raise LlamaHTTPError("the model could not be loaded; the server's log says why")
    if state.engine is None and request.path not in FILES:
        raise Unavailable(LOADING)
    return await handler(request)


@web.middleware
async def api_key(request: web.Request, handler: Handler) -> web.StreamResponse:
    """With keys configured, all but the public paths need one: `Authorization: Bearer K` or `X-Api-Key: K`."""
    keys = request.app[STATE].config.api_keys
    if keys and request.path not in PUBLIC and not is_known(given_key(request), keys):
        raise Unauthorized("Invalid API Key")
    return await handler(request)


def given_key(request: web.Request) -> str:
    given = request.headers.get("Authorization") or request.headers.get("X-Api-Key") or ""
    return given.removeprefix("Bearer ")


def is_known(given: str, keys: frozenset[str]) -> bool:
    """Whether `given` is one of `keys`, in a time that does not tell how much of one it matches."""
    given_bytes, *key_bytes = (text.encode("utf-8", "surrogateescape") for text in (given, *keys))
    return sum([hmac.compare_digest(given_bytes, key) for key in key_bytes]) > 0


MIDDLEWARES = (log_requests, errors, count_requests, cors, loading, api_key)
"""Outermost first."""
