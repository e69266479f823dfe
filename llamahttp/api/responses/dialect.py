"""Responses dialect: a chat's answer as a response, whole or in events. Event loop only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from ...errors import LlamaHTTPError
from ...task import PromptProgress
from ...tools.events import Content, Event, Reasoning
from .. import fragments
from ..answer import Answer
from ..body import encode
from ..chat_request import ChatRequest
from ..logprobs import GeneratedToken, token_probs
from ..spans import TokenSpans
from ..state import ServerState
from .items import make_id
from .output import Output, Payload
from .request import ResponseRequest
from .shapes import ResponseUsage


class ResponsesDialect:
    """The shapes of `/v1/responses`."""

    def __init__(self, state: ServerState, wanted: ResponseRequest, chat: ChatRequest) -> None:
        self.id = make_id("resp")
        self.shows_ids = chat.reading.format.reasons  # the tokens of thoughts are counted
        self._state = state
        self._wanted = wanted
        self._request = chat.request
        self._pieces = chat.rules.pieces
        self._parser = chat.reading.parser()
        self._output = Output(seals_thoughts=wanted.seals_thoughts, origins=wanted.origins())
        self._response = wanted.response(self.id, state.model_name, chat.request)
        self._spans: TokenSpans | None = None
        self._n_reasoning = 0
        self._n_events = 0

    # --- streams

    def begin(self, answer: Answer) -> bytes:
        return self._lifecycle("response.created") + self._lifecycle("response.in_progress")

    def opening(self, answer: Answer) -> bytes:
        return b""

    def progress(self, answer: Answer, progress: PromptProgress) -> bytes:
        cost = fragments.cost_so_far(progress) if self._request.timings_per_token else {}
        return self._lifecycle("response.in_progress", {**cost, "prompt_progress": fragments.prompt_progress(progress)})

    def chunk(self, answer: Answer, text: str) -> bytes:
        if not self._request.timings_per_token:
            return b"".join([self._event(payload) for payload in self._take(answer, text)])
        cost = self._cost(answer)
        return b"".join(
            [
                self._event(payload | cost if payload["type"].endswith(".delta") else payload)
                for payload in self._take(answer, text)
            ]
        )

    def ending(self, answer: Answer) -> bytes:
        events = b"".join([self._event(payload) for payload in self._finish(answer)])
        return events + self._lifecycle(f"response.{self._response['status']}", self._cost(answer))

    def done(self, answers: Sequence[Answer]) -> bytes:
        return b""

    def failure(self, error: LlamaHTTPError) -> bytes:
        """An event for those who wait for errors, and the one that ends every stream."""
        code = error.code or ("server_error" if error.status >= 500 else "invalid_prompt")
        self._end("failed")
        self._response["error"] = {"code": code, "message": str(error)}
        told = {"type": "error", "code": code, "message": str(error), "param": error.param}
        return self._event(told) + self._lifecycle("response.failed")

    def _lifecycle(self, kind: str, more: Mapping[str, object] = {}) -> bytes:
        return self._event({"type": kind, "response": self._response, **more})

    def _event(self, payload: Payload) -> bytes:
        payload["sequence_number"] = self._n_events
        self._n_events += 1
        return b"event: %b\ndata: %b\n\n" % (payload["type"].encode(), encode(payload))

    # --- answers

    def whole(self, answers: Sequence[Answer]) -> object:
        [answer] = answers
        for _ in (*self._take(answer, answer.text), *self._finish(answer)):
            pass  # nobody is told of it on the way
        return {**self._response, **self._cost(answer)}

    def _take(self, answer: Answer, text: str) -> Iterator[Payload]:
        answer.n_shown = len(answer.ids)
        if not text:
            return
        if self._parser is None or self._parser.is_plain:
            yield from self._show(answer, Content(text))
            return
        for found in self._parser.feed(text):
            yield from self._show(answer, found)

    def _show(self, answer: Answer, found: Event) -> Iterator[Payload]:
        logprobs: list[GeneratedToken] = []
        if answer.ids and isinstance(found, Content | Reasoning):
            if self._spans is None:
                self._spans = TokenSpans(self._pieces, answer.offset_of(0))
            tokens = self._spans.locate(answer.ids, answer.text, found.text)
            if isinstance(found, Reasoning):
                self._n_reasoning += tokens.stop - tokens.start
            elif self._request.probs.is_shown:
                logprobs = self._logprobs(answer, tokens)
        return self._output.take(found, logprobs)

    def _logprobs(self, answer: Answer, tokens: slice) -> list[GeneratedToken]:
        wanted = replace(self._request.probs, is_post=False)  # there is no other name for those after sampling
        return token_probs(answer.ids[tokens], answer.probs[tokens], wanted, self._pieces)

    def _finish(self, answer: Answer) -> Iterator[Payload]:
        """The rest of the output. The response then is as it will be shown from now on."""
        is_cut = answer.stop_type == "limit"
        for found in self._parser.finish(is_cut=is_cut) if self._parser else ():
            yield from self._show(answer, found)
        yield from self._output.finish(is_cut=is_cut)
        self._end("incomplete" if is_cut else "completed")
        self._response["usage"] = self._usage(answer)
        if self._wanted.values["store"]:
            self._state.responses.put(self._wanted.stored(self._response))

    def _end(self, status: Literal["completed", "incomplete", "failed"]) -> None:
        self._response["status"] = status
        self._response["output"] = self._output.items
        if status == "completed":
            self._response["completed_at"] = int(time.time())
        if status == "incomplete":
            self._response["incomplete_details"] = {"reason": "max_output_tokens"}

    def _usage(self, answer: Answer) -> ResponseUsage:
        assert answer.timings is not None, "the answer has ended"
        n_cached = answer.timings.n_cached
        n_written = answer.n_prompt - n_cached if self._request.cache_prompt else 0
        return {
            "input_tokens": answer.n_prompt,
            "input_tokens_details": {"cached_tokens": n_cached, "cache_write_tokens": n_written},
            "output_tokens": answer.n_predicted,
            "output_tokens_details": {"reasoning_tokens": self._n_reasoning},
            "total_tokens": answer.n_prompt + answer.n_predicted,
        }

    def _cost(self, answer: Answer) -> dict[str, object]:
        assert answer.timings is not None, "there are tokens"
        return fragments.cost(answer.timings)
