"""Messages as a chat template takes them: what one cannot take is put into another form, as llama-server does. Pure.

Most of it follows from the template's capabilities. For a few templates, known by a part of their source, there is
more: they lose what belongs to a conversation, or make of it what their models were not trained on.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from .errors import InvalidRequest
from .template_caps import Message, TemplateCaps

SYSTEM = ("system", "developer")


class Adapter:
    """Puts messages into the form that one template takes."""

    def __init__(self, caps: TemplateCaps, source: str) -> None:
        self._caps = caps
        self._knows_developer = "<|channel|>" in source  # gpt-oss
        self._steps = [step for applies, step in _STEPS if applies(source)]

    def __call__(self, messages: Sequence[Message]) -> list[Message]:
        """Copies of `messages`, adapted. Raises InvalidRequest for parts that are not text."""
        adapted = list(map(self._message, messages))
        for step in self._steps:
            adapted = step(adapted)
        if not self._caps.late_system:
            adapted = _with_late_system(adapted)
        if not self._caps.system_role:
            _merge_system(adapted)
        return adapted

    def _message(self, message: Message) -> Message:
        message = _with_thinking({key: value for key, value in message.items() if value is not None})
        if message.get("role") == "developer" and not self._knows_developer:
            message["role"] = "system"
        message["content"] = self._content(message.get("content", ""))
        calls = message.pop("tool_calls", None)
        if calls:
            message["tool_calls"] = self._calls(calls)
        return message

    def _content(self, content: Any) -> Any:
        if isinstance(content, str) and not self._caps.string_content:
            return [{"type": "text", "text": content}]
        if isinstance(content, list):
            return list(content) if self._caps.typed_content else message_text({"content": content})
        return content

    def _calls(self, calls: Any) -> Any:
        return list(map(_with_object_arguments, calls)) if self._caps.object_arguments else calls


def message_text(message: Message, field: str = "content") -> str:
    """A field of a message as one text; parts stand on lines of their own. Raises InvalidRequest for other parts."""
    value = message.get(field)
    if isinstance(value, list):
        return functools.reduce(_on_new_line, map(_part_text, value), "")
    return value or ""


def last_text(value: Any) -> str:
    """The text that a field of a message ends with: all of it, or that of its last part."""
    if isinstance(value, list):
        return _part_text(value[-1]) if value else ""
    return value or ""


def _on_new_line(text: str, more: str) -> str:
    return f"{text}\n{more}" if text else more


def _part_text(part: Any) -> str:
    """Raises InvalidRequest for a part that is not text."""
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": kind}:
            raise InvalidRequest(f"the chat template takes content parts of type text, not {kind!r}")
    raise InvalidRequest(f"a content part must be an object with a type, not {part!r}")


def _with_thinking(message: Message) -> Message:
    """`message`, its thoughts under both names that templates have for them, as transformers gives them."""
    names = ("reasoning_content", "thinking", "reasoning")
    thought = next((message[name] for name in names if name in message), None)
    return message if thought is None else {"thinking": thought, **message, "reasoning_content": thought}


def _with_object_arguments(call: Any) -> Any:
    """A tool call with its arguments parsed, none if there is no text; as it is if they are no JSON.

    Models write such calls, and a conversation should not end with one.
    """
    match call:
        case {"function": {"arguments": str(arguments)}}:
            try:
                parsed = json.loads(arguments) if arguments.strip() else {}
            except (ValueError, RecursionError):
                return call
            return call | {"function": call["function"] | {"arguments": parsed}}
    return call


def _merge_system(messages: list[Message]) -> None:
    """Put a leading system message into the user's, for templates that know no system role."""
    if not messages or messages[0].get("role") != "system":
        return
    system = messages[0] | {"role": "user"}
    following = messages[1] if len(messages) > 1 else {}
    if following.get("role") == "user":
        messages[:2] = [following | {"content": _joined(system["content"], following["content"])}]
    else:
        messages[0] = system


def _with_late_system(messages: Sequence[Message]) -> list[Message]:
    """System messages after the first as a part of what is beside them, for templates that lose or refuse them: of the
    system message right before, or else of a user's. What comes before stays as it was, and so does what is cached."""
    told: list[Message] = []
    is_late = False
    for message in messages:
        last = told[-1] if told else {}
        role, before = message.get("role"), last.get("role")
        is_next = is_late and role == "user"
        is_late = role in SYSTEM and bool(told) and before not in SYSTEM
        if (is_late and before == "user") or is_next or (role in SYSTEM and before in SYSTEM):
            told[-1] = last | {"content": _joined(last["content"], message["content"])}
        else:
            told.append(message | {"role": "user"} if is_late else message)
    return told


