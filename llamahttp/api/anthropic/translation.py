"""Translation: a request of the Messages API to the chat, in OpenAI's shape, that says the same. Pure.

A chat has messages where Anthropic's has blocks: results of tools become messages of their own, which come before what
the user says beside them, and thoughts become a field of the assistant's message.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import InvalidRequest
from ...tools.json_text import dump
from ..field import INT32_MAX, out_of_range
from .blocks import Thoughts
from .errors import ThreadsUnsupported
from .parameters import DEFAULT_BUDGET, Block, MessageParam, TextBlock, Thinking, ToolChoice, ToolParam

log = logging.getLogger(__name__)

BILLING = re.compile(r"x-anthropic-billing-header:(?:[ \t]*[\w.-]+=[^;\n]*;)*\s*")
"""What Claude Code begins its system prompts with: it says nothing to the model, and is another one with every request,
so that nothing behind it could be reused."""

SKIPPED = frozenset({"redacted_thinking", "server_tool_use", "mcp_tool_use", "container_upload", "tool_reference"})
SKIPPED_ENDS = "_tool_result"
"""Blocks that say something to Anthropic's servers only, or come from tools that they run."""

CHOICES = {"auto": "auto", "any": "required", "none": "none"}
SAMPLING = ("temperature", "top_k", "top_p")
N_ERROR_HEAD = 100
"""Characters of a failed tool's result in which to look whether it says itself that it is an error."""

N_SHOWN = 64
"""Characters of a type that nobody knows, in the log."""

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """A request as it runs."""

    chat: dict[str, Any]
    """The body of `/v1/chat/completions` that it is."""
    model: str | None
    """As the client calls it."""
    stops: tuple[str, ...]
    marks_cache: bool
    """The client counts on caching."""
    thoughts: Thoughts


def messages_request(values: Mapping[str, Any]) -> MessagesRequest:
    """A request with all `values` of MESSAGES_TABLE. Raises InvalidRequest."""
    check_extras(values)
    answer = {name: values[name] for name in SAMPLING if values[name] is not None}
    if values["stop_sequences"]:
        answer["stop"] = list(values["stop_sequences"])
    answer |= {"n_predict": values["max_tokens"], "stream": values["stream"], "return_progress": True}
    return MessagesRequest(
        prompt_body(values) | answer,
        values["model"],
        values["stop_sequences"],
        any(marks(values)),
        shown_thoughts(values),
    )


