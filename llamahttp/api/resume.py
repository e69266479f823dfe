"""Resuming: streams to the clients that asked for them, and to those that come back for the rest."""

from __future__ import annotations

from contextlib import aclosing
from typing import TypedDict

from aiohttp import web

from ..errors import InvalidRequest, LlamaHTTPError
from .activity import Activity
from .body import json_response, read_object
from .field import Field, Kind, Table
from .keys import given_key
from .sessions import Produce, Session
from .sse import EventStream, Sink, error_event
from .state import STATE

CONVERSATION = "X-Conversation-Id"
MAX_LOOKUP = 1000

QUERY = (
    Field("conv_id", Kind.STRING, None, "What `X-Conversation-Id` called the stream.", required=True),
    Field("from", Kind.INTEGER, 0, "Bytes of the stream that are there already.", low=0),
)
"""Parameters after the path of `/v1/stream`."""
TABLE = Table((Field("conversation_ids", Kind.STRINGS, (), "Conversations to look for.", high=MAX_LOOKUP),))
"""Parameters of a lookup."""


class Found(TypedDict):
    """A stream that can be resumed; times are Unix seconds, 0 for an end that has not come."""

    conversation_id: str
    is_done: bool
    total_bytes: int
    started_at: int
    completed_at: int


async def send_stream(http: web.Request, ping_interval_s: float, produce: Produce) -> web.StreamResponse:
    """Answer with what `produce` writes. What it raises before it opens the stream is raised here.

    Where the client names its conversation, the stream goes on without the client.
    """
    state = http.app[STATE]
    if conversation_id := http.headers.get(CONVERSATION):
        work = as_work(state.activity, produce)
        session = state.sessions.start(owner(http), conversation_id, ping_interval_s, work)
        await session.begun()
        return await follow(http, session, 0)
    sse = EventStream(http, ping_interval_s, state.config.http.timeout)
    try:
        await produce(sse)
    finally:
        sse.stop_pings()
    return await sse.close()


def as_work(activity: Activity, produce: Produce) -> Produce:
    """`produce`, which counts as work whether or not a request waits for it."""

    async def produce_at_work(sink: Sink) -> None:
        with activity.working():
            await produce(sink)

    return produce_at_work


def owner(http: web.Request) -> str:
    """Whose sessions a request may see: those of its API key, where one is needed."""
    return given_key(http) if http.app[STATE].config.api_keys else ""


async def follow(http: web.Request, session: Session, offset: int) -> web.StreamResponse:
    """Send the bytes of a session from `offset` on, until its end."""
    sse = EventStream(http, 0, http.app[STATE].config.http.timeout)  # comments are among its bytes
    await sse.open()
    try:
        async with aclosing(session.read(offset)) as pieces:
            async for data in pieces:
                sse.write(data)
                if sse.is_congested:
                    await sse.drain()
    except LlamaHTTPError as error:  # it reads too slowly; the answer has begun, so that is its last event
        sse.write(error_event(error))
    return await sse.close()


async def resume(http: web.Request) -> web.StreamResponse:
    """`GET /v1/stream?conv_id=&from=`: a stream from a byte on, and what is still to come."""
    session = http.app[STATE].sessions.find(owner(http), read_conversation(http))
    await session.begun()
    offset = read_offset(http)
    session.check_offset(offset)
    return await follow(http, session, offset)


async def stop(http: web.Request) -> web.StreamResponse:
    """`DELETE /v1/stream?conv_id=`: end a stream and forget it. Succeeds too where there is none."""
    http.app[STATE].sessions.cancel(owner(http), read_conversation(http))
    return web.Response(status=204)


async def lookup(http: web.Request) -> web.StreamResponse:
    """`POST /v1/streams/lookup`: which of the conversations have a stream."""
    state = http.app[STATE]
    names = TABLE.decode(await read_object(http, state.config.max_body))["conversation_ids"]
    return json_response([show(session) for session in state.sessions.lookup(owner(http), names)])


def show(session: Session) -> Found:
    return {
        "conversation_id": session.conversation_id,
        "is_done": session.is_done,
        "total_bytes": session.n_bytes,
        "started_at": session.started_at,
        "completed_at": session.completed_at,
    }


def read_conversation(http: web.Request) -> str:
    name = http.query.get("conv_id", "")
    if not name:
        raise InvalidRequest("Missing conversation id: the query needs 'conv_id'")
    return name


def read_offset(http: web.Request) -> int:
    text = http.query.get("from", "") or "0"
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise InvalidRequest(f"Invalid 'from' offset: {text[:100]!r} is not a number of bytes")
    return int(text)
