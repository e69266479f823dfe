"""Responses: OpenAI's `/v1/responses`, complete enough for its SDK's helpers and for Codex.

A response is a chat's answer in other words: `response_request` makes the chat of it, `response_output` the items of
its answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from aiohttp import web

from ..errors import InvalidRequest, LlamaHTTPError, NotFound
from ..task import PromptProgress
from ..tools.events import Content, Event, Reasoning
from . import fragments
from .answer import Answer
from .body import encode, json_response, openai_error_body, read_object
from .chat_request import ChatRequest, count_tokens, read_chat
from .completion import respond
from .logprobs import GeneratedToken, token_probs
from .response_items import Item, make_id
from .response_output import Output, Payload
from .response_request import ResponseRequest, decode, inputs, read_request
from .response_shapes import ItemList, OpenAIError, ResponseUsage
from .response_store import StoredResponse
from .resume import owner
from .route import Refusals
from .spans import TokenSpans
from .state import STATE, ServerState

REFUSALS = Refusals(OpenAIError, openai_error_body)
MAX_PAGE = 100


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
        self._output = Output(seals_thoughts=wanted.seals_thoughts)
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


# --- routes


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