def check_extras(values: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for what would have this server keep conversations or call tools."""
    if values["thread"]:
        raise ThreadsUnsupported
    if values["mcp_servers"]:
        raise InvalidRequest("Field 'mcp_servers': this server calls no tools itself; give it 'tools'")
    if values["container"] is not None:
        log.info("'container' is ignored: this server runs nothing")


def shown_thoughts(values: Mapping[str, Any]) -> Thoughts:
    """What is shown of thoughts: nothing to clients that ask for none, many of which take the first block for text."""
    wanted: Thinking | None = values["thinking"]
    if wanted is None:
        is_asked = values["chat_template_kwargs"].get("enable_thinking") is True
        return Thoughts.SHOWN if is_asked else Thoughts.HIDDEN
    if wanted["type"] == "disabled":
        return Thoughts.HIDDEN
    return Thoughts.OMITTED if wanted.get("display") == "omitted" else Thoughts.SHOWN


def prompt_body(values: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a chat's body that makes its prompt. Raises InvalidRequest."""
    body: dict[str, Any] = {
        "messages": [*system_messages(values["system"]), *chat_messages(values["messages"])],
        "tools": list(chat_tools(values["tools"])),
        "reasoning_effort": values["output_config"].get("effort"),
    }
    if body["messages"][-1]["role"] == "assistant":  # the answer goes on with it, and does not repeat it
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if format := values["output_config"].get("format"):
        schema = {"name": "answer", "strict": True, "schema": format["schema"]}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    budget, variables = thoughts(values["thinking"])
    if budget is not None:
        body["reasoning_budget_tokens"] = budget
    body["chat_template_kwargs"] = values["chat_template_kwargs"] | variables
    return body | choice(values["tool_choice"])


def marks(values: Mapping[str, Any]) -> Iterator[bool]:
    """Of every part of a prompt whether the client wants it cached up to there."""
    yield bool(values["cache_control"])
    system = values["system"]
    blocks = [*values["tools"], *(system if isinstance(system, list) else ())]
    for message in values["messages"]:
        blocks += message["content"] if isinstance(message["content"], list) else ()
    for block in blocks:
        yield bool(block.get("cache_control"))


def thoughts(wanted: Thinking | None) -> tuple[int | None, dict[str, Any]]:
    """The most tokens of a thought, if there is such a limit, and what the template is told of thinking."""
    if wanted is None:
        return None, {}
    if wanted["type"] == "disabled":
        return None, {"enable_thinking": False}
    if wanted["type"] != "enabled":
        return None, {"enable_thinking": True}
    budget = wanted.get("budget_tokens", DEFAULT_BUDGET)
    if not 0 <= budget <= INT32_MAX:
        raise out_of_range("thinking.budget_tokens", 0, INT32_MAX, budget)
    return budget, {"enable_thinking": True}


# --- tools


def chat_tools(tools: Sequence[ToolParam]) -> Iterator[dict[str, Any]]:
    """The tools that a client can run. Raises InvalidRequest for one without a name."""
    for i, tool in enumerate(tools):
        if tool.get("type") not in (None, "custom") and "input_schema" not in tool:
            kind = tool["type"]
            log.info("tools[%d], of the type %.*r, is left out: this server does not know such", i, N_SHOWN, kind)
            continue
        if not tool.get("name"):
            raise InvalidRequest(f"Field 'tools[{i}]': a tool needs a 'name'", param="tools")
        function: dict[str, Any] = {
            "name": tool["name"],
            "description": tool.get("description") or "",
            "parameters": tool.get("input_schema", {}),
        }
        if tool.get("strict"):
            function["strict"] = True
        yield {"type": "function", "function": function}


def choice(wanted: ToolChoice | None) -> dict[str, Any]:
    """The fields of a chat about the choice of tools."""
    if wanted is None:
        return {}
    body: dict[str, Any] = {"parallel_tool_calls": not wanted.get("disable_parallel_tool_use")}
    if wanted["type"] != "tool":
        return body | {"tool_choice": CHOICES[wanted["type"]]}
    if not wanted.get("name"):
        raise InvalidRequest("Field 'tool_choice': the type 'tool' needs the 'name' of one", param="tool_choice")
    return body | {"tool_choice": {"type": "function", "function": {"name": wanted["name"]}}}


# --- messages


@dataclass(slots=True)
class Turn:
    """What one side says, of consecutive messages together."""

    role: str
    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)

    @property
    def messages(self) -> list[Message]:
        if self.results and not self.texts:
            return self.results
        message: Message = {"role": self.role, "content": content(self.texts)}
        if self.thoughts:
            message["reasoning_content"] = "\n".join(self.thoughts)
        if self.calls:
            message["tool_calls"] = self.calls
        return [*self.results, message]


def content(texts: Sequence[str]) -> Any:
    """Texts as a message's content; several stand on lines of their own."""
    return "".join(texts) if len(texts) < 2 else [{"type": "text", "text": text} for text in texts]


def system_messages(system: str | Sequence[TextBlock] | None) -> list[Message]:
    """The system prompt, if there is one."""
    if not system:
        return []
    texts = [system] if isinstance(system, str) else block_texts(system, "system")
    texts = [text for text in map(without_billing, texts) if text]
    return [{"role": "system", "content": content(texts)}] if texts else []


def without_billing(text: str) -> str:
    found = BILLING.match(text)
    return text[found.end() :] if found else text


def chat_messages(messages: Sequence[MessageParam]) -> list[Message]:
    """The conversation. Raises InvalidRequest for what cannot be said in it."""
    if not messages:
        raise InvalidRequest("Field 'messages': it must not be empty", param="messages")
    turns: list[Turn] = []
    names: dict[str, str] = {}
    """Of each call so far the tool's name, by id."""
    for i, message in enumerate(messages):
        role = message["role"]
        if role == "system" or not turns or turns[-1].role != role:
            turns.append(Turn(role))
        said = message["content"]
        if isinstance(said, str):
            turns[-1].texts.append(said)
            continue
        for j, block in enumerate(said):
            read_block(turns[-1], block, f"messages[{i}].content[{j}]", names)
    return [message for turn in turns for message in turn.messages]


