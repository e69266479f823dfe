from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest

from llamahttp.api.sessions import MAX_BYTES, MAX_ENDED, MAX_ENDED_BYTES, MAX_ID, Session, Sessions
from llamahttp.api.sse import Sink
from llamahttp.errors import EngineError, InvalidRequest, NotFound


def writer(*pieces: bytes, gate: asyncio.Event | None = None) -> Callable[[Sink], Awaitable[None]]:
    """Writes `pieces`, the last of them when `gate` is set."""

    async def produce(sink: Sink) -> None:
        await sink.open()
        for piece in pieces[:-1]:
            sink.write(piece)
        if gate is not None:
            await gate.wait()
        sink.write(pieces[-1])

    return produce


async def read(session: Session, offset: int = 0) -> bytes:
    async with aclosing(session.read(offset)) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_every_reader_gets_every_byte_once() -> None:
    gate = asyncio.Event()
    session = Sessions().start("", "a", 0, writer(b"one", b"two", b"three", gate=gate))
    await session.begun()
    readers = [asyncio.create_task(read(session, offset)) for offset in range(7)]
    await asyncio.sleep(0)
    assert not session.is_done
    gate.set()
    assert [await reader for reader in readers] == [b"onetwothree"[offset:] for offset in range(7)]
    assert session.is_done and session.completed_at >= session.started_at
    assert await read(session, 11) == b""


async def test_a_place_that_does_not_exist_is_refused() -> None:
    session = Sessions().start("", "a", 0, writer(b"12345"))
    await session.begun()
    await read(session)
    with pytest.raises(InvalidRequest, match="it is 6, and the stream has 5 bytes"):
        session.check_offset(6)


async def test_of_a_long_stream_the_end_is_kept() -> None:
    session = Sessions().start("", "a", 0, writer(b"x" * MAX_BYTES, b"12345"))
    await session.begun()
    assert (await read(session, 5))[-10:] == b"xxxxx12345"
    assert session.n_bytes == MAX_BYTES + 5 and session.n_held == MAX_BYTES
    with pytest.raises(InvalidRequest, match=r"Stream offset lost, please restart: 'from' is 4, and .* begins at 5"):
        session.check_offset(4)


async def test_a_reader_that_falls_behind_is_told() -> None:
    gate = asyncio.Event()
    session = Sessions().start("", "a", 0, writer(b"12345", b"x" * MAX_BYTES, gate=gate))
    async with aclosing(session.read(0)) as pieces:
        await session.begun()
        await asyncio.sleep(0)
        gate.set()
        await asyncio.sleep(0.01)
        with pytest.raises(InvalidRequest, match="offset lost"):
            await anext(pieces)


async def test_what_fails_before_it_opens_is_raised_and_forgotten() -> None:
    async def fail(sink: Sink) -> None:
        raise EngineError("no")

    sessions = Sessions()
    session = sessions.start("", "a", 0, fail)
    with pytest.raises(EngineError, match="no"):
        await session.begun()
    await asyncio.sleep(0)
    with pytest.raises(NotFound):
        sessions.find("", "a")


async def test_what_fails_later_ends_it_and_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(sink: Sink) -> None:
        await sink.open()
        sink.write(b"1")
        raise RuntimeError("a mistake")

    sessions = Sessions()
    session = sessions.start("", "a", 0, fail)
    async with aclosing(session.read(0)) as pieces:
        assert await anext(pieces) == b"1"
        with pytest.raises(ConnectionResetError, match="broke off"):  # else it would look whole
            await anext(pieces)
    await asyncio.sleep(0)
    assert sessions.find("", "a") is session
    assert "a mistake" in caplog.text


async def test_silence_is_broken_by_comments_which_are_bytes_like_others() -> None:
    gate = asyncio.Event()
    session = Sessions().start("", "a", 0.02, writer(b"1", b"2", gate=gate))
    await session.begun()
    await asyncio.sleep(0.05)
    gate.set()
    data = await read(session)
    assert data.startswith(b"1:\n\n") and data.endswith(b":\n\n2")
    assert session.n_bytes == len(data)


