"""Exchange: one request and everything that came back, first raw reads with time stamps, then an outcome.

While the clock runs, an exchange only stores what the socket gave and looks for the end of the response;
`outcome` does the parsing when the round is over, so that a client that shares the cores with the server
takes little from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.scenario import Dialect, Request

HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"


class MalformedError(Exception):
    """The bytes are no HTTP response, no event stream or no JSON."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the first lines of a response say. `n_body` is None unless Content-Length gives it (bytes)."""

    status: int
    n_body: int | None
    chunked: bool
    keep_alive: bool

    @classmethod
    def parse(cls, data: bytes) -> Head:
        """Raises MalformedError."""
        first, *lines = data.decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        try:
            version, status, *_ = first.split(" ", 2)
            if not version.startswith("HTTP/1."):
                raise ValueError(version)
            length = fields.get("content-length")
            return cls(
                status=int(status),
                n_body=None if length is None else int(length),
                chunked="chunked" in fields.get("transfer-encoding", "").lower(),
                keep_alive=version == "HTTP/1.1" and fields.get("connection", "").lower() != "close",
            )
        except ValueError:
            raise MalformedError(f"not an HTTP response: {data[:80]!r}") from None


@dataclass(slots=True)
class Exchange:
    """One request on the wire. Times are `time.perf_counter()` seconds."""

    request: Request
    sent_at: float
    reads: list[tuple[float, bytes]] = field(default_factory=list)
    head: Head | None = None
    ended_at: float | None = None
    fault: str | None = None  # why it ended early: seen by the client while the clock ran
    _front: bytearray = field(default_factory=bytearray)  # bytes until the head is complete
    _n_after_head: int = 0
    _tail: bytes = b""

    def feed(self, now: float, data: bytes) -> bool:
        """Take one read; True when the response is complete. Raises MalformedError when it is not HTTP."""
        self.reads.append((now, data))
        if self.head is None:
            self._front += data
            at = self._front.find(HEAD_END)
            if at < 0:
                return False
            self.head = Head.parse(bytes(self._front[:at]))
            # The line end of the head stays before the body: an empty chunked body ends in LAST_CHUNK too.
            data = bytes(self._front[at + 2 :])
            self._n_after_head = -2
        self._n_after_head += len(data)
        if not self._is_complete(data):
            return False
        self.ended_at = now
        return True

    def _is_complete(self, data: bytes) -> bool:
        assert self.head is not None
        if self.head.chunked:
            # JSON and event streams hold no line that is a bare 0, so these bytes are the last chunk.
            self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
            return self._tail == LAST_CHUNK
        return self.head.n_body is not None and self._n_after_head >= self.head.n_body

    def lose(self, now: float, fault: str) -> None:
        """The connection is gone: the proper end of a body without framing, else a fault."""
        self.ended_at = now
        if self.head is None or self.head.chunked or self.head.n_body is not None:
            self.fault = f"{fault} before the end of the answer"

    def fail(self, now: float, fault: str) -> None:
        self.ended_at = now
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one exchange amounts to. Times in seconds; `latency` runs from sending to the last byte.

    `token_times` are the arrivals of the events that carry text, from sending; empty unless streamed.
    `n_predicted` and `n_prompt` are the server's own counts (n_prompt None where it gives none).
    `fault` is None when the answer is whole and as long as asked.
    """

    latency: float
    token_times: list[float]
    n_predicted: int
    n_prompt: int | None
    fault: str | None

    @property
    def ttft(self) -> float | None:
        """Time to first token: from sending the request to the first event that carries text."""
        return self.token_times[0] if self.token_times else None

    @property
    def gaps(self) -> list[float]:
        """Times between successive token events. Events that come in one read share its time: a gap of 0."""
        return [after - before for before, after in zip(self.token_times, self.token_times[1:], strict=False)]


def body_pieces(exchange: Exchange) -> Iterator[tuple[float, bytes]]:
    """The body with head and chunk framing taken off, as (arrival, bytes). Raises MalformedError."""
    assert exchange.head is not None
    pending = bytearray()
    in_body = False
    for now, data in exchange.reads:
        pending += data
        if not in_body:
            at = pending.find(HEAD_END)
            if at < 0:
                continue
            del pending[: at + len(HEAD_END)]
            in_body = True
        if exchange.head.chunked:
            yield from ((now, chunk) for chunk in take_chunks(pending))
        elif pending:
            yield now, bytes(pending)
            pending.clear()


def take_chunks(pending: bytearray) -> Iterator[bytes]:
    """Remove complete chunks (and the last, empty one) from the front of `pending`. Raises MalformedError."""
    while (at := pending.find(b"\r\n")) >= 0:
        try:
            size = int(pending[:at].partition(b";")[0], 16)
        except ValueError:
            raise MalformedError(f"bad chunk size {bytes(pending[:at][:40])!r}") from None
        # size CRLF data CRLF
        end = at + 2 + size + 2
        if len(pending) < end:
            return
        yield bytes(pending[at + 2 : end - 2])
        del pending[:end]


def data_events(exchange: Exchange) -> Iterator[tuple[float, bytes]]:
    """The `data:` fields of the event stream, as (arrival of the last byte, data); comments are left out."""
    pending = b""
    for now, piece in body_pieces(exchange):
        *events, pending = (pending + piece).replace(b"\r\n", b"\n").split(b"\n\n")
        for event in events:
            lines = [line[5:].lstrip() for line in event.split(b"\n") if line.startswith(b"data:")]
            if lines:
                yield now, b"\n".join(lines)


def parse_json(data: bytes) -> dict[str, Any]:
    """Raises MalformedError unless `data` is a JSON object."""
    try:
        value = json.loads(data)
    except ValueError:
        raise MalformedError(f"not JSON: {data[:80]!r}") from None
    if not isinstance(value, dict):
        raise MalformedError(f"not a JSON object: {data[:80]!r}")
    return value


def error_text(answer: dict[str, Any]) -> str:
    error = answer["error"]
    return str(error.get("message", error) if isinstance(error, dict) else error)


def choice_of(answer: dict[str, Any]) -> dict[str, Any]:
    choices = answer.get("choices") or [{}]
    return choices[0] or {}


def carries_text(event: dict[str, Any], dialect: Dialect) -> bool:
    """Whether a client would see something new: text, reasoning or a part of a tool call."""
    if dialect == "native":
        return bool(event.get("content"))
    delta = choice_of(event).get("delta") or {}
    return bool(delta.get("content") or delta.get("reasoning_content") or delta.get("tool_calls"))


@dataclass(slots=True)
class Tally:
    """What the JSON objects of one answer add up to."""

    dialect: Dialect
    n_predicted: int | None = None
    n_prompt: int | None = None
    finished: bool = False

    def take(self, answer: dict[str, Any]) -> None:
        """Raises MalformedError for an error in place of an answer."""
        if "error" in answer:
            raise MalformedError(f"error event: {error_text(answer)}")
        if self.dialect == "embedding":
            self.finished = bool(answer.get("data"))
            return
        if self.dialect == "native":
            self.finished |= bool(answer.get("stop"))
            self.n_predicted = answer.get("tokens_predicted", self.n_predicted)
            self.n_prompt = answer.get("tokens_evaluated", self.n_prompt)
            return
        self.finished |= choice_of(answer).get("finish_reason") is not None
        usage = answer.get("usage") or {}
        self.n_predicted = usage.get("completion_tokens", self.n_predicted)
        self.n_prompt = usage.get("prompt_tokens", self.n_prompt)


def outcome(exchange: Exchange) -> Outcome:
    """Parse a finished exchange; whatever is wrong with it becomes `fault`."""
    assert exchange.ended_at is not None
    tally = Tally(exchange.request.dialect)
    token_times: list[float] = []
    fault = exchange.fault
    try:
        read_answer(exchange, tally, token_times)
    except MalformedError as error:
        fault = fault or str(error)
    # A server that gives no usage sends a token an event as far as anybody can tell.
    n_predicted = len(token_times) if tally.n_predicted is None else tally.n_predicted
    if fault is None and not tally.finished:
        fault = "the answer ended without its final event"
    if fault is None and n_predicted < exchange.request.n_expected:
        fault = f"short answer: {n_predicted} of {exchange.request.n_expected} tokens"
    return Outcome(exchange.ended_at - exchange.sent_at, token_times, n_predicted, tally.n_prompt, fault)


def read_answer(exchange: Exchange, tally: Tally, token_times: list[float]) -> None:
    """Fill `tally` and `token_times`, as far as the answer goes. Raises MalformedError."""
    if exchange.head is None:
        return
    if exchange.head.status != 200:
        raise MalformedError(f"HTTP {exchange.head.status}: {refusal(exchange)}")
    if not exchange.request.stream:
        if exchange.fault is None:
            tally.take(parse_json(b"".join(piece for _, piece in body_pieces(exchange))))
        return
    for now, data in data_events(exchange):
        if data == b"[DONE]":
            continue
        event = parse_json(data)
        tally.take(event)
        if carries_text(event, tally.dialect):
            token_times.append(now - exchange.sent_at)


def refusal(exchange: Exchange) -> str:
    """The message of an error response, or the beginning of its body."""
    body = b"".join(piece for _, piece in body_pieces(exchange))
    try:
        return error_text(parse_json(body))
    except (MalformedError, KeyError):
        return body[:120].decode("utf-8", "replace")
