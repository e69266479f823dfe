"""Chat templates: from messages to the prompt that the model was trained on.

Pure but for the clock that some templates ask for the date. The inputs are those of Hugging Face's
transformers; what a template cannot take is adapted to it as llama-server does, by capabilities
found once, with probes.
"""

from __future__ import annotations

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
        messages = self._adapted(messages)
        prompt = self._render(messages, tools, add_generation_prompt, _variables(kwargs))
        if self._strip_bos:
            prompt = prompt.removeprefix(self.bos)
        if self._strip_eos:
            prompt = prompt.removesuffix(self.eos)
        return prompt

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
        }
        if tools:
            inputs["tools"] = list(tools)
        if add_generation_prompt:
            inputs["add_generation_prompt"] = True
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
            message = {key: value for key, value in message.items() if value is not None}
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
            return list(content) if self.caps.typed_content else "\n".join(map(_part_text, content))
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
    return TemplateCaps(
        string_content=string_content,
        typed_content=typed_content,
        system_role="PROBE_SYSTEM" in attempt([message("system", "PROBE_SYSTEM"), user]),
        tools="probe_tool" in attempt([user], _PROBE_TOOLS),
        tool_calls="probe_call" in called("probe_call", arguments=wanted),
        parallel_tool_calls="probe_call" in two and "probe_other" in two,
        object_arguments=object_arguments,
        preserve_reasoning="PROBE_REASON" in attempt(history, preserve_reasoning=True),
        reasoning_effort=len({attempt([user], reasoning_effort=effort) for effort in _EFFORTS}) > 1,
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
