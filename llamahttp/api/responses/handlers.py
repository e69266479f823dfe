"""Handlers of `/v1/responses`, complete enough for OpenAI's SDK and for Codex, and of what is stored."""

from __future__ import annotations

from aiohttp import web

from ...errors import InvalidRequest, NotFound
from ..body import json_response, read_object
from ..chat_request import count_tokens, read_chat
from ..completion import respond
from ..resume import owner
from ..state import STATE, ServerState
from .dialect import ResponsesDialect
from .items import Item
from .request import ResponseRequest, decode, inputs, read_request
from .shapes import ItemList
from .store import StoredResponse

MAX_PAGE = 100


async def create(http: web.Request) -> web.StreamResponse:
    """Answer a conversation; OpenAI's Responses API. Thoughts, messages and calls are items of the response.

    Responses are stored in memory, unless `store` is false: at most 4096 and 64 MiB, for 24 hours after their last use,
    each for the API key that asked for it.
    """
    state = http.app[STATE]
    wanted = await read_wanted(http, state)
    chat = await read_chat(state, wanted.chat_body())
    return await respond(http, chat.request, [chat.prompt], ResponsesDialect(state, wanted, chat), chat.rules)


async def input_tokens(http: web.Request) -> web.Response:
    """How many tokens the prompt of a response has; nothing is generated."""
    state = http.app[STATE]
    wanted = await read_wanted(http, state)
    n_tokens = await count_tokens(state, wanted.chat_body())
    return json_response({"object": "response.input_tokens", "input_tokens": n_tokens})


async def read_wanted(http: web.Request, state: ServerState) -> ResponseRequest:
    """Raises what a client is told."""
    body = await read_object(http, state.config.max_body)
    state.require_engine()
    return read_request(body, owner(http), state.responses, state.defaults)


async def retrieve(http: web.Request) -> web.Response:
    """A response that is stored."""
    if http.query.get("stream", "false") != "false":
        raise InvalidRequest("Field 'stream': a stored response is not given as events", param="stream")
    return json_response(decode(find(http).response))


async def delete(http: web.Request) -> web.Response:
    """Forget a response. Those that go on from it keep what they need."""
    stored = find(http)
    http.app[STATE].responses.delete(stored.owner, stored.id)
    return json_response({"id": stored.id, "object": "response", "deleted": True})


async def cancel(http: web.Request) -> web.Response:
    """Refuse: responses are made while the client waits, and end when it leaves."""
    stored = find(http)
    raise InvalidRequest(
        f"Response with id {stored.id!r} has ended; only those made in the background can be cancelled."
    )


async def input_items(http: web.Request) -> web.Response:
    """All items that a stored response was made from, those of the responses before it too."""
    items = inputs(find(http))
    return json_response(page(items, http.query.get("order", "desc"), http.query.get("after"), read_limit(http)))


def find(http: web.Request) -> StoredResponse:
    """The response of the path. Raises NotFound."""
    id_response = http.match_info["response_id"]
    stored = http.app[STATE].responses.find(owner(http), id_response)
    if stored is None:
        raise NotFound(f"Response with id {id_response!r} not found.")
    return stored


def read_limit(http: web.Request) -> int:
    text = http.query.get("limit", "20")
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MAX_PAGE):
        raise InvalidRequest(f"Field 'limit': Value must be between 1 and {MAX_PAGE}, but got {text!r}", param="limit")
    return int(text)


def page(items: list[Item], order: str, after: str | None, limit: int) -> ItemList:
    """Raises InvalidRequest for an order that is none, and for an item that is not there."""
    if order not in ("asc", "desc"):
        raise InvalidRequest(f"Field 'order': Value must be one of asc, desc, but got {order!r}", param="order")
    if order == "desc":
        items = items[::-1]
    ids = [item["id"] for item in items]
    if after is not None and after not in ids:
        raise InvalidRequest(f"Field 'after': there is no item {after!r}", param="after")
    start = 0 if after is None else ids.index(after) + 1
    shown = items[start : start + limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": start + limit < len(items),
    }
