"""Chat templates: from messages to the prompt that the model was trained on.

Pure but for the clock that some templates ask for the date. The inputs are those of Hugging Face's
transformers; what a template cannot take is adapted to it as llama-server does, by capabilities
found once, with probes.
"""

from __future__ import annotations

import functools
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError

from .errors import InvalidRequest
from .sandbox import FAULTS, Sandbox

Message = dict[str, Any]
"""A message as in OpenAI's API: role, content (text, null or a list of parts), tool_calls and others."""

CHATML = """\
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
"""For models that come without a template."""


@dataclass(frozen=True, slots=True)
class TemplateCaps:
    """What a template makes use of; `chat_template_caps` in `/props`."""

    string_content: bool
    """Content given as text is shown. Likewise `typed_content` for a list of parts."""
    typed_content: bool
    system_role: bool
    tools: bool
    tool_calls: bool
    parallel_tool_calls: bool
    object_arguments: bool
    """The arguments of a tool call are wanted as an object, not as the JSON text that the API carries."""
    preserve_reasoning: bool
    """The reasoning of earlier turns is shown, at least if asked for."""
    reasoning_effort: bool

    def to_props(self) -> dict[str, bool]:
        """Under llama-server's names."""
        return {f"supports_{field.name}": getattr(self, field.name) for field in fields(self)}


class ChatTemplate:
    """One compiled template, rendered within the bounds of `sandbox`, on one thread at a time."""

    def __init__(
        self,
        source: str,
        *,
        bos: str = "",
        eos: str = "",
        name: str = "chat template",
        strip_bos: bool = False,
        strip_eos: bool = False,
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        """`strip_bos` and `strip_eos` are for vocabularies that add these tokens themselves when tokenizing.

        Raises InvalidRequest, which names the line, for a template that is not valid Jinja.
        """
        self.source = source
        self.name = name
        self.bos, self.eos = bos, eos
        self._strip_bos, self._strip_eos = strip_bos, strip_eos
        self._clock = clock
        self._sandbox = Sandbox()
        self._sandbox.globals |= {"raise_exception": _refuse, "strftime_now": self._strftime_now}
        try:
            self._template = self._sandbox.compile_bounded(source)
        except FAULTS as error:
            raise InvalidRequest(self._explain(error)) from error
        self.caps = _find_caps(self._attempt)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        kwargs: Mapping[str, Any] = {},
    ) -> str:
        """The prompt for `messages`, left as they are. `kwargs` (`chat_template_kwargs`) become variables.

        Raises InvalidRequest with the template's own message if it refuses the conversation, and for whatever
        goes wrong in it or exceeds the sandbox's bounds.
        """
        prompt = self._render(self._adapted(messages), tools, add_generation_prompt, _variables(kwargs))
        if self._strip_eos:
            prompt = prompt.removesuffix(self.eos)
        return self._without_bos(prompt)

    def render_continued(
        self,
        messages: Sequence[Message],
        field: str = "content",
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        kwargs: Mapping[str, Any] = {},
    ) -> str | None:
        """The prompt for `messages` up to where `field` of the last one ends, as transformers' continue_final_message.

        `field` is "content" or "reasoning_content", which is text or ends with a part that is text. None if the
        template leaves a part of it out. Raises InvalidRequest like `render`.
        """
        messages = self._adapted(messages)
        last = messages[-1]
        text = _last_text(last.get(field))
        for name in {"thinking", "reasoning", field} if field == "reasoning_content" else {field}:
            if name in last:
                last[name] = _marked(last[name])
        prompt = self._render(messages, tools, False, _variables(kwargs))
        before, mark, after = prompt.rpartition(_MARK)
        if not mark or text.strip() not in prompt:
            return None
        # a template that trims the text has taken the space away that follows the mark
        return self._without_bos(before if after.startswith(" ") else before.rstrip())

    def _without_bos(self, prompt: str) -> str:
        return prompt.removeprefix(self.bos) if self._strip_bos else prompt

    def _render(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] | None,
        add_generation_prompt: bool,
        variables: Mapping[str, Any],
    ) -> str:
        now = self._clock()
        inputs = {
            "datetime": now.strftime("%b %d %Y"),
            "date_string": now.strftime("%d %b %Y"),
            **variables,
            "messages": messages,
            "bos_token": self.bos,
            "eos_token": self.eos,
            "add_generation_prompt": add_generation_prompt,
        }
        if tools:
            inputs["tools"] = list(tools)
        try:
            prompt = self._sandbox.render(self._template, inputs)
            # JSON within JSON, as the arguments of tool calls are, can hold halves of characters
            return prompt.encode("utf-8", "replace").decode()
        except FAULTS as error:
            raise InvalidRequest(self._explain(error)) from error

    def _attempt(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = (), **kwargs: Any) -> str:
        """The prompt for messages that are not adapted; empty if the template refuses them."""
        try:
            return self._render(messages, tools, True, _variables(kwargs))
        except InvalidRequest:
            return ""

    def _adapted(self, messages: Sequence[Message]) -> list[Message]:
        """Copies of `messages` in the shape that this template takes."""
        knows_developer = "<|channel|>" in self.source  # gpt-oss
        adapted = []
        for message in messages:
            message = _with_thinking({key: value for key, value in message.items() if value is not None})
            if message.get("role") == "developer" and not knows_developer:
                message["role"] = "system"
            message["content"] = self._content(message.get("content", ""))
            calls = message.pop("tool_calls", None)
            if calls:
                message["tool_calls"] = self._calls(calls)
            adapted.append(message)
        if not self.caps.system_role:
            _merge_system(adapted)
        return adapted

    def _content(self, content: Any) -> Any:
        if isinstance(content, str) and not self.caps.string_content:
            return [{"type": "text", "text": content}]
        if isinstance(content, list):
            return list(content) if self.caps.typed_content else message_text({"content": content})
        return content

    def _calls(self, calls: Any) -> Any:
        return list(map(_with_object_arguments, calls)) if self.caps.object_arguments else calls

    def _strftime_now(self, format: str) -> str:
        return self._clock().strftime(format)

    def _explain(self, error: BaseException) -> str:
        """The message for a client: the template's own if it has one, else what failed and in which line."""
        if isinstance(error, _Refusal):
            return str(error)
        lineno = _line(error)
        return f"{self.name}{f', line {lineno}' if lineno else ''}: {error or type(error).__name__}"