async def test_what_waits_long_for_its_first_event_opens_with_a_comment() -> None:
    gate = asyncio.Event()

    async def queued(sink: Sink) -> None:
        await gate.wait()
        sink.write(b"1")

    session = Sessions().start("", "a", 0.02, queued)
    await asyncio.wait_for(session.begun(), 1)
    gate.set()
    assert (await read(session)).startswith(b":\n\n")


async def test_a_new_stream_of_a_conversation_ends_the_last_one() -> None:
    sessions, gate = Sessions(), asyncio.Event()
    first = sessions.start("", "a", 0, writer(b"1", b"2", gate=gate))
    await first.begun()
    reader = asyncio.create_task(read(first))
    second = sessions.start("", "a", 0, writer(b"3"))
    assert await reader == b"1", "it ends, with what it has"
    assert sessions.find("", "a") is second
    assert await read(second) == b"3"


async def test_cancelling_before_it_opens_is_said() -> None:
    sessions = Sessions()
    session = sessions.start("", "a", 0, writer(b"1"))
    sessions.cancel("", "a")
    with pytest.raises(InvalidRequest, match="cancelled"):
        await asyncio.wait_for(session.begun(), 1)
    sessions.cancel("", "a")


async def test_sessions_belong_to_a_key() -> None:
    sessions = Sessions()
    session = sessions.start("k1", "a", 0, writer(b"1"))
    assert sessions.find("k1", "a") is session
    for owner in ("k2", ""):
        with pytest.raises(NotFound):
            sessions.find(owner, "a")
        assert sessions.lookup(owner, ["a"]) == []
    sessions.cancel("k2", "a")
    assert sessions.find("k1", "a") is session


async def test_lookup_finds_a_conversation_with_any_model() -> None:
    sessions = Sessions()
    for name in ("a", "a::org/m:Q8", "ab", "b::a", "c::d::m"):
        sessions.start("", name, 0, writer(b"1"))

    def found(*names: str) -> list[str]:
        return [session.conversation_id for session in sessions.lookup("", names)]

    assert found("a") == found("a", "a", "nope", "") == ["a", "a::org/m:Q8"]
    assert found("c") == found("c::d") == found("c::d::m") == ["c::d::m"]
    assert found("a", "b") == ["a", "a::org/m:Q8", "b::a"]


async def test_a_session_is_forgotten_some_time_after_its_end() -> None:
    sessions = Sessions(kept_s=0.05)
    session = sessions.start("", "a", 0, writer(b"1"))
    await read(session)
    assert sessions.find("", "a") is session
    await asyncio.sleep(0.1)
    with pytest.raises(NotFound, match="not found or expired"):
        sessions.find("", "a")


async def test_a_name_has_a_limit() -> None:
    with pytest.raises(InvalidRequest, match=f"{MAX_ID + 1} characters; {MAX_ID} are the limit"):
        Sessions().start("", "a" * (MAX_ID + 1), 0, writer(b"1"))


async def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        Sessions().start("", "a::\udcff", 0, writer(b"1"))
    await read(Sessions().start("", "h\u00e9llo \U0001f600", 0, writer(b"1")))


async def test_those_that_have_ended_are_bounded_by_bytes() -> None:
    sessions = Sessions()
    n = MAX_ENDED_BYTES // MAX_BYTES + 3
    for i in range(n):
        await read(sessions.start("", str(i), 0, writer(b"x" * MAX_BYTES)))
    await asyncio.sleep(0)
    assert sum(len(sessions.lookup("", [str(i)])) for i in range(n)) == n - 3
    assert sessions.lookup("", ["0"]) == sessions.lookup("", ["2"]) == [], "the oldest are gone"


async def test_those_that_have_ended_are_bounded_by_number() -> None:
    sessions = Sessions()
    for i in range(MAX_ENDED + 10):
        await read(sessions.start("", str(i), 0, writer(b"1")))
    await asyncio.sleep(0)
    assert sum(bool(sessions.lookup("", [str(i)])) for i in range(MAX_ENDED + 10)) == MAX_ENDED


async def test_closing_ends_all() -> None:
    sessions = Sessions()
    session = sessions.start("", "a", 0, writer(b"1", b"2", gate=asyncio.Event()))
    await session.begun()
    reader = asyncio.create_task(read(session))
    await sessions.close()
    assert await reader == b"1"
    assert sessions.n_running == 0
