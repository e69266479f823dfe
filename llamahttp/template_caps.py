"""Capabilities of a chat template, found once, by rendering conversations that hold marked values."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

Message = dict[str, Any]
"""A message as in OpenAI's API: role, content (text, null or a list of parts), tool_calls and others."""


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
    late_system: bool
    """System messages are shown that come later than the first message; ours alone."""

    def to_props(self) -> dict[str, bool]:
        """Under llama-server's names."""
        return {f"supports_{field.name}": getattr(self, field.name) for field in fields(self)[:-1]}


def find_caps(attempt: Callable[..., str]) -> TemplateCaps:
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
    first, told = message("system", "PROBE_SYSTEM"), message("assistant", "PROBE")
    system_role = "PROBE_SYSTEM" in attempt([first, user])
    head = [first] if system_role else []
    return TemplateCaps(
        string_content=string_content,
        typed_content=typed_content,
        system_role=system_role,
        tools="probe_tool" in attempt([user], _PROBE_TOOLS),
        tool_calls="probe_call" in called("probe_call", arguments=wanted),
        parallel_tool_calls="probe_call" in two and "probe_other" in two,
        object_arguments=object_arguments,
        preserve_reasoning="PROBE_REASON" in attempt(history, enable_thinking=True, preserve_reasoning=True),
        reasoning_effort=len(efforts) > 1,
        late_system="PROBE_LATE" in attempt([*head, user, told, message("system", "PROBE_LATE"), user]),
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