_MARK = "\ufdd0CONTINUED\ufdd1"
"""Stands behind what is continued; of code points that are never used for text."""


def message_text(message: Message, field: str = "content") -> str:
    """A field of a message as one text; parts stand on lines of their own. Raises InvalidRequest for other parts."""
    value = message.get(field)
    if isinstance(value, list):
        return functools.reduce(_on_new_line, map(_part_text, value), "")
    return value or ""


def _last_text(value: Any) -> str:
    if isinstance(value, list):
        return _part_text(value[-1]) if value else ""
    return value or ""


def _marked(value: Any) -> Any:
    """A field of a message with the mark behind its text."""
    text = f"{_last_text(value)}{_MARK} "
    return [*value[:-1], {"type": "text", "text": text}] if isinstance(value, list) else text


class _Refusal(TemplateError):
    """The template called `raise_exception`."""


def _refuse(message: object) -> NoReturn:
    raise _Refusal(str(message))


def _line(error: BaseException) -> int | None:
    """The innermost line of the template that an error passed through."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    frames = traceback.walk_tb(error.__traceback__)
    lines = [lineno for frame, lineno in frames if frame.f_code.co_filename == "<template>"]
    return lines[-1] if lines else None


def _variables(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """`kwargs` and the names under which templates know some of them. Raises InvalidRequest."""
    thinking = kwargs.get("enable_thinking", True)
    if not isinstance(thinking, bool):
        raise InvalidRequest(f'invalid type for "enable_thinking" (expected boolean, got {thinking!r})')
    variables: dict[str, Any] = {}
    preserve = kwargs.get("preserve_reasoning")
    if isinstance(preserve, bool):
        variables["preserve_thinking"] = preserve
        for name in ("clear_thinking", "truncate_history_thinking", "drop_thinking"):
            variables[name] = not preserve
    if isinstance(kwargs.get("reasoning_effort"), str):
        variables["reasoning_strength"] = kwargs["reasoning_effort"]
    return variables | dict(kwargs)


def _with_thinking(message: Message) -> Message:
    """`message`, its thoughts under both names that templates have for them, as transformers gives them."""
    names = ("reasoning_content", "thinking", "reasoning")
    thought = next((message[name] for name in names if name in message), None)
    return message if thought is None else {"thinking": thought, **message, "reasoning_content": thought}


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


def _with_object_arguments(call: Any) -> Any:
    """A tool call with its arguments parsed; as it is if they are no JSON, which a model may have written."""
    match call:
        case {"function": {"arguments": str(arguments)}}:
            try:
                parsed = json.loads(arguments)
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
    match system["content"], following:
        case str(text), {"role": "user", "content": str(more)}:
            messages[:2] = [following | {"content": f"{text}\n{more}"}]
        case list(parts), {"role": "user", "content": list(more)}:
            messages[:2] = [following | {"content": [*parts, *more]}]
        case _:
            messages[0] = system


def _find_caps(attempt: Callable[..., str]) -> TemplateCaps:
    """Capabilities, by looking for marked values in what `attempt(messages, tools, **kwargs)` gives."""
    part = {"type": "text", "text": "PROBE_USER"}
    plain, typed = (attempt([{"role": "user", "content": content}]) for content in ("PROBE_USER", [part]))
    # a list that is printed as it stands shows its strings in quotes
    typed_content = "PROBE_USER" in typed and not any(f"{q}PROBE_USER{q}" in typed for q in "'\"")
    string_content = "PROBE_USER" in plain or not typed_content

    def message(role: str, text: str, **more: Any) -> Message:
        return {"role": role, "content": text if string_content else [part | {"text": text}], **more}

    def called(*names: str, arguments: object) -> str:
        """A conversation with tool calls."""
        calls = [
            {"id": f"probe000{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, name in enumerate(names)
        ]
        answers = [
            message("tool", "PROBE_RESULT", tool_call_id=call["id"], name=name)
            for call, name in zip(calls, names, strict=True)
        ]
        turn = [
            user,
            message("assistant", "", tool_calls=calls),
            *answers,
            message("assistant", "PROBE"),
            user,
        ]
        return attempt(turn, _PROBE_TOOLS)

    user = message("user", "PROBE_USER")
    arguments: dict[str, Any] = {"probe_key": "PROBE_VALUE"}
    shown = called("probe_call", arguments=arguments)
    object_arguments = all(x in shown for x in ("probe_key", "PROBE_VALUE")) and "{'probe_key'" not in shown
    wanted: object = arguments if object_arguments else json.dumps(arguments)
    two = called("probe_call", "probe_other", arguments=wanted)
    history = [user, message("assistant", "PROBE", reasoning_content="PROBE_REASON"), user]
    efforts = {attempt([user], enable_thinking=True, reasoning_effort=effort) for effort in _EFFORTS}
    return TemplateCaps(
        string_content=string_content,
        typed_content=typed_content,
        system_role="PROBE_SYSTEM" in attempt([message("system", "PROBE_SYSTEM"), user]),
        tools="probe_tool" in attempt([user], _PROBE_TOOLS),
        tool_calls="probe_call" in called("probe_call", arguments=wanted),
        parallel_tool_calls="probe_call" in two and "probe_other" in two,
        object_arguments=object_arguments,
        preserve_reasoning="PROBE_REASON" in attempt(history, enable_thinking=True, preserve_reasoning=True),
        reasoning_effort=len(efforts) > 1,
    )


_EFFORTS = ("none", "low", "medium", "high", "max")
_PROBE_TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "probe_tool",
            "description": "PROBE",
            "parameters": {
                "type": "object",
                "properties": {"probe_parameter": {"type": "string", "description": "PROBE"}},
                "required": ["probe_parameter"],
            },
        },
    },
)
