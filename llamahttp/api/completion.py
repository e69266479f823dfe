"""Completions: from a decoded request to tasks, and from their results to the response, in any dialect.

Event loop only. A dialect gives the shapes; what is common to all of them is here.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from ..errors import InvalidRequest, LlamaHTTPError
from ..task import RANDOM_SEED, CompletionTask, Finished, PromptProgress, SamplingParams, Tokens
from . import fragments
from .answer import Answer
from .body import json_response
from .constraints import ChatRules, read_rules
from .field import Bias
from .keys import given_key
from .lora import active, read_scales
from .prompt_log import write_prompts
from .resume import send_stream
from .schema import CompletionRequest
from .sse import Sink
from .state import STATE, ServerState

if TYPE_CHECKING:
    from ..engine import Engine

Event = tuple[Answer, PromptProgress | Tokens | Finished]

NO_TOKENS = np.empty(0, np.int32)


class Dialect(Protocol):
    """The shapes of one API: bytes of events for streams, an object for whole answers."""

    id: str
    """What the client may call this completion by in later requests; empty where it is not told."""
    shows_ids: bool
    """Chunks name the ids of their tokens."""

    def begin(self, answer: Answer) -> bytes:
        """What a streamed answer begins with, as soon as there is a stream."""

    def opening(self, answer: Answer) -> bytes:
        """What precedes the first chunk of an answer."""

    def progress(self, answer: Answer, progress: PromptProgress) -> bytes:
        """How far the prompt is computed."""

    def chunk(self, answer: Answer, text: str) -> bytes:
        """New text of an answer, with what else is new since the last chunk."""

    def ending(self, answer: Answer) -> bytes:
        """The end of one answer."""

    def done(self, answers: Sequence[Answer]) -> bytes:
        """The end of the stream."""

    def failure(self, error: LlamaHTTPError) -> bytes:
        """The end of a stream that cannot go on."""

    def whole(self, answers: Sequence[Answer]) -> object:
        """All answers in one JSON value."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt's tokens, int32[n_prompt], and the text that its answers begin with."""

    tokens: NDArray[np.int32]
    prefix: str = ""
    turns: tuple[int, ...] = ()
    """Positions, ascending, where a turn of the conversation begins."""


async def respond(
    http: web.Request,
    request: CompletionRequest,
    prompts: Sequence[Prompt],
    dialect: Dialect,
    chat: ChatRules | None = None,
) -> web.StreamResponse:
    """Run every prompt `n_tries` times and answer. Leaving early, as when the client goes, cancels the tasks.

    `chat`: what is known of a chat's answers.
    """
    state = http.app[STATE]
    engine = state.require_engine()
    rules = await read_rules(engine, request.values, chat, state.config)
    common = replace(common_task(http, request), constraint=rules.constraint)
    common = replace(common, sampling=await with_bias(engine, request.sampling, request.logit_bias))
    await engine.prepare(common.sampling)
    running = functools.partial(run, state, request, prompts, common, dialect, rules.pieces)
    if not request.stream:
        async with running() as answers:
            await collect(answers)
        return json_response(dialect.whole(best(answers, request)))

    async def produce(sink: Sink) -> None:
        async with running() as answers:
            await send_events(sink, request, answers, dialect)

    return await send_stream(http, request.sse_ping_interval, produce)


@asynccontextmanager
async def run(
    state: ServerState,
    request: CompletionRequest,
    prompts: Sequence[Prompt],
    common: CompletionTask,
    dialect: Dialect,
    pieces: Sequence[bytes],
) -> AsyncIterator[list[Answer]]:
    """The answers, whose tasks run within the block. Raises what `Engine.submit` does."""
    engine = state.require_engine()
    if state.config.log_prompts_dir is not None:
        write_prompts(state.config.log_prompts_dir, (engine.detokenize(prompt.tokens) for prompt in prompts))
    async with AsyncExitStack() as stack:
        answers: list[Answer] = []
        for id_prompt, prompt in enumerate(prompts):
            for i in range(request.n_tries):
                sampling = with_seed(common.sampling, i)
                task = replace(common, prompt=prompt.tokens, turns=prompt.turns, sampling=sampling)
                stream = await stack.enter_async_context(engine.submit(task))
                answers.append(
                    Answer(
                        len(answers),
                        id_prompt,
                        len(prompt.tokens),
                        stream,
                        request,
                        pieces,
                        prefix=prompt.prefix,
                        keeps_ids=dialect.shows_ids,
                    )
                )
        stack.enter_context(state.controls.register(dialect.id, request.values["reasoning_control"], answers))
        yield answers


def best(answers: list[Answer], request: CompletionRequest) -> list[Answer]:
    """The answers to show, numbered anew: of each prompt's those whose tokens are the most likely."""
    if request.n_tries == request.n_cmpl:
        return answers
    chosen: list[Answer] = []
    for start in range(0, len(answers), request.n_tries):
        tries = sorted(answers[start : start + request.n_tries], key=lambda answer: -answer.likelihood)
        chosen += tries[: request.n_cmpl]
    for index, answer in enumerate(chosen):
        answer.index = index
    return chosen


