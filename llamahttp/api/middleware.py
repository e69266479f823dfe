"""Middleware: the log, errors to JSON, who may call from where, 503 while the model loads, API keys, waking it."""

from __future__ import annotations

import logging
import re
import secrets
import time

from aiohttp import web
from aiohttp.typedefs import Handler

from ..errors import LlamaHTTPError, MethodNotAllowed, NotFound, NotSupported, Unauthorized, Unavailable
from ..version import __version__
from .body import ERROR_BODIES, ErrorBody, error_body, json_response
from .count import count_requests
from .keys import given_key, is_known
from .state import LOADING, STATE, ServerState

log = logging.getLogger(__name__)

PUBLIC = frozenset({"/health", "/v1/health"})
"""Paths that need no API key, beside the page's."""
ASLEEP = frozenset({"/props", "/v1/streams/lookup"})
"""Of the paths that are posted to those that do not need the model."""

ID = web.RequestKey("id", str) if hasattr(web, "RequestKey") else "id"  # which aiohttp has since 3.14
_GOOD_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)

MAX_REASON = 300
"""Characters of an error that are logged; clients' own words may be in it."""

SERVER = f"llama.cpp llamahttp/{__version__}"
"""Clients look for `llama.cpp` in this header to know which extensions there are."""


@web.middleware
async def log_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One line a request, when it has ended; its id is the client's `X-Request-Id`, if it sends one."""
    given = request.headers.get("X-Request-Id", "")
    request[ID] = given if _GOOD_ID.fullmatch(given) else secrets.token_hex(8)
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
        log.log(level, "%s: %s after %.3f s", described(request), outcome, seconds)


def described(request: web.Request) -> str:
    """A request in the log."""
    return f"{request.method} {request.rel_url.raw_path} [{request.get(ID, '-')}]"


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
        log.exception("%s failed", described(request))
        return refuse(request, LlamaHTTPError("internal error; the server's log has the details"))


def refuse(request: web.Request, error: LlamaHTTPError) -> web.Response:
    """The answer to a request that ends with `error`. Raises ConnectionResetError where another one has begun, since
    all that is left then is to break it off."""
    reason = printable(str(error)[:MAX_REASON])
    log.log(log_level(request), "%s refused: %s", described(request), reason)
    if request.writer.output_size > 0:
        raise ConnectionResetError("the response has begun") from None
    response = json_response(error_body_of(request)(error, request.get(ID, "")), error.status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, NotSupported):
        response.headers["x-should-retry"] = "false"  # OpenAI's clients repeat every other 5xx
    return response


def error_body_of(request: web.Request) -> ErrorBody:
    """The shape of errors where the request goes to, or where what its path is below does."""
    resource = request.match_info.route.resource
    path = request.path if resource is None else resource.canonical
    bodies = request.app.get(ERROR_BODIES, {})
    while path:
        if path in bodies:
            return bodies[path]
        path = path.rpartition("/")[0]
    return error_body


def printable(text: str) -> str:
    """`text` without what begins a line of the log or moves a terminal's cursor."""
    return "".join(character if character.isprintable() else " " for character in text)


@web.middleware
async def hosts(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests that a page on the web may have sent here under a name of its own."""
    address = request.transport.get_extra_info("sockname") if request.transport is not None else None
    # no browser speaks over a UNIX socket, and over TLS the certificate would have to be of that name
    if isinstance(address, tuple) and not request.secure:
        request.app[STATE].hosts.check(request.headers.get("Host"), address[1])
    return await handler(request)


@web.middleware
async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer preflights, which carry no key, for any path and at any time. Refuse what a page
    sends without one although it may not."""
    rules = request.app[STATE].cors
    if request.method == "OPTIONS":
        return web.Response(headers=rules.preflight(request.headers))
    rules.check(request.method, request.headers)
    return await handler(request)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal `on_response_prepare`: headers of every response, streams included."""
    headers = response.headers
    headers["Server"] = SERVER
    headers.update(request.app[STATE].cors.answer(request.headers.get("Origin")))
    if ID in request:
        headers["X-Request-Id"] = request[ID]
        if "Anthropic-Version" in request.headers:
            headers["Request-Id"] = request[ID]  # the name that Anthropic's clients look for


@web.middleware
async def loading(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Until the model is loaded only the page is served."""
    state = request.app[STATE]
    if path_of(request, state) not in state.shown:
        if state.error is not None:
            raise LlamaHTTPError("the model could not be loaded; the server's log says why")
        if state.engine is None:
            raise Unavailable(LOADING)
    return await handler(request)


@web.middleware
async def api_key(request: web.Request, handler: Handler) -> web.StreamResponse:
    """With keys configured, all but the public paths need one: `Authorization: Bearer K` or `X-Api-Key: K`."""
    state = request.app[STATE]
    keys, path = state.config.api_keys, path_of(request, state)
    is_public = path in PUBLIC or path in state.shown or path == state.config.http.health_route
    if keys and not is_public and not is_known(given_key(request), keys):
        raise Unauthorized("Invalid API Key")
    return await handler(request)


@web.middleware
async def working(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Requests that need the model wake it, and count as work while they last. A server that stops takes no more."""
    state = request.app[STATE]
    if request.method != "POST" or path_of(request, state) in ASLEEP or request.match_info.http_exception is not None:
        return await handler(request)
    if state.is_stopping:
        raise Unavailable("the server is stopping")
    with state.activity.working():
        await state.wake()
        return await handler(request)


def path_of(request: web.Request, state: ServerState) -> str:
    """The path without the server's prefix."""
    return request.path.removeprefix(state.config.http.api_prefix)


MIDDLEWARES = (log_requests, errors, count_requests, hosts, cors, loading, api_key, working)
"""Outermost first."""
