"""Response items: what a conversation of `/v1/responses` is made of, to the messages of a chat. Pure.

A chat's assistant message holds a thought, content and calls; a response has an item for each. What stands between two
items of somebody else becomes one message, in which a new thought begins a new one.

    items       reasoning   message   function_call   function_call   function_call_output   reasoning   message
    messages   [assistant ........................................]  [tool ..............]  [assistant ........]
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Iterable
from typing import Any

from ...errors import InvalidRequest
from ..body import encode, json_type

log = logging.getLogger(__name__)

Item = dict[str, Any]
Message = dict[str, Any]

MAX_ITEMS = 65_536
N_SHOWN = 64
"""Characters of a type that nobody knows, in what is told of it."""
SEAL = "llamahttp1."
"""What thoughts begin with that clients keep for us; those of other servers nobody can read."""
ROLES = ("user", "assistant", "system", "developer")
TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal", "summary_text": "text"}
"""Parts that are text, and the member that has it."""
CALLS = {
    "function_call": ("", "arguments"),
    "custom_tool_call": ("", "input"),
    "local_shell_call": ("local_shell", "action"),
    "shell_call": ("shell", "action"),
    "apply_patch_call": ("apply_patch", "operation"),
    "tool_search_call": ("tool_search", "arguments"),
}
"""Calls that clients make: what is called, where the item does not say, and the member with the arguments."""
OUTPUTS = {"tool_search_output", *(f"{kind}_output" for kind in CALLS)} - {"tool_search_call_output"}
SKIPPED = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "computer_call",
        "computer_call_output",
        "image_generation_call",
        "code_interpreter_call",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "program",
        "program_output",
        "compaction",
        "compaction_summary",
        "context_compaction",
        "compaction_trigger",
        "ghost_snapshot",
        "additional_tools",
        "configuration_update",
    }
)
"""Items that clients send back or keep for themselves, and that say nothing to a chat."""
OPEN_OUTPUTS = OUTPUTS - {"function_call_output", "custom_tool_call_output"}


def full_name(namespace: object, name: str) -> str:
    """What a chat calls a tool that stands in a namespace, as those of Codex's MCP servers do."""
    if not isinstance(namespace, str) or not namespace:
        return name
    return f"{namespace}{'' if namespace.endswith('__') else '__'}{name}"


def make_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


# --- thoughts in the form that clients keep


def seal(thought: str) -> str:
    """A thought as `encrypted_content`. It is no secret: clients that see it as such bring it back unchanged."""
    return SEAL + base64.b64encode(thought.encode()).decode()


def unseal(sealed: object) -> str:
    """The thought; empty where another server has sealed it."""
    if not isinstance(sealed, str) or not sealed.startswith(SEAL):
        return ""
    try:
        return base64.b64decode(sealed[len(SEAL) :], validate=True).decode()
    except ValueError:
        return ""


# --- items


def read_input(value: object) -> list[Item]:
    """The items of an `input`. Raises InvalidRequest."""
    if value is None:
        return []
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": value}]}]
    if not isinstance(value, list):
        raise wrong("input", f"type must be string or array, but is {json_type(value)}")
    if len(value) > MAX_ITEMS:
        raise wrong("input", f"at most {MAX_ITEMS} items are allowed, but got {len(value)}")
    for i, item in enumerate(value):
        if not isinstance(item, dict):
            raise wrong(f"input[{i}]", f"type must be object, but is {json_type(item)}")
    return value


def kind_of(item: Item, where: str) -> str:
    """An item's type, which messages and references may leave out."""
    kind = item.get("type")
    if kind is None:
        kind = "message" if "role" in item else "item_reference" if "id" in item else None
    if not isinstance(kind, str):
        raise wrong(where, "an item has a 'type', or is a message with a 'role'")
    return kind


def with_id(item: Item) -> Item:
    """An item as it is listed: with an id and a type, its content in parts."""
    kind = kind_of(item, "input")
    shown = item | {"type": kind, "id": item.get("id") or make_id("msg" if kind == "message" else "item")}
    if kind == "message" and isinstance(item.get("content"), str):
        part = "output_text" if item["role"] == "assistant" else "input_text"
        shown["content"] = [{"type": part, "text": item["content"]}]
    return shown


def wrong(where: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"Field '{where}': {problem}", param=where)


def text_of(item: Item, member: str, where: str) -> str:
    """A member that has to be a string. Raises InvalidRequest."""
    value = item.get(member)
    if not isinstance(value, str):
        raise wrong(f"{where}.{member}", f"type must be string, but is {json_type(value)}")
    return value


# --- to messages


