"""Messages: the routes of Anthropic's API."""

from __future__ import annotations

from aiohttp import web

from ..body import json_response, read_object
from ..chat_request import count_tokens, read_chat
from ..completion import respond
from ..middleware import ID
from ..state import STATE
from .dialect import MessagesDialect
from .parameters import COUNT_TABLE, MESSAGES_TABLE
from .translation import messages_request, prompt_body


async def messages(http: web.Request) -> web.StreamResponse:
    """Answer a conversation; Anthropic's shape, with `thinking` and `tool_use` blocks."""
    state = http.app[STATE]
    request = messages_request(MESSAGES_TABLE.decode(await read_object(http, state.config.max_body)))
    chat = await read_chat(state, request.chat, repeats=False, thinks=False)
    dialect = MessagesDialect(
        request,
        chat.reading,
        model=request.model or state.model_name,
        caches=chat.request.cache_prompt,
        id_request=http[ID],
    )
    return await respond(http, chat.request, [chat.prompt], dialect, chat.rules)


async def count_message_tokens(http: web.Request) -> web.Response:
    """How many tokens the prompt of a conversation has; nothing is generated."""
    state = http.app[STATE]
    body = prompt_body(COUNT_TABLE.decode(await read_object(http, state.config.max_body)))
    return json_response({"input_tokens": await count_tokens(state, body, thinks=False)})