def _joined(content: Any, more: Any) -> Any:
    """Two contents as one, on lines of their own."""
    if isinstance(content, str) and isinstance(more, str):
        return f"{content}\n{more}"
    parts = [[{"type": "text", "text": each}] if isinstance(each, str) else each for each in (content, more)]
    return [*parts[0], *parts[1]]


def _trimmed(messages: list[Message]) -> list[Message]:
    """Without white space around texts, which drives StepFun's models into thinking in circles."""

    def trim(value: Any) -> Any:
        if isinstance(value, list):
            return [part | {"text": _part_text(part).strip()} for part in value]
        return value.strip() if isinstance(value, str) else value

    names = ("content", "reasoning_content", "thinking")
    return [message | {name: trim(message[name]) for name in names if name in message} for message in messages]


def _with_thinking_parts(messages: list[Message]) -> list[Message]:
    """Thoughts as parts of the content, where Ministral's templates look for them."""

    def convert(message: Message) -> Message:
        if message.get("role") not in ("system", "assistant"):
            return message
        thought, content = message.get("reasoning_content"), message["content"]
        parts = [{"type": "thinking", "thinking": thought}] if thought else []
        parts += [{"type": "text", "text": content}] if isinstance(content, str) else content
        return message | {"content": parts} if thought else message

    return list(map(convert, messages))


def _with_tool_responses(messages: list[Message]) -> list[Message]:
    """The results of calls as a part of the message that made them, where the first templates of Gemma 4 look.

    The answer to them then is the content of that message, unless it makes calls of its own.
    """
    converted: list[Message] = []
    for message in messages:
        last = converted[-1] if converted else {}
        if message.get("role") == "tool" and last.get("tool_calls"):
            name = message.get("name") or _called_name(last["tool_calls"], message.get("tool_call_id"))
            response = {"name": name, "response": _parsed(message["content"])}
            last["tool_responses"] = [*last.get("tool_responses", ()), response]
        elif _is_answer(message) and last.get("tool_responses") and not last["content"]:
            # a turn goes on until the user says something
            converted[-1] = last | {"content": message["content"]}
        else:
            converted.append(dict(message))
    return converted


def _is_answer(message: Message) -> bool:
    return message.get("role") == "assistant" and not message.get("tool_calls")


def _called_name(calls: Any, id_call: Any) -> str:
    """The name of the tool that was called with this id."""
    for call in calls:
        match call:
            case {"id": id, "function": {"name": str(name)}} if id == id_call:
                return name
    return "unknown"


def _parsed(content: Any) -> Any:
    """The value that a tool's result is the JSON of; the result itself if it is no JSON."""
    try:
        return json.loads(content) if isinstance(content, str) else content
    except (ValueError, RecursionError):
        return content


_STEPS: tuple[tuple[Callable[[str], bool], Callable[[list[Message]], list[Message]]], ...] = (
    (lambda source: "You have access to the following functions in JSONSchema format" in source, _trimmed),
    (
        lambda source: all(mark in source for mark in ("[SYSTEM_PROMPT]", "[TOOL_CALLS]", "[ARGS]", "'thinking'")),
        _with_thinking_parts,
    ),
    (
        lambda source: "'<|tool_call>call:'" in source and "{#- OpenAI Chat Completions:" not in source,
        _with_tool_responses,
    ),
)
"""Which sources need which further change of all messages."""

_NEEDLESS = (
    # gpt-oss: the markers of channels in an earlier answer
    re.compile(r'\{%-? if "<\|channel\|>analysis<\|message\|>" in message\.content or [^%]*%\}'),
    # Mistral: an answer without content and calls
    re.compile(
        r"\{%-? if \(message\['content'\] is none or message\['content'\] == '' or message\['content'\]\|length == 0\)"
        r" and \(message\['tool_calls'\] is not defined or [^%]*%\}"
    ),
)


def without_needless_refusals(source: str) -> str:
    """The source of a template without two tests of earlier answers, as in llama-server.

    What they refuse would end a conversation, though all that was said in it came from the model.
    """
    for test in _NEEDLESS:
        source = test.sub("{%- if false %}", source)
    return source