class Conversation:
    """The messages that items become; `add` them in their order."""

    def __init__(self, instructions: str | None = None) -> None:
        self.messages: list[Message] = []
        if instructions:
            self.messages.append({"role": "system", "content": instructions})

    def add_all(self, items: Iterable[Item], where: str) -> None:
        for i, item in enumerate(items):
            self.add(item, f"{where}[{i}]")

    def add(self, item: Item, where: str) -> None:
        """Raises InvalidRequest, which names the member, for an item that says not what it should."""
        kind = kind_of(item, where)
        if kind == "message":
            self._add_message(item, where)
        elif kind in CALLS:
            self._add_call(item, kind, where)
        elif kind in OUTPUTS:
            self._add_output(item, kind, where)
        elif kind == "reasoning":
            self._add_thought(item, where)
        elif "role" in item:
            raise wrong(f"{where}.type", f"a message is of the type 'message', but got {kind!r}")
        elif kind in SKIPPED:
            log.debug("%s, an item of the type %s, is left out", where, kind)
        else:
            known = ", ".join(["message", "reasoning", *CALLS, *sorted(OUTPUTS)])
            raise wrong(f"{where}.type", f"Value must be one of {known}, but got {kind[:N_SHOWN]!r}")

    def _add_message(self, item: Item, where: str) -> None:
        role = item.get("role")
        if role not in ROLES:
            raise wrong(f"{where}.role", f"Value must be one of {', '.join(ROLES)}, but got {role!r}")
        content = read_content(item.get("content"), f"{where}.content")
        if role == "assistant":
            message = self._assistant()
            message["content"] = joined(message.get("content"), content)
        elif role != "user" and self._is_head:
            # many templates take one system message, and only as the first
            head = self.messages[0]
            head["content"] = joined(head["content"], content, "\n\n")
        else:
            self.messages.append({"role": role, "content": content})

    @property
    def _is_head(self) -> bool:
        """There is only a system message so far."""
        return len(self.messages) == 1 and self.messages[0]["role"] in ("system", "developer")

    def _assistant(self) -> Message:
        """The assistant's message that goes on, or begins."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.messages.append({"role": "assistant", "content": None})
        return self.messages[-1]

    def _add_call(self, item: Item, kind: str, where: str) -> None:
        name, member = CALLS[kind]
        arguments = item.get(member)
        if kind == "custom_tool_call":
            arguments = {"input": text_of(item, member, where)}
        if kind == "function_call":
            arguments = text_of(item, member, where)
        elif not isinstance(arguments, dict):
            raise wrong(f"{where}.{member}", f"type must be object, but is {json_type(arguments)}")
        function = {
            "name": name or full_name(item.get("namespace"), text_of(item, "name", where)),
            "arguments": arguments if isinstance(arguments, str) else encode(arguments).decode(),
        }
        call = {"id": id_of_call(item, where), "type": "function", "function": function}
        self._assistant().setdefault("tool_calls", []).append(call)

    def _add_output(self, item: Item, kind: str, where: str) -> None:
        member = "tools" if kind == "tool_search_output" else "output"
        output = item.get(member)
        # what other tools than functions gave has a form of its own, which says nothing to a chat
        is_open = output is not None and not isinstance(output, str) and kind in OPEN_OUTPUTS
        content = encode(output).decode() if is_open else read_content(output, f"{where}.{member}")
        self.messages.append({"role": "tool", "tool_call_id": id_of_call(item, where), "content": content})

    def _add_thought(self, item: Item, where: str) -> None:
        thought = read_thought(item, where)
        if not thought:
            return
        message = self._assistant()
        if message["content"] is not None or "tool_calls" in message:
            message = {"role": "assistant", "content": None}
            self.messages.append(message)
        message["reasoning_content"] = message.get("reasoning_content", "") + thought


def id_of_call(item: Item, where: str) -> str:
    return text_of(item, "call_id" if item.get("call_id") is not None or "id" not in item else "id", where)


def read_thought(item: Item, where: str) -> str:
    """The text of a thought; empty where there is none that can be read."""
    content = item.get("content")
    if not content:
        return unseal(item.get("encrypted_content"))
    if not isinstance(content, list):
        raise wrong(f"{where}.content", f"type must be array, but is {json_type(content)}")
    texts = []
    for i, part in enumerate(content):
        if not isinstance(part, dict):
            raise wrong(f"{where}.content[{i}]", f"type must be object, but is {json_type(part)}")
        texts.append(text_of(part, "text", f"{where}.content[{i}]"))
    return "".join(texts)


# --- content


def read_content(content: object, where: str) -> str | list[dict[str, Any]]:
    """A chat's content: a string, or parts. Raises InvalidRequest."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong(where, f"type must be string or array, but is {json_type(content)}")
    parts = [read_part(part, f"{where}[{i}]") for i, part in enumerate(content)]
    return str(parts[0]["text"]) if len(parts) == 1 and parts[0]["type"] == "text" else parts


def read_part(part: object, where: str) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise wrong(where, f"type must be object, but is {json_type(part)}")
    kind = text_of(part, "type", where)
    if kind in TEXTS:
        return {"type": "text", "text": text_of(part, TEXTS[kind], where)}
    if kind == "input_image":
        return {"type": "image_url", "image_url": {"url": text_of(part, "image_url", where)}}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part.get("input_audio")}
    raise wrong(f"{where}.type", f"Value must be one of {', '.join(TEXTS)}, input_image, input_audio, but got {kind!r}")


def joined(before: Any, content: Any, gap: str = "") -> Any:
    """Two contents as one."""
    if not before:
        return content
    if isinstance(before, str) and isinstance(content, str):
        return f"{before}{gap}{content}"
    parts = [[{"type": "text", "text": each}] if isinstance(each, str) else each for each in (before, content)]
    return [*parts[0], *([{"type": "text", "text": gap}] if gap else []), *parts[1]]
