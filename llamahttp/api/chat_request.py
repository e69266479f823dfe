"""Chat requests: a chat body, of whichever dialect it was made, to what is to run and how its answers are read."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .calls import Reading, read_answers
from .chat import ChatPrompt, chat_prompt
from .completion import Prompt
from .constraints import ChatRules, Thoughts
from .parameters import CHAT_TABLE
from .prompt import tokenize_prompt
from .schema import CompletionRequest
from .state import ServerState
from .turns import token_positions


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What `completion.respond` takes, but for the dialect, and what the dialect needs to know."""

    request: CompletionRequest
    prompt: Prompt
    reading: Reading
    rules: ChatRules


async def render_chat(
    state: ServerState,
    body: Mapping[str, object],
    values: Mapping[str, Any],
    *,
    finds_turns: bool = False,
    thinks: bool = True,
) -> ChatPrompt:
    """`chat_prompt`, beside the event loop."""
    template = state.require_template()
    return await state.renderer.run(
        functools.partial(chat_prompt, body, values, template, state.config, finds_turns=finds_turns, thinks=thinks)
    )


async def read_chat(
    state: ServerState, body: Mapping[str, object], *, repeats: bool = True, thinks: bool = True
) -> ChatRequest:
    """Decode and render a body of `/v1/chat/completions`; `repeats`: answers that go on with a message begin with it,
    where llama-server's do; `thinks`: as for `chat_prompt`. Raises what a client is told."""
    engine = state.require_engine()
    request = state.decode(CHAT_TABLE, body)
    chat = await render_chat(state, body, request.values, finds_turns=engine.wants_turns, thinks=thinks)
    parses = not state.config.skip_chat_parsing
    reading = read_answers(chat, request.values["reasoning_format"], parses=parses)
    tokens = await tokenize_prompt(engine, chat.text)
    turns = token_positions(chat.turns, chat.text, tokens, engine.vocab)
    prompt = Prompt(tokens, answer_prefix(request, chat, repeats=repeats), turns)
    pieces = state.pieces_of(chat.format) if parses else engine.vocab.pieces
    rules = ChatRules(thoughts_of(reading), reading, pieces, chat.prefill)
    return ChatRequest(request, prompt, reading, rules)


async def count_tokens(state: ServerState, body: Mapping[str, object], *, thinks: bool = True) -> int:
    """Tokens of the prompt that a body of `/v1/chat/completions` becomes. Raises what a client is told."""
    values = CHAT_TABLE.decode(body, state.defaults)
    chat = await render_chat(state, body, values, thinks=thinks)
    return len(await tokenize_prompt(state.require_engine(), chat.text))


def thoughts_of(reading: Reading) -> Thoughts | None:
    """How answers think; None if they do not. Where a call may end a thought, its beginning does."""
    thought = reading.format.thought
    if thought is None:
        return None
    ends = [thought.end.strip()]
    if thought.ends_with_call:
        ends += [word for island in reading.format.calls for word in island.firsts]
    return Thoughts(thought.start.strip(), tuple(ends), is_open=reading.is_open)


def answer_prefix(request: CompletionRequest, chat: ChatPrompt, *, repeats: bool) -> str:
    """What the prompt already holds of the answer and the client is to see.

    A message that is continued is part of the answer, as in llama-server, but of a stream only without being asked to.
    """
    if chat.thought and request.values["reasoning_format"] == "none":
        return chat.thought
    is_left_out = request.stream and bool(request.values["continue_final_message"])
    return chat.prefill if request.echo or (repeats and not is_left_out) else ""
