"""Bodies: JSON in, JSON out, and the shape of an error."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable

import msgspec
from aiohttp import web

from ..errors import BodyTooLarge, InvalidRequest, LlamaHTTPError, RequestTimeout

TIMEOUT_S = web.AppKey("timeout_s", int)
"""How long a client that sends a body may pause; 0, or not set, is for ever."""

GIVEN = web.RequestKey("given", dict[str, object]) if hasattr(web, "RequestKey") else "given"
"""The body of a request that came within another one."""

encode = msgspec.json.Encoder().encode
"""Any JSON value as UTF-8 bytes; strings stay unescaped where JSON allows it."""
_decode = msgspec.json.Decoder().decode


async def read_object(request: web.Request, max_bytes: int) -> dict[str, object]:
    """The JSON object in a request's body. Raises BodyTooLarge, and InvalidRequest for anything else."""
    value = await read_json(request, max_bytes)
    if not isinstance(value, dict):
        raise InvalidRequest(f"the request body must be a JSON object, but is {json_type(value)}")
    return value


async def read_optional(request: web.Request, max_bytes: int) -> object:
    """The JSON value in a request's body; None if there is no body. Raises as `read_json` does."""
    return await read_json(request, max_bytes) if request.body_exists else None


async def read_json(request: web.Request, max_bytes: int) -> object:
    """The JSON value in a request's body, whatever its content type says; a byte order mark before it is nothing.

    Raises BodyTooLarge, and InvalidRequest for what is not JSON. The decoder is written in C and takes about 10 ms
    for 20 MB, so it runs here: it would hold the interpreter's lock in another thread too.
    """
    if GIVEN in request:
        return request[GIVEN]
    body = await read_bytes(request, max_bytes)
    if body.startswith(codecs.BOM_UTF8):
        del body[: len(codecs.BOM_UTF8)]
    if not body or body.isspace():
        raise InvalidRequest("the request has no body; JSON is expected")
    try:
        return _decode(body)
    except RecursionError:
        raise InvalidRequest("the request body is nested too deeply: objects and arrays in each other") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the request body is not valid JSON: {error}") from None


async def read_bytes(request: web.Request, max_bytes: int) -> bytearray:
    """A request's body.

    Raises BodyTooLarge as soon as it is known to be larger than `max_bytes`, InvalidRequest for a compressed one, and
    RequestTimeout for one that does not go on.
    """
    encoding = request.headers.get("Content-Encoding") or "identity"
    if encoding.lower() != "identity":
        raise InvalidRequest(f"the request body is compressed ({encoding}), which this server does not read")
    if (request.content_length or 0) > max_bytes:
        raise too_large(max_bytes)
    body = bytearray()
    while chunk := await _read_piece(request):
        body += chunk
        if len(body) > max_bytes:
            raise too_large(max_bytes)
    return body


async def _read_piece(request: web.Request) -> bytes:
    """The next bytes of a body, b"" after the last. Raises RequestTimeout."""
    content, timeout_s = request.content, request.app.get(TIMEOUT_S, 0)
    if content.is_eof() or timeout_s == 0:  # all is there
        return await content.readany()
    try:
        return await asyncio.wait_for(content.readany(), timeout_s)
    except asyncio.TimeoutError:
        raise RequestTimeout(f"the request body has stood still for {timeout_s} s, which is the limit") from None


def too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the request body is larger than {max_bytes} bytes, which is the limit")


def json_type(value: object) -> str:
    """What JSON calls the type of a decoded value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def json_response(value: object, status: int = 200) -> web.Response:
    return web.Response(body=encode(value), status=status, content_type="application/json", charset="utf-8")


ErrorBody = Callable[[LlamaHTTPError, str], dict[str, object]]
ERROR_BODIES = web.AppKey("error_bodies", dict[str, ErrorBody])
"""What a client gets for an error of the request with an id, by route (as aiohttp writes it)."""


def error_body(error: LlamaHTTPError, id_request: str = "") -> dict[str, object]:
    """What a client gets for `error`, with the keys in llama-server's order, which differs by status."""
    body = error.body()
    if error.status in (401, 404, 503):
        body = {"message": body["message"], "type": body["type"], "code": body["code"]}
    return {"error": body}


def openai_error_body(error: LlamaHTTPError, id_request: str = "") -> dict[str, object]:
    """The same in the shape of OpenAI's newer routes, whose `code` is a word; the figures of llama-server stay."""
    figures = {name: value for name, value in error.body().items() if name not in ("code", "message", "type")}
    return {"error": {"message": str(error), "type": error.type, "param": error.param, "code": error.code, **figures}}
