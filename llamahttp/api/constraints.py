"""Constraints: from a request's grammar, triggers and budget of thoughts to what its answers have to obey."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..budget import BudgetSpec, Ids
from ..config import ServerConfig
from ..constraint import AnswerConstraint, ConstraintSpec
from ..errors import InvalidRequest
from ..grammar import Grammar
from ..structured.answer import JsonAnswer, RegexAnswer
from ..structured.fault import find_fault
from ..text import ShownPieces
from ..trigger import Trigger, TriggerKind, Triggers
from .answer_format import read_format
from .calls import Reading, answer_grammar, call_grammar
from .field import INT32_MAX, out_of_range, wrong_type

if TYPE_CHECKING:
    from ..engine import Engine

MAX_TRIGGERS = 1024
"""Triggers of a request: each pattern is looked for at every token, on the engine thread."""


@dataclass(frozen=True, slots=True)
class Thoughts:
    """How answers think."""

    start: str
    ends: tuple[str, ...]
    is_open: bool = False
    """The prompt has begun a thought."""


@dataclass(frozen=True, slots=True)
class ChatRules:
    """What is known of a chat's answers better than its request says."""

    thoughts: Thoughts | None
    reading: Reading
    pieces: Sequence[bytes]
    """Bytes of each token, with the control tokens that the format is made of."""
    prefill: str = ""
    """The part of the answer's content that the prompt ends with."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What answers have to obey, and how their tokens show."""

    constraint: Callable[[], AnswerConstraint] | None
    pieces: Sequence[bytes]


async def read_rules(engine: Engine, values: Mapping[str, Any], chat: ChatRules | None, config: ServerConfig) -> Rules:
    """The rules of a request's `values`. Raises InvalidRequest for a grammar or a trigger that cannot be used."""
    vocab = engine.vocab
    preserved = await _preserved(engine, values["preserved_tokens"])
    pieces = vocab.special_pieces if config.special else chat.pieces if chat else vocab.pieces
    if preserved:
        pieces = ShownPieces(pieces, vocab.special_pieces, preserved)
    grammar, triggers = await _grammar(engine, values, chat, preserved, pieces)
    budget = await _budget(engine, values, chat.thoughts if chat else None, config, is_lazy=triggers is not None)
    spec = ConstraintSpec(vocab.special_pieces, vocab.pieces, grammar, triggers, budget)
    return Rules(None if spec.is_empty else spec.start, pieces)


async def _grammar(
    engine: Engine,
    values: Mapping[str, Any],
    chat: ChatRules | None,
    preserved: frozenset[int],
    pieces: Sequence[bytes],
) -> tuple[Grammar | None, Triggers | None]:
    """The request's own grammar, or that of its format and its calls, and what wakes it, if it is a lazy one."""
    format = read_format(values)
    reading = chat.reading if chat else Reading()
    if format or reading.use.tools:
        rule, grammar = await compile_format(engine, *format, reading) if format else ("", None)
        wanted: tuple[Trigger, ...] = ()
        if reading.use.tools:
            grammar, wanted = await compile_calls(engine, reading, rule)
        assert grammar is not None, "there is a format, or there are tools"
        grammar = grammar.showing(pieces)
        if format and chat and chat.prefill:
            grammar = grammar.after(chat.prefill)
        return grammar, Triggers(wanted) if wanted else None
    triggers = await _triggers(engine, values["grammar_triggers"], preserved)
    is_lazy = values["grammar_lazy"]
    if is_lazy and not triggers:
        raise InvalidRequest("Error: no triggers set for lazy grammar!")
    grammar = await engine.compile_grammar(values["grammar"]) if values["grammar"] else None
    return grammar, Triggers(triggers) if is_lazy else None


# --- formats


async def compile_format(
    engine: Engine, name: str, format: JsonAnswer | RegexAnswer, reading: Reading
) -> tuple[str, Grammar]:
    """The rule of what answers have to be, and the grammar of answers that do not call.

    Raises InvalidRequest, which names the field and what of it cannot be enforced.
    """
    try:
        rule = await asyncio.to_thread(format.rule)
        try:
            return rule, (await engine.compile_lark(answer_grammar(rule, reading))).of(name)
        except InvalidRequest:
            fault = await asyncio.to_thread(find_fault, format.schema) if isinstance(format, JsonAnswer) else None
            if fault is None:
                raise
            raise fault from None
    except InvalidRequest as error:
        reason = str(error).removeprefix("failed to parse grammar: ")
        raise InvalidRequest(f"Field '{name}': {reason}", param=name) from None


# --- calls


async def compile_calls(engine: Engine, reading: Reading, answer: str = "") -> tuple[Grammar, tuple[Trigger, ...]]:
    """The grammar of a chat's calls, and what wakes it; `answer` is the rule of an answer in their place.

    Raises InvalidRequest, which names the tool, for parameters that no grammar can see to, of a tool that is strict.
    Other tools may then be called with any arguments.
    """
    try:
        return await _compile_calls(engine, reading, answer=answer)
    except InvalidRequest as error:
        lenient = {name for name in reading.use.tools if not await _is_enforceable(engine, reading, name)}
        if not lenient and reading.use.strict:
            raise InvalidRequest(f"Field 'tools': no grammar of all of them can be made: {error}") from None
        return await _compile_calls(engine, reading, frozenset(lenient or reading.use.tools), answer)


