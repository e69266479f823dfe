"""Dialect: the events and the message that the Messages API answers with."""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import LlamaHTTPError
from ...task import PromptProgress, StopReason
from ...tools.events import CallText, Content, Event
from ..answer import Answer
from ..body import encode
from ..calls import Reading
from .blocks import BlockWriter, whole_blocks
from .errors import anthropic_error_body
from .translation import MessagesRequest

ALPHABET = string.ascii_letters + string.digits


def message_id() -> str:
    return "msg_" + "".join(secrets.choice(ALPHABET) for _ in range(24))


def event(value: dict[str, Any]) -> bytes:
    """One event, named by its type as clients want it."""
    return b"event: %b\ndata: %b\n\n" % (value["type"].encode(), encode(value))


PING = event({"type": "ping"})


class MessagesDialect:
    """The shapes of `/v1/messages`; for one request, which has one answer."""

    shows_ids = False

    def __init__(
        self, request: MessagesRequest, reading: Reading, *, model: str, caches: bool, id_request: str
    ) -> None:
        """`model`: the name to show. `caches`: what is computed for the prompt is kept."""
        self.id = message_id()
        self._request = request
        self._model = model
        self._counts_new = caches and request.marks_cache
        self._id_request = id_request
        self._parser = reading.parser()
        self._blocks = BlockWriter(self.id, request.thoughts)
        self._has_begun = False
        self._head = b""
        """What precedes the text in events of the open block of text."""

    # --- streamed

    def begin(self, answer: Answer) -> bytes:
        return b""

    def progress(self, answer: Answer, progress: PromptProgress) -> bytes:
        """The first report tells what is cached, so the message can begin."""
        return PING if self._has_begun else self._start(answer, progress.n_cached)

    def opening(self, answer: Answer) -> bytes:
        """For an answer without such a report."""
        if self._has_begun:
            return b""
        return self._start(answer, answer.timings.n_cached if answer.timings else 0)

    def _start(self, answer: Answer, n_cached: int) -> bytes:
        self._has_begun = True
        usage = self._usage(answer.n_prompt, n_cached, 0)
        return event({"type": "message_start", "message": self._message([], None, None, usage)})

    def chunk(self, answer: Answer, text: str) -> bytes:
        parser = self._parser
        return self._show([Content(text)] if parser is None or parser.is_plain else parser.feed(text))

    def _show(self, found: Sequence[Event]) -> bytes:
        match found:
            case [Content(text)] if self._blocks.open == "text":
                return b"%b%b}}\n\n" % (self._head, encode(text))
        data = b"".join(map(event, self._events(found)))
        if self._blocks.open == "text":
            self._head = event(self._blocks.delta("text", "")).removesuffix(b'""}}\n\n')
        return data

    def _events(self, found: Sequence[Event]) -> Iterator[dict[str, Any]]:
        for each in found:
            yield from self._blocks.take(each)

    def ending(self, answer: Answer) -> bytes:
        last = self._show(self._rest(answer)) + b"".join(map(event, self._blocks.close()))
        stop_reason, stop_sequence = self._stop(answer)
        delta = {"stop_reason": stop_reason, "stop_sequence": stop_sequence}
        return last + event({"type": "message_delta", "delta": delta, "usage": self._final_usage(answer)})

    def done(self, answers: Sequence[Answer]) -> bytes:
        return event({"type": "message_stop"})

    def failure(self, error: LlamaHTTPError) -> bytes:
        return event(anthropic_error_body(error, self._id_request))

    # --- whole

    def whole(self, answers: Sequence[Answer]) -> object:
        [answer] = answers
        found = self._parser.feed(answer.text) if self._parser else [Content(answer.text)] if answer.text else []
        blocks = whole_blocks([*self._events([*found, *self._rest(answer)]), *self._blocks.close()])
        return self._message(blocks, *self._stop(answer), self._final_usage(answer))

    # --- both

    def _rest(self, answer: Answer) -> list[Event]:
        """What the parser has kept back. What is left of a call that was cut off is no JSON, which clients fail at."""
        if self._parser is None:
            return []
        is_cut = answer.stop_type != "eos"
        found = self._parser.finish(is_cut=is_cut)
        if is_cut and not self._parser.has_whole_calls:
            return [each for each in found if not isinstance(each, CallText)]
        return found

    def _message(
        self, blocks: list[dict[str, Any]], stop_reason: str | None, stop_sequence: str | None, usage: dict[str, int]
    ) -> dict[str, object]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "content": blocks,
            "model": self._model,
            "stop_reason": stop_reason,
            "stop_sequence": stop_sequence,
            "usage": usage,
        }

    def _stop(self, answer: Answer) -> tuple[str, str | None]:
        """Why the answer has ended, and which stop sequence did it. `tool_use` only for calls that are all whole: a
        client runs them then."""
        if answer.stop_type == "limit":
            is_full = answer.finished is not None and answer.finished.reason is StopReason.CONTEXT
            return "model_context_window_exceeded" if is_full else "max_tokens", None
        if answer.stop_type == "word" and answer.stopping_word in self._request.stops:
            return "stop_sequence", answer.stopping_word
        return "tool_use" if self._parser and self._parser.has_whole_calls else "end_turn", None

    def _final_usage(self, answer: Answer) -> dict[str, int]:
        assert answer.timings is not None, "the answer has not ended"
        return self._usage(answer.n_prompt, answer.timings.n_cached, answer.n_predicted)

    def _usage(self, n_prompt: int, n_cached: int, n_predicted: int) -> dict[str, int]:
        """A prompt's last token is always computed, never read: it is not counted as new in the cache."""
        n_computed = n_prompt - n_cached
        n_new = max(n_computed - 1, 0) if self._counts_new else 0
        return {
            "input_tokens": n_computed - n_new,
            "cache_creation_input_tokens": n_new,
            "cache_read_input_tokens": n_cached,
            "output_tokens": n_predicted,
        }
