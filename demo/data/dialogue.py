"""Dialogue: what one sample of the generator is, and how it looks as OpenAI messages.

Knows nothing of tokens: the chat template turns messages into text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call, what the tool answers, both as JSON values."""

    name: str
    arguments: dict[str, Any]
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer.

    `score` says how an answer is judged: "exact" (the reply, but for outer white space), "json" (equal JSON values),
    "call" (the same call, then all `must` strings in the answer to its result), "must" (all of `must` occur, case
    ignored), "" (not scored).
    """

    kind: str
    user: str
    reply: str
    thought: str = ""
    score: str = ""
    must: tuple[str, ...] = ()
    call: Call | None = None
    brief: str = ""  # the reply behind a thought that has done the work already


@dataclass(slots=True)
class Dialogue:
    """Some turns under one system prompt; `kind` is the kind of the last turn, which is the one that is scored."""

    turns: list[Turn]
    system: str | None = None
    tools: list[dict[str, Any]] = field(default_factory=list)
    thinking: bool = False
    label: str = ""

    @property
    def kind(self) -> str:
        return self.label or self.turns[-1].kind

    def messages(self) -> list[dict[str, Any]]:
        """The whole dialogue, answers included."""
        messages = self.prompt()
        last = self.turns[-1]
        thought = last.thought if self.thinking else ""
        if last.call is None:
            return [*messages, _answer(last.brief or last.reply if thought else last.reply, thought)]
        return [*messages, _call_message(last.call, thought), _tool_message(last.call), _answer(last.reply, "")]

    def prompt(self) -> list[dict[str, Any]]:
        """Everything up to the last question."""
        messages: list[dict[str, Any]] = []
        if self.system is not None:
            messages.append({"role": "system", "content": self.system})
        for turn in self.turns[:-1]:
            messages.append({"role": "user", "content": turn.user})
            if turn.call is not None:
                messages += [_call_message(turn.call, ""), _tool_message(turn.call)]
            messages.append(_answer(turn.reply, ""))
        return [*messages, {"role": "user", "content": self.turns[-1].user}]


@dataclass(frozen=True, slots=True)
class Raw:
    """A sample without chat markers: a prompt that is continued by `answer`, then the end of the text."""

    kind: str
    prompt: str
    answer: str
    score: str = ""


def _answer(content: str, thought: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if thought:
        message["reasoning_content"] = thought
    return message


def _call_message(call: Call, thought: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
    message = _answer("", thought)
    message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    return message


def _tool_message(call: Call) -> dict[str, Any]:
    content = json.dumps(call.result, ensure_ascii=False)
    return {"role": "tool", "tool_call_id": "call_1", "content": content}