async def _compile_calls(
    engine: Engine, reading: Reading, lenient: frozenset[str] = frozenset(), answer: str = ""
) -> tuple[Grammar, tuple[Trigger, ...]]:
    vocab = engine.vocab
    ends = frozenset(vocab.special_pieces[token].decode("utf-8", "replace") for token in vocab.eog)
    grammar = await asyncio.to_thread(call_grammar, reading, ends, lenient, answer)
    return (await engine.compile_lark(grammar.lark)).of("tools"), grammar.triggers


async def _is_enforceable(engine: Engine, reading: Reading, name: str) -> bool:
    """Whether a grammar can be made of one tool alone. Raises InvalidRequest if it cannot, but has to."""
    use = reading.use
    try:
        await _compile_calls(engine, replace(reading, use=replace(use, tools={name: use.tools[name]})))
    except InvalidRequest as error:
        if name not in use.strict:
            return False
        reason = str(error).partition("JSON schema: ")[2].removesuffix(")") or str(error)
        raise InvalidRequest(f"Field 'tools': the parameters of {name!r} cannot be enforced: {reason}") from None
    return True


async def _preserved(engine: Engine, texts: Sequence[str]) -> frozenset[int]:
    """Those of `texts` that are one token."""
    tokens = [await _tokens(engine, text) for text in texts]
    return frozenset(ids[0] for ids in tokens if len(ids) == 1)


async def _tokens(engine: Engine, text: str) -> Ids:
    return tuple((await engine.tokenize(text, add_special=False)).tolist())


# --- triggers


async def _triggers(engine: Engine, entries: Sequence[object], preserved: frozenset[int]) -> list[Trigger]:
    if len(entries) > MAX_TRIGGERS:
        raise InvalidRequest(f"Field 'grammar_triggers': at most {MAX_TRIGGERS} are allowed, but got {len(entries)}")
    triggers = [_trigger(entry, engine.vocab.n_tokens) for entry in entries]
    return [await _as_token(engine, trigger, preserved) for trigger in triggers]


def _trigger(entry: object, n_tokens: int) -> Trigger:
    if not isinstance(entry, dict):
        raise wrong_type("grammar_triggers", "array of objects", entry)
    kind = _number(entry, "type", max(TriggerKind))
    value = entry.get("value")
    if not isinstance(value, str):
        raise wrong_type("grammar_triggers.value", "string", value)
    if kind != TriggerKind.TOKEN:
        return Trigger(TriggerKind(kind), value)
    return Trigger(TriggerKind.TOKEN, value, _number(entry, "token", n_tokens - 1))


def _number(entry: dict[str, Any], name: str, most: int) -> int:
    value = entry.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(f"grammar_triggers.{name}", "number", value)
    if not 0 <= value <= min(most, INT32_MAX):
        raise out_of_range(f"grammar_triggers.{name}", 0, most, value)
    return value


async def _as_token(engine: Engine, trigger: Trigger, preserved: frozenset[int]) -> Trigger:
    """A word that is one token is looked for as that token, whose text the answer then has to show."""
    if trigger.kind is not TriggerKind.WORD:
        return trigger
    ids = await _tokens(engine, trigger.value)
    if len(ids) != 1:
        return trigger
    if ids[0] not in preserved:
        raise InvalidRequest(f"Grammar trigger word should be marked as preserved token: {trigger.value}")
    return Trigger(TriggerKind.TOKEN, trigger.value, ids[0])


# --- budget


async def _budget(
    engine: Engine, values: Mapping[str, Any], thoughts: Thoughts | None, config: ServerConfig, *, is_lazy: bool
) -> BudgetSpec | None:
    """None where nobody can want a thought to end: without a limit, a control, or a grammar that sleeps meanwhile."""
    if thoughts is None:
        thoughts = Thoughts(values["reasoning_budget_start_tag"], values["reasoning_budget_end_tags"])
    n_tokens = values["reasoning_budget_tokens"]
    n_tokens = config.reasoning_budget if n_tokens < 0 else n_tokens
    is_wanted = n_tokens >= 0 or values["reasoning_control"] or is_lazy
    if not is_wanted or not thoughts.start or not thoughts.ends:
        return None
    start = await _tokens(engine, thoughts.start)
    ends = [await _tokens(engine, end) for end in thoughts.ends]
    message = values["reasoning_budget_message"]
    return BudgetSpec(
        start,
        tuple(ends),
        (*(await _tokens(engine, message) if message else ()), *ends[0]),
        n_tokens,
        start if thoughts.is_open else await _tokens(engine, values["generation_prompt"]),
    )