def read_block(turn: Turn, block: Block, where: str, names: dict[str, str]) -> None:
    """Add a block to a turn."""
    match block["type"], turn.role:
        case "thinking", "assistant":
            turn.thoughts.append(member(block, "thinking", where))
        case "tool_use", "assistant":
            call = {"name": member(block, "name", where), "arguments": dump(block.get("input", {}))}
            names[member(block, "id", where)] = call["name"]
            turn.calls.append({"id": block["id"], "type": "function", "function": call})
        case "tool_result", "user":
            turn.results.append(result(block, where, names))
        case "thinking" | "tool_use" | "tool_result" as kind, role:
            raise InvalidRequest(f"Field '{where}': a {kind} block cannot be in a message of the {role}'s")
        case _:
            turn.texts += block_text(block, where)


def result(block: Block, where: str, names: Mapping[str, str]) -> Message:
    """What a tool gave, as a message."""
    id_call = member(block, "tool_use_id", where)
    if id_call not in names:
        raise InvalidRequest(
            f"Field '{where}.tool_use_id': there is no tool_use block with the id {id_call!r} before it"
        )
    texts = texts_of(block.get("content") or "", f"{where}.content")
    text = content(texts)
    if block.get("is_error") and "error" not in "".join(texts)[:N_ERROR_HEAD].lower():
        text = content([f"Error: {texts[0]}" if texts else "Error", *texts[1:]])
    return {"role": "tool", "tool_call_id": id_call, "name": names[id_call], "content": text}


# --- text in blocks


def texts_of(value: object, where: str) -> list[str]:
    """A text, or the texts of blocks. Raises InvalidRequest for anything else."""
    match value:
        case str():
            return [value] if value else []
        case list() if all(isinstance(block, dict) and isinstance(block.get("type"), str) for block in value):
            return block_texts(value, where)
    raise InvalidRequest(f"Field '{where}': a string or an array of blocks, each with a 'type', is expected")


def block_texts(blocks: Sequence[Any], where: str) -> list[str]:
    return [text for i, block in enumerate(blocks) for text in block_text(block, f"{where}[{i}]")]


def block_text(block: Mapping[str, Any], where: str) -> list[str]:
    """What a block says in words, perhaps nothing. Raises InvalidRequest for what is not in words."""
    kind = block["type"]
    match kind:
        case "text":
            text = member(block, "text", where)
            return [text] if text else []
        case "document":
            return ["\n".join([*heads(block, "title", "context"), *document(block.get("source"), where)])]
        case "search_result":
            return ["\n".join([*heads(block, "title", "source"), *texts_of(block.get("content"), f"{where}.content")])]
        case "image":
            raise InvalidRequest(f"Field '{where}': image input is not supported by this server")
    if kind in SKIPPED or kind.endswith(SKIPPED_ENDS):
        return []
    raise InvalidRequest(f"Field '{where}.type': blocks of type {kind!r} are not known")


def heads(block: Mapping[str, Any], *names: str) -> list[str]:
    """Short texts of a block that stand above its own."""
    return [block[name] for name in names if isinstance(block.get(name), str) and block[name]]


def document(source: object, where: str) -> list[str]:
    match source:
        case {"type": "text", "data": str(data)}:
            return [data]
        case {"type": "content", "content": inner}:
            return texts_of(inner, f"{where}.source.content")
        case {"type": str(kind)}:
            raise InvalidRequest(
                f"Field '{where}.source': documents of type {kind!r} (PDF files, files elsewhere) are not supported by "
                "this server; those of type 'text' and 'content' are"
            )
    raise InvalidRequest(f"Field '{where}.source': an object with a 'type' is expected")


def member(block: Mapping[str, Any], name: str, where: str) -> str:
    """A text that a block cannot be without."""
    value = block.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"Field '{where}': a {block['type']} block needs '{name}', which is a string")
    return value
