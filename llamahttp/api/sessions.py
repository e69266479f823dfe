"""Sessions: streams that outlive their clients, kept for those that come back.

A client that names its conversation (`X-Conversation-Id`) gets the bytes of the answer from a session. The answer is
generated whether or not somebody reads; whoever has read the first n bytes reads on from there.
Event loop only. Limits are llama-server's, except that it has none for all sessions together.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator

from ..errors import InvalidRequest, NotFound
from .sse import PING, Heartbeat, Sink

log = logging.getLogger(__name__)

MAX_BYTES = 4 << 20
"""Of one session; of a longer stream the oldest bytes are dropped."""
MAX_ENDED_BYTES = 64 << 20
MAX_ENDED = 1024
"""Of sessions that have ended, together; the oldest are dropped."""
KEPT_S = 300.0
"""How long a session is kept after its end."""
MAX_ID = 512
"""Characters of a conversation's name."""

Produce = Callable[[Sink], Awaitable[None]]
"""Writes a whole stream of events."""


class Session:
    """The bytes of one stream, and those who wait for more of them."""

    # written   [0 ........................................ total)
    # dropped   [0 ..... dropped)
    # buffer             [dropped ......................... total)
    # a reader                        [offset ............. total)   gets this, then what is written later

    def __init__(self, conversation_id: str, ping_interval_s: float) -> None:
        self.conversation_id = conversation_id
        self.started_at = int(time.time())
        """Unix time."""
        self.completed_at = 0
        """Unix time; 0 while more may come."""
        self._is_broken = False
        self._buffer = bytearray()
        self._dropped = 0
        self._news: set[asyncio.Event] = set()
        """One for each reader that waits."""
        self.is_open = False
        self._begun = asyncio.Event()
        """It is open, or never will be."""
        self._heartbeat = Heartbeat(ping_interval_s, self._ping)
        self._task: asyncio.Task[None] | None = None
        self.expiry: asyncio.TimerHandle | None = None
        """Forgets it, once it has ended."""

    def start(self, produce: Produce) -> asyncio.Task[None]:
        """Begin to write, in a task of its own."""
        self._heartbeat.start()
        self._task = asyncio.create_task(self._run(produce))
        self._task.add_done_callback(self._end)
        return self._task

    async def _run(self, produce: Produce) -> None:
        await produce(self)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._heartbeat.stop()
        self._is_broken = not task.cancelled() and task.exception() is not None
        self.completed_at = int(time.time())
        self._begun.set()
        self._wake_readers()

    async def begun(self) -> None:
        """Return once there is a stream. Raises what ended it before."""
        await self._begun.wait()
        if not self.is_open:
            assert self._task is not None, "the session has started"
            if self._task.cancelled():
                raise InvalidRequest("the stream was cancelled before it began")
            self._task.result()

    def cancel(self) -> None:
        """Generate no more. Readers get what there is."""
        if self._task is not None:
            self._task.cancel()

    # --- the writer's side: a Sink

    async def open(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.is_open = True
        self._begun.set()

    def _ping(self) -> None:
        self._begin()
        self.write(PING)

    def write(self, data: bytes) -> None:
        if not data:
            return
        self._buffer += data
        if len(self._buffer) > MAX_BYTES:
            n = len(self._buffer) - MAX_BYTES
            del self._buffer[:n]
            self._dropped += n
        self._heartbeat.last_s = asyncio.get_running_loop().time()
        self._wake_readers()

    is_congested = False

    async def drain(self) -> None:
        """There is nobody to wait for."""

    # --- the readers' side

    @property
    def is_done(self) -> bool:
        return self.completed_at > 0

    @property
    def n_bytes(self) -> int:
        """Bytes that were ever written."""
        return self._dropped + len(self._buffer)

    @property
    def n_held(self) -> int:
        """Bytes that are kept."""
        return len(self._buffer)

    def check_offset(self, offset: int) -> None:
        """Raises InvalidRequest unless there are bytes to read on from there, or may be."""
        if offset < self._dropped:
            raise InvalidRequest(
                f"Stream offset lost, please restart: 'from' is {offset}, and what is kept begins at {self._dropped}"
            )
        if offset > self.n_bytes:
            raise InvalidRequest(f"Invalid 'from' offset: it is {offset}, and the stream has {self.n_bytes} bytes")

    async def read(self, offset: int) -> AsyncGenerator[bytes, None]:
        """All bytes from `offset` on, until the end. Raises InvalidRequest where they are no longer kept: also later,
        for a reader that falls `MAX_BYTES` behind; and ConnectionResetError where a fault of ours has ended the stream,
        which must not look whole. Use with `aclosing`."""
        news = asyncio.Event()
        self._news.add(news)
        try:
            while True:
                self.check_offset(offset)
                if offset < self.n_bytes:
                    data = bytes(memoryview(self._buffer)[offset - self._dropped :])
                    offset += len(data)
                    yield data
                elif self._is_broken:
                    raise ConnectionResetError("the stream broke off; the server's log has the details")
                elif self.is_done:
                    return
                else:
                    news.clear()
                    await news.wait()
        finally:
            self._news.discard(news)

    def _wake_readers(self) -> None:
        for news in self._news:
            news.set()


def check_name(conversation_id: str) -> None:
    """Raises InvalidRequest for a name that is too long, or that no JSON could hold: headers are any bytes."""
    if len(conversation_id) > MAX_ID:
        raise InvalidRequest(f"X-Conversation-Id has {len(conversation_id)} characters; {MAX_ID} are the limit")
    try:
        conversation_id.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("X-Conversation-Id is not UTF-8 text") from None


def names_of(conversation_id: str) -> Iterator[str]:
    """What a conversation may be looked up by: its name, and the name without the model behind `::`."""
    yield conversation_id
    at = conversation_id.find("::")
    while at >= 0:
        yield conversation_id[:at]
        at = conversation_id.find("::", at + 1)


class Sessions:
    """The sessions, by who may use them and by conversation."""

    def __init__(self, kept_s: float = KEPT_S) -> None:
        self._kept_s = kept_s
        self._sessions: dict[tuple[str, str], Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, owner: str, conversation_id: str, ping_interval_s: float, produce: Produce) -> Session:
        """A new stream, in the place of the conversation's last one, which is cancelled. `owner` is the API key, or
        empty where none is needed. Raises InvalidRequest for a name that nothing can be called by."""
        check_name(conversation_id)
        self.cancel(owner, conversation_id)
        session = Session(conversation_id, ping_interval_s)
        key = owner, conversation_id
        self._sessions[key] = session
        task = session.start(produce)
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._note_end(key, session, task))
        return session

    def _note_end(self, key: tuple[str, str], session: Session, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if not session.is_open:  # whoever asked for it gets the error; nothing is left to come back to
            self._forget(key, session)
            return
        if error is not None:
            log.error("the stream of %r failed", key[1], exc_info=error)
        if self._sessions.get(key) is session:
            session.expiry = asyncio.get_running_loop().call_later(self._kept_s, self._forget, key, session)
            self._limit()

    def _forget(self, key: tuple[str, str], session: Session) -> None:
        if self._sessions.get(key) is session:
            del self._sessions[key]
        if session.expiry is not None:
            session.expiry.cancel()

    def _limit(self) -> None:
        """Drop the oldest of those that have ended, until the rest is within the limits."""
        ended = [(key, session) for key, session in self._sessions.items() if session.is_done]
        n_bytes, n = sum(session.n_held for _, session in ended), len(ended)
        for key, session in ended:
            if n_bytes <= MAX_ENDED_BYTES and n <= MAX_ENDED:
                return
            self._forget(key, session)
            n_bytes, n = n_bytes - session.n_held, n - 1

    def find(self, owner: str, conversation_id: str) -> Session:
        """Raises NotFound where there is none, or not of this owner."""
        session = self._sessions.get((owner, conversation_id))
        if session is None:
            raise NotFound("Stream not found or expired")
        return session

    def lookup(self, owner: str, conversation_ids: Collection[str]) -> list[Session]:
        """Those of the conversations: under a name, and under `name::model` for any model."""
        wanted = frozenset(conversation_ids) - {""}
        return [
            session
            for (theirs, name), session in self._sessions.items()
            if theirs == owner and not wanted.isdisjoint(names_of(name))
        ]

    def cancel(self, owner: str, conversation_id: str) -> None:
        """End the conversation's stream and forget it, if there is one."""
        session = self._sessions.get((owner, conversation_id))
        if session is not None:
            session.cancel()
            self._forget((owner, conversation_id), session)

    @property
    def n_running(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        """End all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for key, session in list(self._sessions.items()):
            self._forget(key, session)