def common_task(http: web.Request, request: CompletionRequest) -> CompletionTask:
    """What the tasks of a request have in common. Raises InvalidRequest for adapters that are not there.

    Whole answers come in one delivery unless their end is decided here, token by token. A stream asks for progress
    even if the client does not: the headers go out with the first of it.
    """
    state = http.app[STATE]
    scales = read_scales(request.lora, len(state.lora_scales), "lora") if request.lora else state.lora_scales
    return CompletionTask(
        prompt=NO_TOKENS,
        n_predict=request.n_predict,
        n_probs=request.probs.n_computed,
        stepwise=request.stream or bool(request.stop) or request.t_max_predict_ms > 0 or request.n_indent > 0,
        progress=request.stream,
        cache_prompt=request.cache_prompt,
        n_cache_reuse=request.n_cache_reuse,
        n_keep=request.n_keep,
        n_discard=request.n_discard,
        id_slot=request.id_slot,
        priority=request.priority,
        salt=salt(request.cache_salt, given_key(http) if state.config.salt_by_key else None),
        adapters=active(scales),
        settings={name: request.values[name] for name in fragments.SETTINGS if name in request.values},
    )


def salt(wanted: str, key: str | None) -> str:
    """The salt of a task: what the request wants, and with an API key also a digest that stands for the key."""
    if key is None:
        return wanted
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return f"{digest}:{wanted}"


def with_seed(sampling: SamplingParams, i: int) -> SamplingParams:
    """Sampling of the `i`-th answer to one prompt: a chosen seed counts up, so that the answers differ."""
    if i == 0 or sampling.seed == RANDOM_SEED:
        return sampling
    return replace(sampling, seed=(sampling.seed + i) & 0xFFFFFFFF)


async def with_bias(engine: Engine, sampling: SamplingParams, entries: Sequence[Bias]) -> SamplingParams:
    """`sampling` with the biases of a request: texts become their tokens. Raises InvalidRequest for ids of no token."""
    bias: list[tuple[int, float]] = []
    for token, value in entries:
        if isinstance(token, str):
            ids = await engine.tokenize(token, add_special=False, parse_special=False)
            bias += [(int(id_token), value) for id_token in ids]
        elif 0 <= token < engine.vocab.n_tokens:
            bias.append((token, value))
        else:
            n = engine.vocab.n_tokens
            raise InvalidRequest(f"Field 'logit_bias': there is no token {token}; the vocabulary has {n}")
    return replace(sampling, logit_bias=tuple(bias)) if bias else sampling


async def collect(answers: Sequence[Answer]) -> None:
    """Let every answer come to its end."""
    async with aclosing(merge(answers)) as events:
        async for answer, result in events:
            match result:
                case Tokens():
                    answer.take(result)
                case Finished():
                    answer.finish(result)


async def send_events(sink: Sink, request: CompletionRequest, answers: Sequence[Answer], dialect: Dialect) -> None:
    """Stream the answers. An error before the first result is raised, a later one becomes the last event."""
    unsent = b"".join([dialect.begin(answer) for answer in answers])
    try:
        async with aclosing(merge(answers)) as events:
            async for answer, result in events:
                if not sink.is_open:
                    await sink.open()
                unsent += encode_result(dialect, answer, result, request.return_progress)
                if answer.stream.has_more:
                    continue  # one write for what came at once: writing takes longer than encoding
                sink.write(unsent)
                unsent = b""
                if sink.is_congested:
                    await sink.drain()
        sink.write(unsent + dialect.done(answers))
    except LlamaHTTPError as error:
        if not sink.is_open:
            raise
        sink.write(unsent + dialect.failure(error))


def encode_result(
    dialect: Dialect, answer: Answer, result: PromptProgress | Tokens | Finished, shows_progress: bool
) -> bytes:
    """The events that one result of the engine gives, perhaps none: while text is held back, or after the end."""
    if isinstance(result, Tokens):
        text = answer.take(result)
        data = dialect.chunk(answer, text) if text else b""
        if not answer.has_begun:
            answer.has_begun = True
            data = dialect.opening(answer) + data
        return data
    if isinstance(result, Finished):
        rest = answer.finish(result)
        has_news = rest or answer.n_shown < len(answer.ids)
        data = dialect.chunk(answer, rest) if has_news else b""
        opening = b"" if answer.has_begun else dialect.opening(answer)
        return opening + data + dialect.ending(answer)
    return b"".join(dialect.progress(answer, each) for each in answer.take_progress(result)) if shows_progress else b""


async def merge(answers: Sequence[Answer]) -> AsyncGenerator[Event, None]:
    """The results of all answers as they come. Use with `aclosing`."""
    if len(answers) == 1:
        async for result in answers[0].stream:
            yield answers[0], result
        return
    queue: asyncio.Queue[Event | asyncio.Task[None]] = asyncio.Queue()
    pumps = [asyncio.create_task(_pump(answer, queue)) for answer in answers]
    for pump in pumps:
        pump.add_done_callback(queue.put_nowait)
    n_running = len(pumps)
    try:
        while n_running:
            item = await queue.get()
            if isinstance(item, asyncio.Task):
                item.result()  # raises what ended the answer, if not its proper end
                n_running -= 1
            else:
                yield item
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(answer: Answer, queue: asyncio.Queue[Event | asyncio.Task[None]]) -> None:
    async for result in answer.stream:
        queue.put_nowait((answer, result))
